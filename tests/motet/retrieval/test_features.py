"""The fusion's features of one user's candidates by hand, with their names."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from motet.retrieval.catalogue import ItemTable
from motet.retrieval.features import Collected, RankFeatures
from motet.retrieval.state import UserState
from motet.retrieval.trends import DAY_MS, Trends, count_bins
from motet.settings import SourceName

# Four items: two columns of text, two of attributes. Years 2000, 2010, unknown, 1990.
ROOT = np.sqrt(0.5)
CONTENT = np.array([[1, 0, ROOT, 0], [1, 0, 0, ROOT], [0, 1, ROOT, 0], [0, 1, 0, -ROOT]], np.float32)
TABLE = pa.table({"item": list("abcd"), "title": list("ABCD"), "num:year": [2000.0, 2010.0, None, 1990.0]})
ITEMS = ItemTable(TABLE, np.eye(4, dtype=np.float32), CONTENT, np.zeros(4, np.float32), text_dim=2)
# Item 0 on days 0 and 3; item 1 on day 6; item 3 on day 9.
COUNTS = count_bins(np.array([0, 0, 1, 3]), np.array([0, 3, 6, 9]) * DAY_MS, np.ones(4), 4, 0, DAY_MS)
TRENDS = Trends([COUNTS], 4, 0, DAY_MS, 9 * DAY_MS)
FEATURES = RankFeatures(("one", "two"), ITEMS, TRENDS)
USER = UserState(
    np.zeros(4, np.float32), np.zeros(4, np.float32), np.array([0, 1]), np.array([1, 0], np.int8), "known",
    asked_ms=8 * DAY_MS, first_ms=1 * DAY_MS, last_ms=5 * DAY_MS,
)  # fmt: skip
FOUND = Collected(
    np.array([1, 2, 3]),
    np.array([[0.5, np.nan], [0.25, 3.0], [np.nan, 1.0]]),
    np.array([[0.0, np.nan], [1.0, 0.0], [np.nan, 1.0]]),
)


def _column(name: str, user: UserState = USER) -> list[float]:
    return FEATURES.of(user, FOUND)[:, FEATURES.names.index(name)].tolist()


def test_there_is_a_name_for_each_column_and_each_once() -> None:
    rows = FEATURES.of(USER, FOUND)
    assert rows.shape == (3, len(FEATURES.names))
    assert rows.dtype == np.float32
    assert len(set(FEATURES.names)) == len(FEATURES.names)


def test_no_name_of_a_source_or_a_number_is_that_of_another_feature() -> None:
    """The selector takes a source's columns away by name, and the importance is listed by name."""
    trend = ItemTable(TABLE.rename_columns(["item", "title", "num:trend"]), ITEMS.vectors_ID, CONTENT, np.zeros(4), 2)
    names = RankFeatures(get_args(SourceName), trend, TRENDS).names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one", [0.5, 0.25, np.nan]),
        ("one rank", [0, -np.log(2), np.nan]),
        ("two rank", [np.nan, 0, -np.log(2)]),
        ("popularity ever", [np.log(2), 0, 0]),  # day 9 has not come
        ("age", [2, 0, 0]),
        ("since events", [np.log(2), 0, 0]),  # item 1 came on day 6, after the visit on day 5
        ("new", [1, 1, 1]),
        ("item year", [2010, np.nan, 1990]),
        ("item year distance", [5, np.nan, 15]),  # the user's mean is 2005
        ("taste", [-ROOT, ROOT, ROOT]),  # liked [1, 0], disliked [0, 1]
        ("user events", [np.log(3)] * 3),
        ("user away", [np.log(4)] * 3),
        ("user span", [4] * 3),
        ("user liking", [0.5] * 3),
    ],
)
def test_columns_by_hand(name: str, expected: list[float]) -> None:
    assert _column(name) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_of_a_stranger_nothing_is_made_up() -> None:
    nobody = replace(USER, items_S=np.zeros(0, np.int64), liking_S=np.zeros(0, np.int8), asked_ms=None, first_ms=None,
                     last_ms=None)  # fmt: skip
    assert np.isnan(_column("taste", nobody)).all()
    assert np.isnan(_column("item year distance", nobody)).all()
    assert np.isnan(_column("user liking", nobody)).all()
    assert [_column(name, nobody)[0] for name in ("user events", "user away", "user span")] == [0, 0, 0]
    # Who asks at no known moment asks at the end of the log.
    assert _column("popularity ever", nobody) == pytest.approx([np.log(2), 0, np.log(2)])


def test_unknown_liking_counts_half_in_the_taste_and_not_in_the_share() -> None:
    user = replace(USER, liking_S=np.array([2, 1], np.int8))
    assert _column("user liking", user) == [1.0] * 3
    assert _column("taste", user)[0] == pytest.approx(1 / np.hypot(1, 0.5))


def test_no_candidates_have_no_rows_and_some_are_taken_by_row() -> None:
    assert FEATURES.of(USER, FOUND.take(np.zeros(0, np.int64))).shape == (0, len(FEATURES.names))
    np.testing.assert_array_equal(FEATURES.of(USER, FOUND.take(np.array([2]))), FEATURES.of(USER, FOUND)[[2]])


def test_a_catalogue_without_numbers() -> None:
    plain = ItemTable(TABLE.drop_columns(["num:year"]), ITEMS.vectors_ID, CONTENT, ITEMS.log_count_I, 2)
    features = RankFeatures(("one", "two"), plain, TRENDS)
    assert features.of(USER, FOUND).shape == (3, len(features.names))
    assert "item year" not in features.names
