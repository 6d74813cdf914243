"""Rows that grow behind a base, against plain arrays."""

import numpy as np
import pytest

from motet.retrieval.rows import Rows


@pytest.mark.parametrize("width", [None, 0, 3])
@pytest.mark.parametrize("step", [1, 7, 100])
def test_rows_are_those_of_one_array(width: int | None, step: int) -> None:
    random, shape = np.random.default_rng(0), () if width is None else (width,)
    base, new = random.normal(size=(5, *shape)), random.normal(size=(200, *shape))
    whole, rows = np.concatenate([base, new]), Rows(base.copy())
    for start in range(0, 200, step):
        rows.put(np.arange(5 + start, min(205, 5 + start + step)), new[start : start + step])
        assert len(rows) == min(205, 5 + start + step)
    assert rows.shape == whole.shape
    assert np.array_equal(np.asarray(rows), whole)
    for places in (3, 7, np.array([1, 4]), np.array([6, 204]), np.array([[0, 9], [204, 4]]), np.zeros(0, np.int64)):
        assert np.array_equal(rows[places], whole[places])


def test_old_and_new_rows_are_put_anew() -> None:
    rows = Rows(np.arange(3.0))
    rows.put(np.array([3, 4]), np.array([30.0, 40.0]))
    rows.put(np.array([4, 1, 5]), np.array([41.0, 11.0, 50.0]))
    assert np.asarray(rows).tolist() == [0, 11, 2, 30, 41, 50]


def test_what_was_given_out_stays_when_rows_come() -> None:
    rows = Rows(np.zeros((2, 2)))
    rows.put(np.array([2]), np.ones((1, 2)))
    before = rows[np.array([0, 2])]
    rows.put(np.arange(2, 200), np.full((198, 2), 7.0))
    assert before.tolist() == [[0, 0], [1, 1]]


def test_adding_one_row_copies_no_large_array() -> None:
    """The base is never copied, and what is behind it moves a number of times that is logarithmic."""
    rows, moved = Rows(np.zeros((1000, 4))), 0
    base = rows.base
    for place in range(1000, 5000):
        held = rows._held
        rows.put(np.array([place]), np.ones((1, 4)))
        moved += rows._held is not held
    assert rows.base is base
    assert moved <= 12
