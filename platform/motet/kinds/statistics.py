"""Metrics as functions of how often each user counts, so that users can be drawn anew without another prediction.

Letters: N rows, U users, R draws of U users with replacement, G values that a prediction takes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""From how often each user was drawn, [R, U], to the metric of each draw, [R]; NaN where it has no value."""


@dataclass(frozen=True)
class Mean:
    """A mean of sums over counts, or its root."""

    sums_U: FloatArray
    counts_U: FloatArray
    root: bool = False

    @classmethod
    def of_rows(
        cls, each_N: np.ndarray, users_N: np.ndarray, counts_N: np.ndarray | None = None, root: bool = False
    ) -> "Mean":
        """Return the mean of what each row gives, over the rows that count.

        Args:
            each_N: of each row.
            users_N: users as numbers from 0.
            counts_N: 1 for a row that counts, else 0; all do if None.
            root: of the mean, as in an RMSE.
        """
        users = int(users_N.max()) + 1
        sums_U = np.bincount(users_N, each_N, users).astype(np.float64)
        return cls(sums_U, np.bincount(users_N, counts_N, users).astype(np.float64), root)

    def __call__(self, weights_RU: FloatArray) -> FloatArray:
        """Return the mean of each draw."""
        counts_R = weights_RU @ self.counts_U
        mean_R = np.divide(weights_RU @ self.sums_U, counts_R, out=np.full(len(counts_R), np.nan), where=counts_R > 0)
        return np.asarray(np.sqrt(mean_R) if self.root else mean_R)


class PairsInOrder:
    """The AUC: the share of pairs of a 1 and a 0, of any users, that stand in the right order; ties count half.

    Args:
        predictions_N: higher means rather a 1.
        labels_N: 0 or 1.
        users_N: users as numbers from 0.
    """

    def __init__(self, predictions_N: np.ndarray, labels_N: np.ndarray, users_N: np.ndarray) -> None:
        values_G, groups_N = np.unique(predictions_N, return_inverse=True)
        self.groups = len(values_G)
        self.positive, self.negative = ((groups_N[side], users_N[side]) for side in (labels_N == 1, labels_N == 0))

    def __call__(self, weights_RU: FloatArray) -> FloatArray:
        """Return the AUC of each draw."""
        return np.array([self._one(weights_U) for weights_U in weights_RU])

    def _one(self, weights_U: FloatArray) -> float:
        ones_G, zeros_G = (
            np.bincount(groups, weights_U[users], self.groups) for groups, users in (self.positive, self.negative)
        )
        pairs = ones_G.sum() * zeros_G.sum()
        below_G = np.cumsum(zeros_G) - zeros_G
        return float(ones_G @ (below_G + zeros_G / 2) / pairs) if pairs else float("nan")
