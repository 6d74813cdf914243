"""Alternating least squares against direct least squares; shards add up."""

import numpy as np
import pytest

from motet.errors import RetrievalError
from motet.retrieval.factors import (
    EXTRA_WEIGHT,
    FactorSource,
    ItemSums,
    item_sums,
    require_small,
    solve_items,
    start,
    user_factors,
)
from motet.retrieval.state import UserState

HISTORIES = [np.array([0, 1]), np.array([1, 2, 3]), np.array([0, 3])]
ITEMS, FACTORS, RIDGE = 5, 2, 0.7
Y = start(ITEMS, FACTORS, 3)


def _weighted_ridge(rows: np.ndarray, met: np.ndarray) -> np.ndarray:
    """Minimise sum c (p - row . x)^2 + ridge |x|^2 as ordinary least squares on stacked rows."""
    scale = np.sqrt(np.where(met, 1 + EXTRA_WEIGHT, 1.0))
    left = np.vstack([rows * scale[:, None], np.sqrt(RIDGE) * np.eye(FACTORS)])
    right = np.append(scale * met, np.zeros(FACTORS))
    return np.linalg.lstsq(left, right, rcond=None)[0]


def _user(places: np.ndarray) -> np.ndarray:
    return user_factors(places, Y, Y.T.astype(np.float64) @ Y, RIDGE)


def test_a_users_factors_are_the_least_squares_solution() -> None:
    for places in HISTORIES:
        expected = _weighted_ridge(Y.astype(np.float64), np.isin(np.arange(ITEMS), places))
        np.testing.assert_allclose(_user(places), expected, rtol=1e-4)


def test_item_factors_are_the_least_squares_solution() -> None:
    users = np.stack([_user(places) for places in HISTORIES]).astype(np.float64)
    solved = solve_items(item_sums(HISTORIES, Y, RIDGE), RIDGE)
    for item in range(ITEMS):
        met = np.array([item in places for places in HISTORIES])
        np.testing.assert_allclose(solved[item], _weighted_ridge(users, met), rtol=1e-3, atol=1e-5)
    assert not solved[4].any()  # nobody met it


def test_shards_add_up_to_the_whole_also_as_bytes() -> None:
    whole, total = item_sums(HISTORIES, Y, RIDGE), ItemSums.zeros(ITEMS, FACTORS)
    for shard in (HISTORIES[:1], HISTORIES[1:]):
        total.add(ItemSums.from_bytes(item_sums(shard, Y, RIDGE).to_bytes(), ITEMS, FACTORS))
    for name in ("left_IKK", "right_IK", "users_KK"):
        np.testing.assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-5)


def test_alternating_never_raises_the_loss() -> None:
    items, losses = Y, []
    for _ in range(5):
        users = np.stack([user_factors(one, items, items.T.astype(float) @ items, RIDGE) for one in HISTORIES])
        met = np.array([np.isin(np.arange(ITEMS), one) for one in HISTORIES])
        errors = np.where(met, 1 + EXTRA_WEIGHT, 1) * (met - users @ items.T) ** 2
        losses.append(errors.sum() + RIDGE * ((users**2).sum() + (items**2).sum()))
        items = solve_items(item_sums(HISTORIES, items, RIDGE), RIDGE)
    assert (np.diff(losses) <= 1e-4).all()
    assert losses[-1] < losses[0]


def test_a_user_is_answered_by_inner_products_and_each_item_counts_once() -> None:
    zero = np.zeros(2, np.float32)
    source = FactorSource(Y, RIDGE)
    one, twice = (
        source.ask(UserState(zero, zero, np.array(places), np.full(len(places), 2, np.int8), "known"))
        for places in ([0, 3], [3, 0, 3])
    )
    np.testing.assert_allclose(one.of(np.arange(ITEMS)), Y @ _user(np.array([0, 3])), rtol=1e-5)
    np.testing.assert_array_equal(one.of(np.arange(ITEMS)), twice.of(np.arange(ITEMS)))


def test_the_start_is_seeded() -> None:
    np.testing.assert_array_equal(start(4, 3, 1), start(4, 3, 1))
    assert (start(4, 3, 1) != start(4, 3, 2)).any()


def test_too_many_numbers_are_refused_with_them() -> None:
    require_small(10, 4, 160)
    with pytest.raises(RetrievalError, match=r"= 1,024,000 numbers, above retrieval.als_limit = 1,000,000; lower"):
        require_small(1_000, 32, 1_000_000)


def test_who_weighs_two_counts_like_two() -> None:
    twice = item_sums([*HISTORIES, HISTORIES[0]], Y, RIDGE)
    weighed = item_sums(HISTORIES, Y, RIDGE, [2.0] + [1.0] * (len(HISTORIES) - 1))
    for name in ("left_IKK", "right_IK", "users_KK"):
        np.testing.assert_allclose(getattr(weighed, name), getattr(twice, name), rtol=1e-5)
