"""Value, diversity and reasons by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.ranking.diversity import select
from motet.ranking.reasons import Reason, explain
from motet.ranking.value import values
from motet.retrieval.sources import NeighbourSource
from motet.retrieval.state import UserState

AXES = np.eye(4, dtype=np.float32)
IDS, TITLES = ["a", "b", "c", "d"], ["Ant", "Bee", "Cat", "Dog"]
# Of item 3: 0.8 like item 1, 0.6 like item 0.
UNIT = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0]], np.float32)
KNN = NeighbourSource(
    pa.table(
        {"item": pa.array([0, 0, 2], pa.int32()), "other": pa.array([3, 1, 3], pa.int32()), "weight": [0.7, 0.1, 0.2]}
    ),
    4,
)


def _user(items: list[int], liking: list[int], level: str = "known") -> UserState:
    zero = np.zeros(3, np.float32)
    return UserState(zero, zero, np.array(items, np.int64), np.array(liking, np.int8), level)


def _explain(items: list[int], liking: list[int], found_by: list[str], level: str = "known") -> Reason:
    return explain(3, found_by, _user(items, liking, level), UNIT, KNN, IDS, TITLES)


def test_the_value_is_the_weighted_sum_of_the_tasks_that_have_a_weight() -> None:
    scores = {"watch": np.array([0.5, 0.1]), "like": np.array([1.0, 0.0]), "rating": np.array([5.0, 4.0])}
    np.testing.assert_allclose(values(scores, {"like": 2.0, "watch": -1.0}), [1.5, -0.1], atol=1e-6)
    np.testing.assert_allclose(values(scores, {"rating": 0.0}), [0.0, 0.0])


def test_without_strength_the_order_is_that_of_the_values_ties_by_row() -> None:
    assert select(np.array([1.0, 3.0, 3.0, 2.0]), AXES, 3, 0.0).tolist() == [1, 2, 3]


def test_diversity_by_hand() -> None:
    unit = np.array([[1, 0], [1, 0], [0.6, 0.8], [0, 1]], np.float32)
    value = np.array([10.0, 9.0, 8.0, 0.0])  # scaled: 1, 0.9, 0.8, 0
    # Strength 0.5. First: row 0. Then 0.45 - 0.5, 0.4 - 0.3, 0 - 0: row 2 with 0.1.
    # Then row 1: 0.45 - 0.5 = -0.05; row 3: 0 - 0.5 x 0.8 = -0.4.
    assert select(value, unit, 4, 0.5).tolist() == [0, 2, 1, 3]
    # Strength 1: value counts nothing but in the first place. Then row 3 is at right angles to row 0; then all have a
    # twin or a near one: row 1 has 1, row 2 has 0.8.
    assert select(value, unit, 4, 1.0).tolist() == [0, 3, 2, 1]
    # An opposite is no better than something at right angles: both count as 0.
    assert select(np.array([2.0, 1.0, 1.0]), np.array([[1, 0], [0, 1], [-1, 0]], np.float32), 2, 0.9).tolist() == [0, 1]


@given(
    st.lists(st.floats(-5, 5), max_size=12),
    st.integers(1, 15),
    st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    st.integers(0, 3),
)
def test_k_different_rows_and_the_best_first(value: list[float], k: int, strength: float, seed: int) -> None:
    unit = np.random.default_rng(seed).normal(size=(len(value), 3)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rows = select(np.array(value), unit, k, strength).tolist()
    assert len(rows) == len(set(rows)) == min(k, len(value))
    if rows and strength < 1:
        assert value[rows[0]] == max(value)


@pytest.mark.parametrize("liking", [0, 1, 2])
def test_events_speak_if_they_were_not_disliked(liking: int) -> None:
    reason = _explain([1], [liking], ["vectors"])
    verb = {0: None, 1: "liked", 2: "chose"}[liking]
    if verb is None:
        assert reason == Reason("chosen by people like you", "vectors")
    else:
        assert reason == Reason(f"because you {verb} Bee", "cosine", "b")


def test_a_liked_event_is_preferred_to_a_nearer_one_of_unknown_liking() -> None:
    assert _explain([1, 0], [2, 1], ["vectors"]) == Reason("because you liked Ant", "cosine", "a")
    assert _explain([1, 0], [2, 2], ["vectors"]) == Reason("because you chose Bee", "cosine", "b")
    assert _explain([1, 0], [0, 2], ["vectors"]) == Reason("because you chose Ant", "cosine", "a")


def test_the_neighbour_weight_decides_if_item_knn_found_the_item_else_the_cosine() -> None:
    # Neighbour weights of item 3: 0.7 for item 0, 0.2 for item 2, none for item 1. Cosines: 0.6, 0, 0.8.
    assert _explain([0, 2, 1], [2, 2, 2], ["item_knn"]) == Reason("because you chose Ant", "item_knn", "a")
    assert _explain([2, 1], [2, 2], ["vectors", "item_knn"]) == Reason("because you chose Cat", "item_knn", "c")
    assert _explain([2, 1], [2, 2], ["vectors"]) == Reason("because you chose Bee", "cosine", "b")
    assert _explain([1], [2], ["item_knn"]) == Reason("because you chose Bee", "cosine", "b")  # no weight at all


def test_of_equals_the_latest_event_speaks() -> None:
    unit = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    reason = explain(3, ["vectors"], _user([0, 1, 2], [2, 2, 2]), unit, None, IDS, TITLES)
    assert reason.item == "b"


@pytest.mark.parametrize(
    ("found_by", "level", "text", "by"),
    [
        (["vectors", "popularity"], "popular", "chosen by people like you", "vectors"),
        (["popularity"], "popular", "popular now", "popularity"),
        (["profile", "popularity"], "text", "matches what you asked for", "profile"),
        (["transitions"], "known", "chosen by people like you", "transitions"),
        (["user_knn", "item_knn"], "known", "chosen by people like you", "user_knn"),
    ],
)
def test_without_an_event_that_speaks_a_source_that_listed_the_item_is_named(
    found_by: list[str], level: str, text: str, by: str
) -> None:
    assert _explain([], [], found_by, level) == Reason(text, by)
    assert _explain([0, 1], [0, 0], found_by, level) == Reason(text, by)
