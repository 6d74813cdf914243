"""Counts by item and bin: every column by hand, and nothing of the asking bin or later."""

from pathlib import Path

import numpy as np
import pytest

from motet.data.histories import DAY_MS
from motet.retrieval.trends import BINS, Trends, bin_length, count_bins

# Item 0: days 0 and 8 (liked both); item 1: day 9, disliked; item 2: never. Bins of a day.
ITEMS_N = np.array([0, 0, 1])
DAYS_N = np.array([0, 8, 9])
LIKED_N = np.array([1, 1, 0], np.float32)


def _trends(items=ITEMS_N, days=DAYS_N, liked=LIKED_N, count: int = 3) -> Trends:
    counts = count_bins(items, days * DAY_MS, liked, count, 0, DAY_MS)
    return Trends([counts], count, 0, DAY_MS, int(days.max()) * DAY_MS)


def _column(rows: np.ndarray, name: str) -> np.ndarray:
    return rows[:, Trends.names.index(name)]


def test_a_bin_is_a_512th_of_the_span_and_at_least_a_minute() -> None:
    assert bin_length(0, 5) == 60_000
    length = bin_length(0, 10**12)
    assert length * BINS > 10**12 >= (length - 1) * BINS


def test_events_of_an_item_and_bin_are_one_row_and_unknown_liking_counts_as_not_liked() -> None:
    table = count_bins(np.array([1, 1, 0]), np.array([5, 9, 12]), np.array([1, np.nan, 0]), 2, 0, 10)
    assert table.to_pylist() == [
        {"item": 0, "bin": 1, "events": 1.0, "liked": 0.0},
        {"item": 1, "bin": 0, "events": 2.0, "liked": 1.0},
    ]


def test_what_is_older_than_the_first_of_a_sample_counts_in_the_first_bin() -> None:
    table = count_bins(np.array([0, 0]), np.array([3, 25]), np.array([1, 1]), 1, first_ms=20, length_ms=10)
    assert table.to_pylist() == [{"item": 0, "bin": 0, "events": 2.0, "liked": 2.0}]


def test_decayed_counts_by_hand() -> None:
    # Asked in bin 9: item 0's events are 9 and 1 bins old, item 1's stands in the asking bin itself.
    trends = _trends(days=np.array([0, 8, 9]), items=np.array([0, 0, 1]))
    later = Trends([count_bins(ITEMS_N, DAYS_N * DAY_MS, LIKED_N, 3, 0, DAY_MS)], 3, 0, DAY_MS, 99 * DAY_MS)
    asked = 9 * DAY_MS + 5
    np.testing.assert_allclose(later.decayed(asked, 2.0, False), [0.5**4.5 + 0.5**0.5, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(later.decayed(asked, None, False), [2, 0, 0])
    # At the end of the log everything is known.
    np.testing.assert_allclose(trends.decayed(10 * DAY_MS, None, False), [2, 1, 0])
    np.testing.assert_allclose(trends.decayed(10 * DAY_MS, None, True), [2, 0, 0])


def test_columns_by_hand() -> None:
    rows = _trends().at(100 * DAY_MS)  # bin 10: ages 10, 2 and 1 days
    assert rows.shape == (3, len(Trends.names))
    np.testing.assert_allclose(_column(rows, "popularity 1 d"), np.log1p([0.5**10 + 0.25, 0.5, 0]), rtol=1e-5)
    np.testing.assert_allclose(_column(rows, "popularity ever"), np.log1p([2, 1, 0]), rtol=1e-5)
    np.testing.assert_allclose(_column(rows, "liked ever"), np.log1p([2, 0, 0]), rtol=1e-5)
    week, months = 0.5 ** (10 / 7) + 0.5 ** (2 / 7), 0.5 ** (10 / 60) + 0.5 ** (2 / 60)
    assert _column(rows, "trend")[0] == pytest.approx(np.log((week + 1) / (months + 1)), rel=1e-5)
    assert _column(rows, "age").tolist() == [10, 1, 0]
    assert _column(rows, "idle").tolist() == [2, 1, 3650]
    # Two thirds of all events are liked: (2 + 5 x 2/3) / 7, (0 + 5 x 2/3) / 6, 2/3.
    np.testing.assert_allclose(_column(rows, "liking"), [16 / 21, 10 / 18, 2 / 3], rtol=1e-5)


def test_since_counts_what_came_after_one_moment_and_before_another() -> None:
    trends = Trends([count_bins(ITEMS_N, DAYS_N * DAY_MS, LIKED_N, 3, 0, DAY_MS)], 3, 0, DAY_MS, 99 * DAY_MS)
    np.testing.assert_allclose(trends.since(0, 9 * DAY_MS), np.log1p([[1, 1], [0, 0], [0, 0]]), rtol=1e-6)
    np.testing.assert_allclose(trends.since(8 * DAY_MS, 99 * DAY_MS), np.log1p([[0, 0], [1, 0], [0, 0]]), rtol=1e-6)
    assert not trends.since(50 * DAY_MS, 9 * DAY_MS).any()


@pytest.mark.parametrize("asked_day", [0, 1, 4, 8])
def test_nothing_of_the_asking_bin_or_later_is_read(asked_day: int) -> None:
    random = np.random.default_rng(2)
    items, days = random.integers(0, 5, 60), random.integers(0, 12, 60)
    asked = asked_day * DAY_MS + 7
    before = days < asked_day
    changed = np.where(before, items, 4 - items)
    one, other = (_trends(these, days, np.ones(60), 5) for these in (items, changed))
    np.testing.assert_array_equal(one.at(asked), other.at(asked))
    np.testing.assert_array_equal(one.decayed(asked, 3.0, True), other.decayed(asked, 3.0, True))
    np.testing.assert_array_equal(one.since(0, asked), other.since(0, asked))
    assert (one.at(12 * DAY_MS) != other.at(12 * DAY_MS)).any()


def test_saved_and_loaded_and_in_parts_they_say_the_same(tmp_path: Path) -> None:
    whole = _trends()
    parts = [count_bins(ITEMS_N[one], DAYS_N[one] * DAY_MS, LIKED_N[one], 3, 0, DAY_MS) for one in ([0], [1, 2])]
    whole.save(tmp_path)
    for other in (Trends.load(tmp_path), Trends(parts, 3, 0, DAY_MS, 9 * DAY_MS)):
        for asked in (0, 5 * DAY_MS, 20 * DAY_MS):
            np.testing.assert_array_equal(other.at(asked), whole.at(asked))
        assert (other.bins, other.last_ms) == (whole.bins, whole.last_ms)


def test_of_an_empty_log_nothing_is_popular() -> None:
    none = np.zeros(0, np.int64)
    trends = Trends([count_bins(none, none, np.zeros(0), 2, 0, DAY_MS)], 2, 0, DAY_MS, 0)
    assert trends.decayed(5, 1.0, False).tolist() == [0, 0]
    assert _column(trends.at(5), "idle").tolist() == [3650, 3650]


def test_events_count_what_they_weigh() -> None:
    table = count_bins(
        np.array([1, 1, 0]), np.array([5, 9, 12]), np.array([1, 0, 1]), 2, 0, 10, np.array([0.5, 1, 0.25])
    )
    assert table.to_pylist() == [
        {"item": 0, "bin": 1, "events": 0.25, "liked": 0.25},
        {"item": 1, "bin": 0, "events": 1.5, "liked": 0.5},
    ]
