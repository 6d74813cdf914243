"""Caps by category, with and without diversity, by hand."""

import numpy as np
import pytest

from motet.ranking.caps import Caps
from motet.ranking.diversity import select

BRANDS = [["x"], ["x"], ["x"], ["y"], [], ["y", "z"]]


def _caps(most: int) -> Caps:
    return Caps({"brand": most}, {"brand": BRANDS})


@pytest.mark.parametrize(
    ("most", "wanted", "rows"),
    [(1, 6, [0, 3, 4]), (2, 6, [0, 1, 3, 4, 5]), (2, 3, [0, 1, 3]), (9, 6, [0, 1, 2, 3, 4, 5])],
)
def test_the_first_that_fit_are_taken(most: int, wanted: int, rows: list[int]) -> None:
    assert _caps(most).fill(range(6), wanted) == rows


def test_those_that_were_refused_are_remembered() -> None:
    caps = _caps(1)
    caps.fill(range(6), 6)
    assert caps.stopped == {1: "brand", 2: "brand", 5: "brand"}


@pytest.mark.parametrize("strength", [0.0, 1e-9])
def test_a_list_by_value_keeps_to_the_caps(strength: float) -> None:
    values_C = np.array([6.0, 5, 4, 3, 2, 1])
    rows = select(values_C, np.eye(6, dtype=np.float32), 4, strength, _caps(1))
    assert rows.tolist() == [0, 3, 4]
    assert select(values_C, np.eye(6, dtype=np.float32), 4, strength).tolist() == [0, 1, 2, 3]
