"""Train, validation and test by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.split import (
    NEVER,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    leave_one_out,
    require_parts,
    split_at_random,
    split_by_column,
    split_by_time,
    time_boundaries,
)
from motet.data_settings import Split
from motet.errors import DataError


def test_boundaries_by_hand() -> None:
    # ten moments, places 0..9: train ends at floor(0.8 x 9) = 7, validation at floor(0.9 x 9) = 8
    moments = np.array([90, 10, 30, 20, 50, 40, 70, 60, 80, 100])
    assert time_boundaries(moments, Split()) == (80, 90, NEVER)
    parts = split_by_time(moments, (80, 90, 100))
    assert parts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert parts.dtype == np.int8


@given(
    st.lists(st.integers(0, 2**42), min_size=1, max_size=40), st.sampled_from([0.05, 0.1, 0.25, 0.4]),
    st.sampled_from([0.05, 0.1, 0.25, 0.4]),
)  # fmt: skip
def test_boundaries_are_numpys_lower_quantiles(moments: list[int], validation: float, test: float) -> None:
    split = Split(validation=validation, test=test)
    array = np.array(moments)
    expected = [np.quantile(array, share, method="lower") for share in (1 - validation - test, 1 - test)]
    assert time_boundaries(array, split) == (*map(int, expected), NEVER)
    assert {*time_boundaries(array, split)[:2]} <= set(moments)


def test_a_moment_is_on_one_side_as_a_whole() -> None:
    moments = np.array([5] * 9 + [6])
    boundaries = time_boundaries(moments, Split())
    assert boundaries == (5, 5, NEVER)
    assert split_by_time(moments, boundaries).tolist() == [TRAIN] * 9 + [TEST]
    same = np.array([5] * 10)
    assert split_by_time(same, time_boundaries(same, Split())).tolist() == [TRAIN] * 10


@pytest.mark.parametrize(
    ("moments", "empty", "there"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 9], "test", "2 of 10 events read stand at timestamp 9"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 8, 9], "validation", "2 of 10 events read stand at timestamp 8"),
        ([5] * 10, "validation", "10 of 10 events read stand at timestamp 5"),
        ([5], "validation", "1 of 1 events read stand at timestamp 5"),
    ],
)
def test_a_part_without_an_event_is_refused(moments: list[int], empty: str, there: str) -> None:
    array = np.array(moments)
    with pytest.raises(DataError, match=rf"data.split: {empty} is empty.*{there} ms; raise data.split.{empty}, or set"):
        require_parts(array, time_boundaries(array, Split()))


def test_three_parts_with_an_event_each_pass() -> None:
    array = np.arange(10)
    require_parts(array, time_boundaries(array, Split()))


@pytest.mark.parametrize(
    ("lengths", "parts"),
    [
        ([], []),
        ([1], [0]),
        ([2], [0, 0]),
        ([3], [0, 1, 2]),
        ([4, 2, 3], [0, 0, 1, 2, 0, 0, 0, 1, 2]),
        ([0, 3, 0], [0, 1, 2]),
    ],
)
def test_leave_one_out_by_hand(lengths: list[int], parts: list[int]) -> None:
    assert leave_one_out(np.array(lengths, np.int64)).tolist() == parts


@given(st.lists(st.integers(0, 6), max_size=10))
def test_who_has_three_events_gives_two_away(lengths: list[int]) -> None:
    parts = leave_one_out(np.array(lengths, np.int64))
    enough = sum(length >= 3 for length in lengths)
    counted = [int((parts == part).sum()) for part in (TRAIN, VALIDATION, TEST)]
    assert counted == [sum(lengths) - 2 * enough, enough, enough]


def test_what_comes_after_the_used_share_is_in_no_part() -> None:
    # hundred moments, the first 70 % used: train to floor(0.5 x 99) = 49, validation to 59, test to 69
    moments = np.arange(100)
    boundaries = time_boundaries(moments, Split(until=0.7))
    assert boundaries == (49, 59, 69)
    parts = split_by_time(moments, boundaries)
    assert np.bincount(parts).tolist() == [50, 10, 10, 30]
    assert parts[-1] == UNUSED


def test_a_random_split_goes_by_the_row_and_the_seed() -> None:
    users = pa.array([f"u{n % 40}" for n in range(2000)])
    items = pa.array([f"i{n // 40}" for n in range(2000)])
    parts = split_at_random(users, items, Split(kind="random", validation=0.1, test=0.2), seed=1)
    shares = np.bincount(parts) / len(parts)
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
    other_way = split_at_random(users[::-1], items[::-1], Split(kind="random", validation=0.1, test=0.2), seed=1)
    assert (other_way[::-1] == parts).all()
    assert (split_at_random(users, items, Split(kind="random", validation=0.1, test=0.2), seed=2) != parts).any()


def test_a_column_names_the_parts() -> None:
    column = pa.chunked_array([["train", "test"], ["validation", "dev", None]])
    assert split_by_column(column).tolist() == [TRAIN, TEST, VALIDATION, -1, -1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "column"}, "kind = column names no column; set data.split.column"),
        ({"kind": "time", "column": "fold"}, "kind = time has column 'fold'; set kind to column"),
        ({"kind": "random", "until": 0.5}, "until = 0.5 is for kind = time, not random"),
        ({"until": 0.2}, "until = 0.2 leaves no train before validation = 0.1 and test = 0.1"),
    ],
)
def test_a_split_that_does_not_fit_its_kind_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Split.model_validate(settings)
