"""Popularity as of the moment of asking, and lifts of segments, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from motet.retrieval.crowd import PopularitySource, SegmentSource
from motet.retrieval.state import UserState
from motet.retrieval.trends import DAY_MS, Trends, count_bins

NOBODY = UserState(np.zeros(2, np.float32), np.zeros(2, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int8),
                   "popular")  # fmt: skip
# Item 1 was taken early by many, item 2 lately by one; item 3 on the last day by all.
ITEMS_N = np.array([1, 1, 1, 2, 3, 3, 3, 3, 3])
DAYS_N = np.array([0, 0, 0, 5, 9, 9, 9, 9, 9])
LIKED_N = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0])
TRENDS = Trends([count_bins(ITEMS_N, DAYS_N * DAY_MS, LIKED_N, 4, 0, DAY_MS)], 4, 0, DAY_MS, 9 * DAY_MS)


def _scores(source: PopularitySource, day: int | None) -> list[float]:
    asked = None if day is None else day * DAY_MS
    return source.ask(replace(NOBODY, asked_ms=asked)).of(np.arange(4)).tolist()


@pytest.mark.parametrize(
    ("half_life", "liked", "day", "expected"),
    [
        (None, False, None, [0, 3, 1, 5]),
        (None, True, None, [0, 0, 1, 4]),
        (None, False, 8, [0, 3, 1, 0]),
        (2.0, False, 6, [0, 3 * 0.5**3, 0.5**0.5, 0]),
        (2.0, False, 0, [0, 0, 0, 0]),
        (1.0, True, None, [0, 0, 0.5**5, 4 * 0.5]),
    ],
)
def test_scores_by_hand(half_life: float | None, liked: bool, day: int | None, expected: list[float]) -> None:
    assert _scores(PopularitySource(TRENDS, half_life, liked), day) == pytest.approx(expected)


def test_ties_are_ordered_by_place_and_what_is_not_allowed_is_passed_over() -> None:
    answer = PopularitySource(TRENDS).ask(replace(NOBODY, asked_ms=0))
    assert answer.best(3, np.ones(4, bool))[0].tolist() == [0, 1, 2]
    answer = PopularitySource(TRENDS).ask(NOBODY)
    assert answer.best(3, np.array([True, True, True, False]))[0].tolist() == [1, 2, 0]


def test_answers_are_kept_by_bin_and_not_without_end() -> None:
    source = PopularitySource(TRENDS, 2.0)
    first = source.ask(replace(NOBODY, asked_ms=6 * DAY_MS))
    assert source.ask(replace(NOBODY, asked_ms=6 * DAY_MS + 9)) is first
    many = Trends([count_bins(ITEMS_N, DAYS_N * 10 * DAY_MS, LIKED_N, 4, 0, DAY_MS)], 4, 0, DAY_MS, 90 * DAY_MS)
    source = PopularitySource(many)
    for day in range(60):
        source.ask(replace(NOBODY, asked_ms=day * DAY_MS))
    assert len(source._answers) == 16


def test_a_segment_lifts_what_its_people_met_more_than_others() -> None:
    # Slot 0 met item 0 only, slot 1 item 1 only, 30 times each: 15 are expected of either.
    source = SegmentSource(sp.csr_matrix(np.array([[30.0, 0.0], [0.0, 30.0], [0.0, 0.0]])))
    lifts = source.ask(replace(NOBODY, slots=(0,))).of(np.arange(2))
    np.testing.assert_allclose(lifts, [np.log(50 / 35), np.log(20 / 35)], rtol=1e-6)
    both = source.ask(replace(NOBODY, slots=(0, 1))).of(np.arange(2))
    np.testing.assert_allclose(both, [np.log(50 / 35 * 20 / 35) / 2] * 2, rtol=1e-6)


@pytest.mark.parametrize("slots", [(), (2,), (9,)])
def test_of_a_segment_without_events_nothing_is_said(slots: tuple[int, ...]) -> None:
    source = SegmentSource(sp.csr_matrix(np.array([[30.0, 0.0], [0.0, 30.0], [0.0, 0.0]])))
    assert source.ask(replace(NOBODY, slots=slots)) is None
