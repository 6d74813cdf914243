"""Pair counts by hand, additive over parts; neighbours by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.histories import DAY_MS
from motet.retrieval.pairs import LONGEST_HISTORY, Fading, neighbours
from motet.retrieval.pairs import pair_counts as counted


def pair_counts(histories, items: int, window: int, decay: float, weighs: bool = False) -> pa.Table:
    """Of events an hour apart."""
    moments = [3_600_000 * np.arange(len(one)) for one in histories]
    return counted(histories, moments, items, Fading(window, decay), weighs)


def test_a_transition_halves_with_time_besides() -> None:
    """0, a day, 1, two days, 2; the half-life is a day, and a step falls by e in 5."""
    moments = DAY_MS * np.array([0, 1, 3])
    table = counted([np.array([0, 1, 2])], [moments], 3, Fading(2, 5.0, DAY_MS))
    step = math.exp(-1 / 5)
    np.testing.assert_allclose(_dense(table, "follows", 3), [[0, 0.5, step / 8], [0, 0, 0.25], [0, 0, 0]], rtol=1e-6)
    assert _dense(table, "together", 3).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def _dense(table: pa.Table, column: str, items: int) -> np.ndarray:
    matrix = np.zeros((items, items))
    for row in table.to_pylist():
        matrix[row["item"], row["other"]] += row[column]
    return matrix


def _by_loops(histories: list[list[int]], items: int, window: int, decay: float) -> tuple[np.ndarray, np.ndarray]:
    together, follows = np.zeros((items, items)), np.zeros((items, items))
    for history in histories:
        for one in set(history):
            for other in set(history) - {one}:
                together[one, other] += 1
        for start, one in enumerate(history):
            for gap, other in enumerate(history[start + 1 : start + 1 + window]):
                if other != one:
                    follows[one, other] += math.exp(-gap / decay)
    return together, follows


def test_counts_by_hand() -> None:
    table = pair_counts([np.array([0, 1, 2]), np.array([1, 0])], 3, window=2, decay=5.0)
    # Both users have 0 and 1. After 0 came 1 at once, 2 one later; after 1 came 2 for the one, 0 for the other.
    assert _dense(table, "together", 3).tolist() == [[0, 2, 1], [2, 0, 1], [1, 1, 0]]
    expected = [[0, 1, math.exp(-1 / 5)], [1, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(_dense(table, "follows", 3), expected, rtol=1e-6)


HISTORIES = st.lists(st.lists(st.integers(0, 7), max_size=9), max_size=6)


@given(HISTORIES, st.integers(1, 4), st.floats(0.5, 9))
def test_counts_are_those_of_plain_loops(histories: list[list[int]], window: int, decay: float) -> None:
    table = pair_counts([np.array(one, np.int64) for one in histories], 8, window, decay)
    together, follows = _by_loops(histories, 8, window, decay)
    np.testing.assert_allclose(_dense(table, "together", 8), together)
    np.testing.assert_allclose(_dense(table, "follows", 8), follows, rtol=1e-5)
    keys = [(row["item"], row["other"]) for row in table.to_pylist()]
    assert len(set(keys)) == len(keys)


@given(HISTORIES, st.integers(0, 6))
def test_tables_of_parts_give_the_neighbours_of_the_whole(histories: list[list[int]], cut: int) -> None:
    arrays = [np.array(one, np.int64) for one in histories]
    users_I = np.bincount(np.concatenate([np.unique(one) for one in arrays] + [np.zeros(0, np.int64)]), minlength=8)
    parts = pa.concat_tables([pair_counts(part, 8, 3, 5.0) for part in (arrays[:cut], arrays[cut:])])
    whole = neighbours(pair_counts(arrays, 8, 3, 5.0), users_I, 8, 1.0)
    found = neighbours(parts, users_I, 8, 1.0)
    for kind in ("item_knn", "transitions"):
        one, other = (t.filter(pa.compute.equal(t.column("kind"), kind)) for t in (whole, found))
        np.testing.assert_allclose(_dense(one, "weight", 8), _dense(other, "weight", 8), rtol=1e-5)


def test_neighbours_by_hand() -> None:
    pairs = pair_counts([np.array([0, 1, 2]), np.array([1, 0])], 3, window=1, decay=5.0)
    # Users per item: 2, 2, 1. Cosine with shrinkage 1: together / (sqrt(users x users) + 1).
    table = neighbours(pairs, np.array([2, 2, 1]), keep=1, shrinkage=1.0)
    rows = [(row["kind"], row["item"], row["other"], round(row["weight"], 6)) for row in table.to_pylist()]
    assert rows == [
        ("item_knn", 0, 1, round(2 / 3, 6)),  # 2 / (2 + 1), better than 1 / (sqrt 2 + 1)
        ("item_knn", 1, 0, round(2 / 3, 6)),
        ("item_knn", 2, 0, round(1 / (math.sqrt(2) + 1), 6)),  # equal to that with 1: the lower place
        ("transitions", 0, 1, round(1 / 3, 6)),
        ("transitions", 1, 2, round(1 / (math.sqrt(2) + 1), 6)),  # 1 -> 0 has 1 / 3
    ]


def test_bm25_by_hand() -> None:
    """A user of two of four items says log(4 / 2)^2, one of three log(4 / 3)^2; lengths are 1.6 and 0.8 of the mean."""
    pairs = pair_counts([np.array([0, 1]), np.array([0, 1, 2])], 4, window=1, decay=5.0, weighs=True)
    table = neighbours(pairs, np.array([2, 2, 1, 0]), keep=1, shrinkage=1.0, similarity="bm25")
    rows = [row for row in table.to_pylist() if row["kind"] == "item_knn"]
    two, three = math.log(2) ** 2, math.log(4 / 3) ** 2
    often, once = (2.2 / (1.2 * (0.25 + 0.75 * length) + 1) for length in (1.6, 0.8))
    assert [(row["item"], row["other"]) for row in rows] == [(0, 1), (1, 0), (2, 0)]
    expected = [(two + three) * often**2] * 2 + [three * often * once]
    assert [row["weight"] for row in rows] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("keep", [1, 3, 100])
def test_no_more_than_keep_neighbours_ordered_by_item_and_falling_weight(keep: int) -> None:
    random = np.random.default_rng(0)
    histories = [random.permutation(30)[:12] for _ in range(40)]
    users_I = np.bincount(np.concatenate(histories), minlength=30)
    rows = neighbours(pair_counts(histories, 30, 5, 5.0), users_I, keep, 10.0).to_pylist()
    for kind in ("item_knn", "transitions"):
        mine = [(row["item"], -row["weight"]) for row in rows if row["kind"] == kind]
        assert mine == sorted(mine)
        counts = np.bincount([item for item, _ in mine], minlength=30)
        assert counts.max() == min(keep, counts.max()) <= 29
        assert all(weight < 0 for _, weight in mine)


def test_no_history_has_no_pair_and_no_neighbour() -> None:
    for histories in ([], [np.zeros(0, np.int64)], [np.array([1])]):
        table = pair_counts(histories, 3, 5, 5.0)
        assert table.num_rows == 0
        assert neighbours(table, np.zeros(3, np.int64), 5, 10.0).num_rows == 0


def test_only_the_latest_events_of_a_long_history_are_counted() -> None:
    history = np.arange(LONGEST_HISTORY + 20)
    table = pair_counts([history], len(history), 1, 5.0)
    assert min(table.column("item").to_pylist()) == 20


def test_what_a_user_counts_multiplies_all_of_their_pairs() -> None:
    histories = [np.array([0, 1, 2]), np.array([1, 0])]
    moments = [np.arange(3), np.arange(2)]
    half = counted(histories, moments, 3, Fading(2, 5.0), False, np.array([0.5, 1.0]))
    alone = [
        counted(histories[:1], moments[:1], 3, Fading(2, 5.0)),
        counted(histories[1:], moments[1:], 3, Fading(2, 5.0)),
    ]
    for column in ("together", "follows"):
        expected = 0.5 * _dense(alone[0], column, 3) + _dense(alone[1], column, 3)
        np.testing.assert_allclose(_dense(half, column, 3), expected, rtol=1e-6)
