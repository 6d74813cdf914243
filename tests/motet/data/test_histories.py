"""One row per user: labels, parts, lists and the profile, by hand."""

import numpy as np
import pyarrow as pa
import pytest

from motet.data.histories import (
    DAY_MS,
    assign_parts,
    build_histories,
    label_columns,
    places,
    profile_vector,
    profile_weights,
    user_lengths,
)
from motet.data_settings import Profile, Split
from motet.task import Task

_TASKS = (
    Task(name="watch", kind="retrieval"),
    Task(name="like", kind="binary", label="rating >= 4"),
    Task(name="stars", kind="regression", label="rating"),
)
_EVENTS = pa.table(
    {
        "user": ["u", "u", "u", "v", "w", "w"],
        "item": ["a", "b", "c", "a", "c", "b"],
        "timestamp": pa.array([1, 2, 3, 2, 1, 9], pa.int64()),
        "rating": [5.0, None, 2.0, 4.0, None, 3.0],
    }
)


def test_labels_are_positive_negative_or_unknown() -> None:
    table = label_columns(_EVENTS, _TASKS)
    assert table.column_names[-2:] == ["label:like", "label:stars"]
    assert table.column("label:like").to_pylist() == [1, None, 0, 1, None, 0]
    assert table.column("label:stars").to_pylist() == [5, None, 2, 4, None, 3]
    assert table.schema.field("label:like").type == pa.float32()


def test_a_negative_that_may_still_turn_is_unknown() -> None:
    day = 86_400_000
    events = pa.table({"timestamp": pa.array([0, 8 * day, 8 * day, 9 * day], pa.int64()), "bought": [0.0, 0, 1, None]})
    task = Task(name="buy", kind="binary", label="bought > 0", delay_days=2)
    for latest, expected in ((10 * day, [0, 0, 1, None]), (10 * day - 1, [0, None, 1, None])):
        assert label_columns(events, [task], latest).column("label:buy").to_pylist() == expected


def test_weights_and_slates() -> None:
    events = pa.table({"price": [2.0, None, -1.0], "request": ["x", None, "x"]})
    task = Task(name="best", kind="ranking", label="price", sample_weight="price * 2", slate="request")
    table = label_columns(events, [task])
    assert table.column("weight:best").to_pylist() == [4.0, 0.0, 0.0]
    assert table.column("slate:best").to_pylist() == [0, -1, 0]


def test_lengths_are_of_consecutive_rows() -> None:
    assert user_lengths(_EVENTS).tolist() == [3, 1, 2]
    assert user_lengths(_EVENTS.slice(0, 0)).tolist() == []
    assert user_lengths(pa.concat_tables([_EVENTS.slice(0, 2), _EVENTS.slice(2)])).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("kind", "boundaries", "parts"),
    [("time", (2, 3, 9), [0, 0, 1, 0, 0, 2]), ("leave_one_out", None, [0, 1, 2, 0, 0, 0])],
)
def test_parts(kind: str, boundaries: tuple[int, int, int] | None, parts: list[int]) -> None:
    table = assign_parts(_EVENTS, Split.model_validate({"kind": kind}), boundaries)
    assert table.column("part").to_pylist() == parts
    assert table.schema.field("part").type == pa.int8()


def test_events_with_unseen_items_are_left_out_before_the_test() -> None:
    """Half of the items, whichever they are: their events are unused, but for those of the test."""
    split = Split(kind="leave_one_out", unseen_items=0.5)
    before = assign_parts(_EVENTS, Split(kind="leave_one_out"), None).column("part").to_pylist()
    hidden = set()
    for seed in range(8):
        parts = assign_parts(_EVENTS, split, None, seed).column("part").to_pylist()
        items = _EVENTS.column("item").to_pylist()
        unseen = {item for item, part in zip(items, parts, strict=True) if part == 3}
        hidden |= unseen
        wanted = [3 if item in unseen and part < 2 else part for item, part in zip(items, before, strict=True)]
        assert parts == wanted
    assert len(hidden) > 1  # another seed, other items


def test_histories_by_hand() -> None:
    table = assign_parts(label_columns(_EVENTS, _TASKS), Split(kind="leave_one_out"), None)
    rows = build_histories(table, places(table.column("item"), pa.array(["a", "b", "c"]))).to_pylist()
    assert rows[0] == {
        "user": "u", "items": [0, 1, 2], "timestamps": [1, 2, 3], "parts": [0, 1, 2],
        "label:like": [1, None, 0], "label:stars": [5, None, 2],
    }  # fmt: skip
    assert [(row["user"], row["items"], row["label:like"]) for row in rows[1:]] == [
        ("v", [0], [1.0]),
        ("w", [2, 1], [None, 0.0]),
    ]


def test_propensities_go_along_if_the_log_has_them() -> None:
    table = assign_parts(label_columns(_EVENTS, _TASKS), Split(kind="leave_one_out"), None)
    table = table.append_column("shown", pa.array([0.5, None, 0.25, 1.0, 0.125, 0.75]))
    rows = build_histories(table, places(table.column("item"), pa.array(["a", "b", "c"])), "shown").to_pylist()
    assert [row["propensities"] for row in rows] == [[0.5, None, 0.25], [1.0], [0.125, 0.75]]
    assert "shown" not in rows[0]


def test_no_events_make_no_histories() -> None:
    table = assign_parts(label_columns(_EVENTS.slice(0, 0), _TASKS), Split(kind="leave_one_out"), None)
    assert build_histories(table, pa.array([], pa.int32())).num_rows == 0


def test_weights_of_a_profile_by_hand() -> None:
    # half-life 10 days; ages 20, 10, 0 and 0 days: 1/4, 1/2, 1, 1; liked 1, unknown 0.5, liked 1, disliked 0
    moments = np.array([0, 10, 20, 20]) * DAY_MS
    liked = np.array([1.0, np.nan, 1.0, 0.0])
    weights = profile_weights(moments, liked, Profile(half_life_days=10.0, unknown_weight=0.5))
    assert weights.tolist() == [0.25, 0.25, 1.0, 0.0]
    assert weights.dtype == np.float32
    assert profile_weights(moments[:0], liked[:0], Profile()).tolist() == []


def test_a_profile_by_hand() -> None:
    # weights 1/4 and 1: (1/4 x [4, 0] + 1 x [0, 2]) / (5/4) = [0.8, 1.6]
    profile = profile_vector(np.array([0.25, 1.0], np.float32), np.array([[4.0, 0.0], [0.0, 2.0]]))
    assert profile.tolist() == pytest.approx([0.8, 1.6])
    assert profile.dtype == np.float32


@pytest.mark.parametrize("weights", [[], [0.0, 0.0]])
def test_a_profile_of_nothing_liked_is_zero(weights: list[float]) -> None:
    features = np.ones((len(weights), 3), np.float32)
    assert profile_vector(np.array(weights, np.float32), features).tolist() == [0.0, 0.0, 0.0]


def test_an_item_outside_of_the_catalogue_has_no_place() -> None:
    assert places(pa.chunked_array([["b", "x"], ["a"]]), pa.array(["a", "b"])).to_pylist() == [1, None, 0]
