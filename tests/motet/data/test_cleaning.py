"""Duplicates: which row of several stays, by hand and whatever order the rows arrive in."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.cleaning import codes, merge_entities, merge_interactions, natural_order, split_bad

_EVENT = pa.schema(
    [
        ("user", pa.string()), ("item", pa.string()), ("timestamp", pa.int64()), ("rating", pa.float64()),
        ("_file", pa.string()), ("_row", pa.int64()), ("_problem", pa.string()),
    ]
)  # fmt: skip


def _events(rows: list[tuple]) -> pa.Table:
    names = ("user", "item", "timestamp", "rating", "_file", "_row")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=_EVENT)


def _kept(rows: list[tuple], repeats: str) -> list[tuple]:
    merged = merge_interactions(_events(rows), ["rating"], repeats, seed=42)
    return [tuple(row.values())[:6] for row in merged.to_pylist()]


_LOG = [
    ("u", "a", 5, 1.0, "f1", 0),
    ("u", "a", 9, 2.0, "f1", 1),  # later: the last of (u, a) by time
    ("u", "b", 7, 3.0, "f2", 0),
    ("u", "b", 7, 4.0, "f1", 9),  # the same moment, but the earlier file
    ("v", "a", 1, 5.0, "f1", 3),
    ("v", "a", 1, 5.0, "f1", 4),  # an exact duplicate
    ("v", "c", 1, None, "f1", 5),
    ("v", "c", 1, None, "f2", 5),  # an exact duplicate without a value
]


def test_last_keeps_one_event_a_pair() -> None:
    assert sorted(_kept(_LOG, "last")) == sorted([_LOG[1], _LOG[2], _LOG[5], _LOG[7]])


def test_keep_drops_exact_duplicates_only() -> None:
    assert {row[:4] for row in _kept(_LOG, "keep")} == {row[:4] for row in _LOG}
    assert len(_kept(_LOG, "keep")) == 6


def test_order_is_by_user_then_time() -> None:
    kept = _kept(_LOG, "keep")
    assert [(row[0], row[2]) for row in kept] == sorted((row[0], row[2]) for row in kept)


@pytest.mark.parametrize("repeats", ["last", "keep"])
def test_the_order_of_arrival_changes_nothing(repeats: str) -> None:
    expected = _kept(_LOG, repeats)
    assert _kept(_LOG[::-1], repeats) == expected
    assert _kept(_LOG[4:] + _LOG[:4], repeats) == expected


_ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"), st.sampled_from("abc"), st.integers(0, 3), st.sampled_from([None, 1.0, 2.0]),
        st.sampled_from(["f1", "f2"]), st.integers(0, 5),
    ),
    max_size=12, unique_by=lambda row: row[4:],
)  # fmt: skip


@given(_ROWS, st.randoms(use_true_random=False))
def test_last_against_a_dictionary(rows: list[tuple], random: Any) -> None:
    last: dict[tuple, tuple] = {}
    for row in sorted(rows, key=lambda row: (row[2], row[4], row[5])):
        last[row[:2]] = row
    shuffled = random.sample(rows, len(rows))
    kept = _kept(shuffled, "last")
    assert sorted(map(str, kept)) == sorted(map(str, last.values()))
    assert kept == _kept(rows, "last")


@given(_ROWS, st.randoms(use_true_random=False))
def test_keep_against_a_set(rows: list[tuple], random: Any) -> None:
    kept = _kept(random.sample(rows, len(rows)), "keep")
    assert sorted(map(str, (row[:4] for row in kept))) == sorted(map(str, {row[:4] for row in rows}))
    assert kept == _kept(rows, "keep")


def test_nothing_merges_to_nothing() -> None:
    assert _kept([], "last") == []
    assert merge_entities(pa.table({"id": [], "_file": [], "_row": []})).num_rows == 0


def test_the_last_row_of_an_id_stays() -> None:
    rows = [("b", "f2", 0), ("a", "f1", 7), ("b", "f1", 9), ("a", "f1", 2), ("c", "f1", 1)]
    for order in (rows, rows[::-1]):
        table = pa.Table.from_pylist([dict(zip(("id", "_file", "_row"), row, strict=True)) for row in order])
        assert [tuple(row.values()) for row in merge_entities(table).to_pylist()] == [rows[1], rows[0], rows[4]]


def test_bad_rows_are_parted_from_good() -> None:
    good, bad = split_bad(pa.table({"x": [1, 2, 3], "_problem": [None, "bad", None]}))
    assert (good.column("x").to_pylist(), bad.column("x").to_pylist()) == ([1, 3], [2])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["b", "a", None, "b"]), [1, 0, 2, 1]),
        (pa.array([2.5, None, -1.0, 2.5]), [1, 2, 0, 1]),
        (pa.chunked_array([["b"], ["a", "b"]]), [1, 0, 1]),
        (pa.array([], pa.string()), []),
    ],
)
def test_codes_stand_in_the_order_of_the_values(values: pa.Array, expected: list[int]) -> None:
    found = np.unique(codes(values), return_inverse=True)[1]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["1", "01", "001"], ["001", "01", "1"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["-1", "2", "10"], ["-1", "10", "2"]),
        ([], []),
    ],
)
def test_natural_order(ids: list[str], expected: list[str]) -> None:
    assert natural_order(ids) == natural_order(ids[::-1]) == expected
