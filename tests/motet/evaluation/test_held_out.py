"""What is known of a user at each held-out event, in the four ways of `evaluate.history`."""

import numpy as np
import pyarrow as pa
import pytest

from motet.data.split import TEST, TRAIN, VALIDATION
from motet.evaluation.held_out import held_out

# Parts are mixed in time, as under `split.kind: random`.
HISTORIES = pa.table({
    "user": ["a", "b"],
    "items": [[10, 11, 12, 13, 14, 15], [20, 21]],
    "timestamps": [[1, 2, 3, 4, 5, 6], [7, 8]],
    "parts": [[TRAIN, TEST, TRAIN, VALIDATION, TEST, TRAIN], [TEST, TRAIN]],
    "label:like": [[1.0, 0.0, None, 1.0, 1.0, 0.0], [1.0, 1.0]],
})  # fmt: skip


def _known(known: str, part: int, **more: int) -> list[tuple[str, list[int], list[int], int | None]]:
    found = held_out(HISTORIES, part, "label:like", known, **more)
    return [(one.user, one.items_S.tolist(), one.targets_N.tolist(), one.asked_ms) for one in found]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("parts", [("a", [10, 12, 13, 15], [11, 14], 2), ("b", [21], [20], 7)]),
        ("before", [("a", [10], [11], 2), ("a", [10, 12, 13], [14], 5), ("b", [], [20], 7)]),
        ("around", [("a", [10], [11], 2), ("a", [10, 12, 13], [14], 5), ("b", [], [20], 7)]),
        ("rolling", [("a", [10], [11], 2), ("a", [10, 11, 12, 13], [14], 5), ("b", [], [20], 7)]),
    ],
)
def test_by_hand(known: str, expected: list[tuple[str, list[int], list[int], int]]) -> None:
    assert _known(known, TEST) == expected


def test_of_validation_nothing_of_the_test_is_known() -> None:
    for known, items in (("parts", [10, 12, 15]), ("before", [10, 12]), ("rolling", [10, 12])):
        assert _known(known, VALIDATION) == [("a", items, [13], 4)]


def test_around_an_event_later_ones_of_the_parts_before_are_known_to_the_estimates() -> None:
    found = held_out(HISTORIES, TEST, "label:like", "around")
    later = [one.later for one in found]
    assert [one.items_S.tolist() for one in later if one is not None] == [[12, 13, 15], [15], [21]]
    assert later[0] is not None
    np.testing.assert_array_equal(later[0].labels_ST, np.array([[np.nan], [1.0], [0.0]], np.float32))
    assert {one.later for one in held_out(HISTORIES, TEST, "label:like", "before")} == {None}


def test_rolling_may_want_a_history() -> None:
    assert _known("rolling", TEST, least=2) == [("a", [10, 11, 12, 13], [14], 5)]
    assert _known("rolling", TEST, least=9) == []


def test_a_moment_of_asking_is_for_whole_parts_and_each_event_has_its_own() -> None:
    assert [one[3] for one in _known("parts", TEST, asked_ms=99)] == [99, 99]
    assert [one[3] for one in _known("rolling", TEST, asked_ms=99)] == [2, 5, 7]


def test_liking_and_labels_go_with_their_events() -> None:
    event = held_out(HISTORIES, TEST, "label:like", "rolling")[1]
    assert event.liking_S.tolist() == [1, 0, 2, 1]
    assert event.labels["like"].tolist() == [1]
    np.testing.assert_array_equal(event.events_ST, np.array([[1], [0], [np.nan], [1]], np.float32))


def test_moments_and_propensities_go_with_what_came() -> None:
    assert [one.moments_N.tolist() for one in held_out(HISTORIES, TEST, "label:like")] == [[2, 5], [7]]
    assert held_out(HISTORIES, TEST, "label:like")[0].propensities_N is None
    shown = pa.array([[0.5, 0.25, 0.5, 0.5, None, 0.5], [0.125, 1.0]])
    found = held_out(HISTORIES.append_column("propensities", shown), TEST, "label:like")
    np.testing.assert_array_equal(found[0].propensities_N, [0.25, np.nan])
    assert found[1].propensities_N.tolist() == [0.125]


def test_who_is_new_stays_new_while_they_gather_a_history() -> None:
    found = held_out(HISTORIES, TEST, "label:like", "rolling")
    assert [(one.user, len(one.items_S), one.warm) for one in found][:2] == [("a", 1, True), ("a", 4, True)]
    moved = HISTORIES.set_column(
        HISTORIES.column_names.index("parts"), "parts",
        pa.array([[TEST] * len(one) for one in HISTORIES.column("parts").to_pylist()], pa.list_(pa.int8())),
    )  # fmt: skip
    assert {one.warm for one in held_out(moved, TEST, "label:like", "rolling")} == {False}
    assert max(len(one.items_S) for one in held_out(moved, TEST, "label:like", "rolling")) > 1
