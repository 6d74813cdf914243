"""Estimates: by hand, alike in training and serving, and never from an event's own label or from later ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.estimates import (
    FOLDS,
    NAMES,
    Estimates,
    LabelSums,
    Latent,
    Later,
    fold_of,
    nearness,
    residual_matrix,
    standardised,
)
from motet.kinds import LabelScale

SCALES = (LabelScale(3.0, 2.0, 1.0, 5.0, True), LabelScale(0.5, 0.5, 0.0, 1.0, True))
ITEMS = 6


def fitted(near: bool = True, seed: int = 0) -> Estimates:
    draw = np.random.default_rng(seed)
    sums = LabelSums(draw.normal(size=(2, ITEMS)) * 5, draw.integers(1, 9, (2, ITEMS)).astype(float))
    near_TII = draw.random((2, ITEMS, ITEMS)).astype(np.float32) if near else None
    latents = [
        Latent(draw.normal(size=(ITEMS, 3)), np.abs(draw.normal(size=(ITEMS, 3))), np.abs(draw.normal(size=3)) + 0.5)
        for _ in range(2)
    ]
    latents = [Latent(*(values.astype(np.float32) for values in vars(one).values())) for one in latents]
    if near:
        near_TII[:, range(ITEMS), range(ITEMS)] = 0
    return Estimates.fit(SCALES, sums, near_TII, latents if near else None)


def column(values_NF: np.ndarray, name: str, task: int = 0) -> np.ndarray:
    return np.asarray(values_NF[:, task * len(NAMES) + NAMES.index(name)])


def test_priors_and_counts_by_hand() -> None:
    labels_NT = standardised(np.array([[5.0, 1.0], [1.0, np.nan], [5.0, 0.0]], np.float32), SCALES)
    assert labels_NT[:, 0].tolist() == [1.0, -1.0, 1.0]
    sums = LabelSums.of(np.array([0, 0, 2]), labels_NT, 3)
    assert sums.sums_TI.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, -1.0]]
    assert sums.counts_TI.tolist() == [[2.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    np.testing.assert_allclose(sums.prior_TI, [[0, 0, 1 / 9], [1 / 9, 0, -1 / 9]], rtol=1e-6)
    np.testing.assert_array_equal((sums + sums - sums).sums_TI, sums.sums_TI)


def test_labels_beyond_those_of_training_count_as_the_nearest_of_them() -> None:
    scales = [LabelScale(3.0, 2.0, 1.0, 5.0), LabelScale(0.5, 0.5, 0.0, 1.0)]
    found = standardised(np.array([[1e9, np.nan], [-7.0, 1.0]], np.float32), scales)
    np.testing.assert_array_equal(found, np.array([[1.0, np.nan], [-1.0, 1.0]], np.float32))


def test_offset_mood_and_near_by_hand() -> None:
    none = LabelSums(np.zeros((1, 3)), np.zeros((1, 3)))
    near_TII = np.array([[[0, 2, 3], [0, 0, 5], [0, 0, 0]]], np.float32)
    estimates = Estimates.fit(SCALES[:1], none, near_TII)
    found = estimates.along(np.array([0, 1, 2]), np.array([[5.0], [np.nan], [1.0]], np.float32))
    # Residuals 1, unknown, -1: before the third event one is known, so the offset is 1 / (1 + 3).
    assert column(found, "offset").tolist() == [0.0, 0.25, 0.25]
    np.testing.assert_allclose(column(found, "mood"), [0, 1 / 2.5, 0.8 / 2.3], rtol=1e-6)
    np.testing.assert_allclose(column(found, "spread"), np.sqrt([0.7, 3.1 / 4, 3.1 / 4]), rtol=1e-6)
    np.testing.assert_allclose(column(found, "events"), np.log1p([0, 1, 1]) / 6, rtol=1e-6)
    # The unknown event says nothing: third = 3 x (1 - 0.25) / (3 + 0.3), second = 2 x (1 - 0.25) / (2 + 0.3).
    np.testing.assert_allclose(column(found, "near"), [0, 1.5 / 2.3, 2.25 / 3.3], rtol=1e-6)


def test_nearness_is_a_shrunk_cosine_without_itself_and_without_enemies() -> None:
    gram_II = np.array([[4.0, 2.0, -3.0], [2.0, 4.0, 0.0], [-3.0, 0.0, 9.0]])
    near_II = nearness(gram_II, np.full((3, 3), 50.0))
    np.testing.assert_allclose(near_II, [[0, 0.25, 0], [0.25, 0, 0], [0, 0, 0]], rtol=1e-5)


def test_each_item_keeps_its_hundred_nearest() -> None:
    matrix = np.abs(np.random.default_rng(0).normal(size=(400, 130)))
    near_II = nearness(matrix.T @ matrix, np.full((130, 130), 1e9))
    assert ((near_II > 0).sum(0) == 100).all()
    unit = matrix / np.linalg.norm(matrix, axis=0)
    cosine_I = unit.T @ unit[:, 3]
    assert set(np.flatnonzero(near_II[:, 3])) == set(np.argsort(-cosine_I)[1:101])


@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 30), seed=st.integers(0, 100), near=st.booleans())
def test_what_is_asked_after_k_events_is_what_the_next_event_was_told(count: int, seed: int, near: bool) -> None:
    draw, estimates = np.random.default_rng(seed), fitted(near)
    items_S, labels_ST = draw.integers(0, ITEMS, count + 1), draw.normal(size=(count + 1, 2)).astype(np.float32)
    labels_ST[draw.random(labels_ST.shape) < 0.3] = np.nan
    along = estimates.along(items_S, labels_ST)
    asked = estimates.of(items_S[:-1], labels_ST[:-1], items_S[-1:])
    np.testing.assert_allclose(along[-1:], asked, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 100))
def test_around_an_event_is_what_is_asked_with_the_later_events_known(count: int, seed: int) -> None:
    draw, estimates = np.random.default_rng(seed), fitted()
    items_S, labels_ST = draw.integers(0, ITEMS, count), draw.normal(size=(count, 2)).astype(np.float32)
    labels_ST[draw.random(labels_ST.shape) < 0.3] = np.nan
    around = estimates.around(items_S, labels_ST)
    for place in range(count):
        later = Later(items_S[place + 1 :], labels_ST[place + 1 :])
        asked = estimates.of(items_S[:place], labels_ST[:place], items_S[place : place + 1], later)
        np.testing.assert_allclose(around[place : place + 1], asked, atol=1e-3)


def test_around_reads_every_label_but_its_own() -> None:
    draw, estimates = np.random.default_rng(1), fitted()
    items_S, labels_ST = draw.permutation(ITEMS), draw.normal(size=(ITEMS, 2)).astype(np.float32)
    other_ST = labels_ST.copy()
    other_ST[2] = 9.0
    one, two = (estimates.around(items_S, labels) for labels in (labels_ST, other_ST))
    np.testing.assert_allclose(one[2], two[2], atol=1e-4)
    changed = [not np.allclose(one[place], two[place], atol=1e-2) for place in range(ITEMS)]
    assert changed == [place != 2 for place in range(ITEMS)]
    mood = [column(one, "mood")[place] == column(two, "mood")[place] for place in range(ITEMS)]
    assert mood == [True, True, True, False, False, False]


def test_factors_by_hand() -> None:
    """Two items along one factor: 2 and 1, doubt 0 and 3; a residual of 1 of the first says 2 / (4 + 1) = 0.4."""
    latent = Latent(np.array([[2.0], [1.0]], np.float32), np.array([[0.0], [3.0]], np.float32), np.ones(1, np.float32))
    none = LabelSums(np.zeros((1, 2)), np.zeros((1, 2)))
    estimates = Estimates.fit(SCALES[:1], none, None, [latent])
    asked = estimates.of(np.array([0]), np.array([[5.0]], np.float32), np.array([0, 1]))
    # The residual 1 less the offset 1 / (1 + 3) is 0.75: the user is 0.75 x 2 / (4 + 1) = 0.3, the items 0.6 and 0.3.
    np.testing.assert_allclose(column(asked, "factors"), [0.6, 0.3], rtol=1e-5)
    doubted = estimates.of(np.array([1]), np.array([[5.0]], np.float32), np.array([0]))
    np.testing.assert_allclose(column(doubted, "factors"), [2 * 0.75 / (1 + 3 + 1)], rtol=1e-5)


def test_own_and_later_labels_change_nothing() -> None:
    draw, estimates = np.random.default_rng(1), fitted()
    items_S, labels_ST = draw.integers(0, ITEMS, 12), draw.normal(size=(12, 2)).astype(np.float32)
    other_ST = labels_ST.copy()
    other_ST[7:] = 99.0
    one, two = (estimates.along(items_S, labels) for labels in (labels_ST, other_ST))
    np.testing.assert_array_equal(one[:8], two[:8])
    assert not np.allclose(one[8:], two[8:])


def test_events_of_a_slate_read_what_was_before_the_slate() -> None:
    draw, estimates = np.random.default_rng(2), fitted()
    items_S, labels_ST = draw.integers(0, ITEMS, 6), draw.normal(size=(6, 2)).astype(np.float32)
    found = estimates.along(items_S, labels_ST, np.array([0, 1, 2, 2, 2, 5]))
    for place in (2, 3, 4):
        asked = estimates.of(items_S[:2], labels_ST[:2], items_S[place : place + 1])
        np.testing.assert_allclose(found[place : place + 1], asked, atol=1e-4)


def test_long_histories_are_cut_into_blocks_without_a_seam() -> None:
    draw, estimates = np.random.default_rng(3), fitted()
    items_S, labels_ST = draw.integers(0, ITEMS, 900), draw.normal(size=(900, 2)).astype(np.float32)
    along = estimates.along(items_S, labels_ST)
    for place in (499, 500, 501, 899):
        asked = estimates.of(items_S[:place], labels_ST[:place], items_S[place : place + 1])
        np.testing.assert_allclose(along[place : place + 1], asked, rtol=1e-3, atol=1e-2)


def test_a_history_without_labels_is_that_of_a_stranger() -> None:
    estimates, places = fitted(), np.array([1, 4])
    stranger = estimates.of(np.zeros(0, np.int64), np.zeros((0, 2), np.float32), places)
    np.testing.assert_array_equal(estimates.of(np.array([3, 2]), None, places), stranger)
    np.testing.assert_allclose(estimates.of(np.array([3]), np.full((1, 2), np.nan, np.float32), places), stranger)


def test_residuals_take_the_last_event_of_an_item_and_the_users_offset() -> None:
    matrix = residual_matrix(
        [np.array([2, 0, 2]), np.zeros(0, np.int64), np.array([1])],
        [np.array([9.0, 1.0, 3.0], np.float32), np.zeros(0, np.float32), np.array([np.nan], np.float32)],
        np.array([0.5, 0.0, 1.0], np.float32),
    )
    # Residuals 0.5 and 2 of items 0 and 2; the offset 2.5 / (2 + 3) = 0.5 is taken off.
    np.testing.assert_allclose(matrix.toarray(), [[0.0, 0, 1.5], [0, 0, 0], [0, 0, 0]])


def test_saved_and_loaded_are_alike(tmp_path: Path) -> None:
    for near in (True, False):
        one = fitted(near)
        one.save(tmp_path / "estimates.safetensors")
        two = Estimates.load(tmp_path / "estimates.safetensors", SCALES)
        assert (two.near_TII is None) == (not near)
        asked = (np.array([1, 2]), np.ones((2, 2), np.float32), np.array([0, 5]))
        np.testing.assert_array_equal(one.of(*asked), two.of(*asked))


@pytest.mark.parametrize("shards", [1, 2, FOLDS, 9])
def test_folds_divide_users_or_shards(shards: int) -> None:
    users = [f"u{number}" for number in range(400)]
    folds = [fold_of(users, shard, shards) for shard in range(shards)]
    assert set(np.concatenate(folds).tolist()) == set(range(FOLDS))
    assert all((len(set(one.tolist())) == 1) == (shards >= FOLDS) for one in folds)
