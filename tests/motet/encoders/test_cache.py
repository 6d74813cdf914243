"""Vectors by content: what was added is found, by this process and the next, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.encoders.cache import KEY_BYTES, VectorCache, text_keys
from motet.errors import EncoderError


def _vectors(count: int, start: float = 0.0) -> np.ndarray:
    return (start + np.arange(3 * count, dtype=np.float32)).reshape(count, 3)


def test_what_was_added_is_found_and_nothing_else(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "new", 3)
    cache.add(text_keys(["a", "b"]), _vectors(2))
    cache.add(text_keys(["c"]), _vectors(1, 100))
    for one in (cache, VectorCache(tmp_path / "new", 3)):
        vectors, found = one.get(text_keys(["c", "x", "a", "c", "b"]))
        assert found.tolist() == [True, False, True, True, True]
        assert vectors.tolist() == [[100, 101, 102], [0, 0, 0], [0, 1, 2], [100, 101, 102], [3, 4, 5]]
        assert len(one) == 3


def test_two_writers_of_the_same_text_leave_one_vector(tmp_path: Path) -> None:
    first, second = VectorCache(tmp_path, 3), VectorCache(tmp_path, 3)
    first.add(text_keys(["a"]), _vectors(1))
    second.add(text_keys(["a", "b"]), _vectors(2))
    assert len(VectorCache(tmp_path, 3)) == 2
    assert VectorCache(tmp_path, 3).get(text_keys(["a", "b"]))[0].tolist() == [[0, 1, 2], [3, 4, 5]]


@given(st.lists(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), min_size=1, max_size=12, unique=True))
def test_any_key_is_found_zero_bytes_at_its_end_too(
    tmp_path_factory: pytest.TempPathFactory, keys: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    half = len(keys) // 2
    array = np.array([*keys[:half], b"\1" * 15 + b"\0", *keys[half:]], f"S{KEY_BYTES}")
    array = np.unique(array)
    VectorCache(folder, 3).add(array, _vectors(len(array)))
    vectors, found = VectorCache(folder, 3).get(array)
    assert found.all()
    np.testing.assert_array_equal(vectors, _vectors(len(array)))


def test_many_files_make_few_runs(tmp_path: Path) -> None:
    """300 files of 1 to 5 texts, of which some come again: each has its first vector or an equal one."""
    cache, random = VectorCache(tmp_path, 3), np.random.default_rng(0)
    vector_of: dict[str, np.ndarray] = {}
    for _ in range(300):
        texts = [str(number) for number in np.unique(random.integers(0, 400, random.integers(1, 6)))]
        vectors = np.stack([np.full(3, float(text), np.float32) for text in texts])
        vector_of |= dict(zip(texts, vectors, strict=True))
        cache.add(text_keys(texts), vectors)
    for one in (cache, VectorCache(tmp_path, 3)):
        assert len(one._runs) <= 10
        assert len(one) == len(vector_of)
        found_N2, found_N = one.get(text_keys([*vector_of, "unknown"]))
        assert found_N.tolist() == [True] * len(vector_of) + [False]
        np.testing.assert_array_equal(found_N2[:-1], np.stack(list(vector_of.values())))


@pytest.mark.parametrize("rows", [0, 2])
def test_no_key_and_no_row_are_allowed(tmp_path: Path, rows: int) -> None:
    cache = VectorCache(tmp_path, 3)
    assert cache.get(text_keys(["a"]))[1].tolist() == [False]
    cache.add(text_keys(["a", "b"][:rows]), _vectors(rows))
    vectors, found = cache.get(text_keys([]))
    assert (vectors.shape, found.shape) == ((0, 3), (0,))
    assert cache.get(text_keys(["a", "x"]))[1].tolist() == [rows > 0, False]


def test_keys_are_of_the_text_s_bytes_and_the_same_everywhere() -> None:
    # First 16 bytes of SHA-256 of the UTF-8 bytes of "abc", from FIPS 180-2.
    assert text_keys(["abc"])[0].hex() == "ba7816bf8f01cfea414140de5dae2223"
    assert len(set(text_keys(["a", "A", "a ", "", "ä"]).tolist())) == 5


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, share: float) -> None:
    VectorCache(tmp_path, 3).add(text_keys([str(n) for n in range(50)]), _vectors(50))
    (path,) = tmp_path.glob("*.arrow")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(EncoderError, match=rf"{path.name} is not a vector file .*; delete it"):
        VectorCache(tmp_path, 3)


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    VectorCache(tmp_path, 3).add(text_keys(["a"]), _vectors(1))
    with pytest.raises(EncoderError, match="holds vectors of 3 numbers, the model gives 4; delete it"):
        VectorCache(tmp_path, 4)
