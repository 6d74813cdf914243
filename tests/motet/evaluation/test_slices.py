"""Slices of held-out rows: who is in them."""

import numpy as np

from motet.evaluation.slices import LARGEST, slices_of

COUNTS_I = np.array([0, 1, 9, 4, 2])
GENRES = [["drama"], ["crime", "drama"], ["crime"], [], ["war"]]


def places(found):
    return {name: np.flatnonzero(rows_N).tolist() for name, rows_N in found.items()}


def test_items_are_cold_head_or_tail_by_their_training_events():
    """Of 16 events the 9 of item 2 are half already."""
    found = places(slices_of(np.array([0, 1, 2, 3, 4]), np.full(5, 50), COUNTS_I, {}))
    assert found == {"cold items": [0], "head items": [2], "tail items": [1, 3, 4]}


def test_the_head_takes_one_more_item_until_half_is_reached():
    found = places(slices_of(np.arange(4), np.full(4, 50), np.array([4, 3, 3, 0]), {}))
    assert found["head items"] == [0, 1]


def test_cold_users_have_at_most_five_events():
    assert places(slices_of(np.array([2, 2, 2]), np.array([0, 5, 6]), COUNTS_I, {}))["cold users"] == [0, 1]


def test_categories_go_by_their_rows_and_empty_slices_are_left_out():
    found = places(slices_of(np.array([1, 1, 2, 3]), np.full(4, 50), COUNTS_I, {"genres": GENRES}))
    assert found == {
        "head items": [2], "tail items": [0, 1, 3], "genres = crime": [0, 1, 2], "genres = drama": [0, 1],
    }  # fmt: skip
    assert list(found)[2:] == ["genres = crime", "genres = drama"]


def test_only_the_largest_categories_are_shown():
    values = [[f"v{n}"] for n in range(20)]
    found = slices_of(np.repeat(np.arange(20), np.arange(1, 21)), np.full(210, 9), np.ones(20, int), {"c": values})
    shown = [name for name in found if name.startswith("c = ")]
    assert shown == [f"c = v{n}" for n in range(19, 19 - LARGEST, -1)]
