"""EASE on three items against the closed form, and its limit."""

import numpy as np
import pytest

from motet.errors import RetrievalError
from motet.retrieval.linear import LinearSource, gram, liking_weight, require_small, solve
from motet.retrieval.state import UserState

HISTORIES = [np.array([0, 1]), np.array([0, 2]), np.array([0, 1])]
WEIGHTS = [np.array([1.0, 0.5]), np.array([1.0, 1.0]), np.array([0.3, 1.0])]
X = np.array([[1, 0.5, 0], [1, 0, 1], [0.3, 1, 0]])


def test_the_gram_matrix_is_a_sum_over_users() -> None:
    whole = gram(HISTORIES, WEIGHTS, 3)
    np.testing.assert_allclose(whole, X.T @ X)
    parts = gram(HISTORIES[:1], WEIGHTS[:1], 3) + gram(HISTORIES[1:], WEIGHTS[1:], 3)
    np.testing.assert_allclose(parts, whole)
    assert not gram([], [], 3).any()


def test_each_column_is_the_ridge_regression_of_an_item_on_the_others() -> None:
    weights = solve(X.T @ X, 2.0)
    assert np.diag(weights).tolist() == [0, 0, 0]
    for item in range(3):
        others = [place for place in range(3) if place != item]
        direct = np.linalg.solve(X[:, others].T @ X[:, others] + 2 * np.eye(2), X[:, others].T @ X[:, item])
        np.testing.assert_allclose(weights[others, item], direct, rtol=1e-5)


def test_a_user_is_answered_with_the_sum_of_rows_and_dislikes_count_less() -> None:
    weights = solve(X.T @ X, 2.0)
    assert liking_weight(np.array([0, 1, 2]), 0.3).tolist() == pytest.approx([0.3, 1, 1])
    zero = np.zeros(2, np.float32)
    user = UserState(zero, zero, np.array([0, 2]), np.array([0, 1], np.int8), "known")
    answer = LinearSource(weights, 0.3).ask(user)
    np.testing.assert_allclose(answer.of(np.arange(3)), 0.3 * weights[0] + weights[2], rtol=1e-5)


def test_a_large_catalogue_is_refused_with_both_numbers() -> None:
    require_small(10, 10)
    with pytest.raises(RetrievalError, match=r"12,000 items are above retrieval.ease_limit = 5,000; leave ease out"):
        require_small(12_000, 5_000)
