"""Hashes are the same everywhere: known constants, and no influence of neighbours."""

import subprocess
import sys
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.hashing import mix, shard_of, text_hash, tie_breaker

_TEXT = st.text(max_size=8)


def test_splitmix_gives_the_published_numbers() -> None:
    # the first numbers of SplitMix64 from the seeds 0 and 1234567
    assert mix(np.array([0, 1234567], np.uint64)).tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]


def test_text_is_its_crc_spread() -> None:
    # the check value of CRC-32 is 0xCBF43926 for "123456789"
    assert text_hash(pa.array(["123456789"])).tolist() == mix(np.array([0xCBF43926], np.uint64)).tolist()
    assert text_hash(pa.array(["", None], pa.string())).tolist() == [0xE220A8397B1DCDAF] * 2


def test_pinned_shards() -> None:
    users = pa.array(["u1", "u2", "Zoë", "用户", None])
    assert shard_of(users, 1000).tolist() == [632, 473, 901, 991, 535]
    assert shard_of(users, 1).tolist() == [0] * 5
    assert shard_of(users, 7).dtype == np.int32


@given(st.lists(_TEXT, max_size=6), _TEXT, st.lists(_TEXT, max_size=6), st.integers(1, 50))
def test_a_shard_depends_on_the_value_alone(before: list[str], value: str, after: list[str], shards: int) -> None:
    alone = shard_of(pa.array([value]), shards)[0]
    among = shard_of(pa.array([*before, value, *after]), shards)
    assert among[len(before)] == alone
    assert 0 <= alone < shards
    assert alone == int(mix(np.array([zlib.crc32(value.encode())], np.uint64))[0]) % shards


def test_chunks_dictionaries_and_slices_hash_alike() -> None:
    values = ["b", "a", None, "b"]
    expected = text_hash(pa.array(values)).tolist()
    assert text_hash(pa.chunked_array([["b"], ["a", None], ["b"]])).tolist() == expected
    assert text_hash(pa.array(["x", *values, "y"]).slice(1, 4)).tolist() == expected
    assert text_hash(pa.array(values, pa.large_string())).tolist() == expected


@pytest.mark.parametrize("empty", [pa.array([], pa.string()), pa.chunked_array([], pa.string())])
def test_nothing_hashes_to_nothing(empty: pa.Array) -> None:
    assert text_hash(empty).tolist() == []


def test_another_process_hashes_alike() -> None:
    program = "import pyarrow as pa; from motet.data.hashing import text_hash; print(text_hash(pa.array(['u1']))[0])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(found.stdout) == int(text_hash(pa.array(["u1"]))[0])


def test_shards_are_even() -> None:
    # 20,000 users on 8 shards: 2,500 each, standard deviation about 47
    sizes = np.bincount(shard_of(pa.array([f"user-{n}" for n in range(20_000)]), 8))
    assert abs(sizes - 2500).max() < 5 * 47


def test_ties_depend_on_user_item_and_seed() -> None:
    users, items = pa.array(["u", "u", "v"]), pa.array(["i", "j", "i"])
    ties = tie_breaker(users, items, 42)
    assert len(set(ties.tolist())) == 3
    assert tie_breaker(users.slice(2), items.slice(2), 42).tolist() == ties[2:].tolist()
    assert (tie_breaker(users, items, 43) != ties).all()
    swapped = tie_breaker(pa.array(["i"]), pa.array(["u"]), 42)
    assert swapped[0] != ties[0]
