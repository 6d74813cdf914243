"""How much better a task is one way than the other, with an interval over the users that both ways were asked about.

    kind        metric              of
    retrieval   ndcg at 10          users (the prediction of a row is its place in the user's list, 0 for none)
    binary      auc                 pairs of rows, of one user or of two
    regression  rmse                rows
    ordinal     rmse                rows
    count       Poisson deviance    rows
    ranking     ndcg                slates

Letters: N rows, U users, R draws of U users with replacement, G values that a prediction takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.evaluation.bootstrap import interval, resampled
from motet.kinds import KINDS
from motet.training.validation import K

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""From how often each user was drawn, [R, U], to the metric of each draw, [R]; NaN where it has no value."""

_LEAST_VALID = 0.5


@dataclass(frozen=True)
class Rows:
    """Held-out rows of one task, [N] each; a label that is NaN is unknown."""

    users_N: np.ndarray
    """Users as numbers."""
    labels_N: np.ndarray
    slates_N: np.ndarray
    """-1 for none; no two users have one number."""

    def known(self, within_N: np.ndarray | None = None) -> np.ndarray:
        """Return the places of the rows with a label, [M], in a slice if one is given."""
        known_N = ~np.isnan(self.labels_N)
        return np.flatnonzero(known_N if within_N is None else known_N & within_N)

    def at(self, places_M: np.ndarray) -> "Rows":
        """Return some of the rows, their users numbered from 0."""
        _, users_M = np.unique(self.users_N[places_M], return_inverse=True)
        return replace(
            self, users_N=users_M, labels_N=self.labels_N[places_M].astype(np.float64), slates_N=self.slates_N[places_M]
        )


def metric_of(kind: str) -> tuple[str, bool]:
    """Return the metric by which a kind is judged, and whether larger is better."""
    return next(iter(KINDS[kind].selection.items()))


def compare(
    kind: str,
    rows: Rows,
    together: Sequence[np.ndarray],
    alone: Sequence[np.ndarray],
    seed: int = 42,
    resamples: int = 1000,
    within_N: np.ndarray | None = None,
) -> dict[str, Any]:
    """Compare predictions of the same rows.

    Args:
        kind: of the task.
        rows: the held-out rows.
        together: predictions [N] of the networks trained on all tasks, one per seed of training.
        alone: those of the networks trained on this task alone, in the same order.
        seed: of the draws of users.
        resamples: R.
        within_N: the rows of a slice; all rows if None.

    Returns:
        `together` and `alone` (means over the seeds), `gain` (above 0 if together is better, whatever the metric),
        `low` and `high` (its 95 % interval), `gains` of each seed, `users` and `rows`. None is what
        the rows can't give.
    """
    places_M = rows.known(within_N)
    chosen = rows.at(places_M)
    users = int(chosen.users_N.max()) + 1 if len(places_M) else 0
    found: dict[str, Any] = {"users": users, "rows": len(places_M), "gains": []}
    found |= dict.fromkeys(("together", "alone", "gain", "low", "high"))
    if not users:
        return found
    sides = [[statistic(kind, chosen, one[places_M]) for one in side] for side in (together, alone)]
    values_2S = np.array([[one(np.ones((1, users)))[0] for one in side] for side in sides])
    if np.isnan(values_2S).any():
        return found
    sign = 1.0 if metric_of(kind)[1] else -1.0
    gains_S = sign * (values_2S[0] - values_2S[1])
    found |= {"together": float(values_2S[0].mean()), "alone": float(values_2S[1].mean())}
    found |= {"gain": float(gains_S.mean()), "gains": gains_S.tolist()}
    draws_R = sign * _differences(sides, users, seed, resamples)
    valid_R = ~np.isnan(draws_R)
    ends = interval(draws_R[valid_R])
    if ends is not None and valid_R.mean() >= _LEAST_VALID:
        found |= {"low": ends[0], "high": ends[1]}
    return found


def _differences(sides: list[list[Statistic]], users: int, seed: int, resamples: int) -> FloatArray:
    """Return together - alone of each draw, [R]; all networks meet the same draws."""
    parts = []
    for draws_RU in resampled(users, seed, resamples):
        weights_RU = np.stack([np.bincount(one, minlength=users) for one in draws_RU]).astype(np.float64)
        ours_R, theirs_R = (np.mean([one(weights_RU) for one in side], 0) for side in sides)
        parts.append(ours_R - theirs_R)
    return np.concatenate(parts)


def statistic(kind: str, rows: Rows, predictions_N: np.ndarray) -> Statistic:
    """Return the metric of a kind as a function of how often each user counts; all labels are known."""
    if kind == "binary":
        return _Auc(rows, predictions_N)
    each_N, counts_N = _MEANS[kind](rows, np.asarray(predictions_N, np.float64))
    users = int(rows.users_N.max()) + 1
    sums_U = np.bincount(rows.users_N, each_N, users).astype(np.float64)
    counts_U = np.bincount(rows.users_N, counts_N, users).astype(np.float64)
    if kind == "retrieval":
        sums_U, counts_U = sums_U / _ideal(counts_U), np.ones(users)
    return _Mean(sums_U, counts_U, root=kind in ("regression", "ordinal"))


@dataclass(frozen=True)
class _Mean:
    """A mean of sums over counts, or its root."""

    sums_U: FloatArray
    counts_U: FloatArray
    root: bool

    def __call__(self, weights_RU: FloatArray) -> FloatArray:
        counts_R = weights_RU @ self.counts_U
        mean_R = np.divide(weights_RU @ self.sums_U, counts_R, out=np.full(len(counts_R), np.nan), where=counts_R > 0)
        return np.asarray(np.sqrt(mean_R) if self.root else mean_R)


class _Auc:
    """The share of pairs of a 1 and a 0 that stand in the right order; ties count half."""

    def __init__(self, rows: Rows, predictions_N: np.ndarray) -> None:
        values_G, groups_N = np.unique(predictions_N, return_inverse=True)
        self.groups = len(values_G)
        self.positive, self.negative = ((groups_N[side], rows.users_N[side]) for side in
                                        (rows.labels_N == 1, rows.labels_N == 0))  # fmt: skip

    def __call__(self, weights_RU: FloatArray) -> FloatArray:
        return np.array([self._one(weights_U) for weights_U in weights_RU])

    def _one(self, weights_U: FloatArray) -> float:
        ones_G, zeros_G = (
            np.bincount(groups, weights_U[users], self.groups) for groups, users in (self.positive, self.negative)
        )
        pairs = ones_G.sum() * zeros_G.sum()
        below_G = np.cumsum(zeros_G) - zeros_G
        return float(ones_G @ (below_G + zeros_G / 2) / pairs) if pairs else float("nan")


Each = tuple[FloatArray, FloatArray]


def _squares(rows: Rows, predictions_N: FloatArray) -> Each:
    return (predictions_N - rows.labels_N) ** 2, np.ones(len(predictions_N))


def _deviances(rows: Rows, predictions_N: FloatArray) -> Each:
    labels_N, expected_N = rows.labels_N, np.maximum(predictions_N, 1e-12)
    ratio_N = np.where(labels_N > 0, labels_N, 1.0) / expected_N
    return 2 * (labels_N * np.log(np.where(labels_N > 0, ratio_N, 1.0)) - labels_N + expected_N), np.ones(len(labels_N))


def _in_slates(rows: Rows, predictions_N: FloatArray) -> Each:
    """Return the NDCG of each slate of several items with a gain at its first row, and 1 there."""
    values_N, counts_N = np.zeros(len(predictions_N)), np.zeros(len(predictions_N))
    order_N = np.argsort(rows.slates_N, kind="stable")
    starts = np.flatnonzero(np.diff(rows.slates_N[order_N])) + 1
    for places in np.split(order_N, starts):
        gains = np.maximum(rows.labels_N[places], 0.0)
        if rows.slates_N[places[0]] < 0 or len(places) < 2 or gains.sum() <= 0:
            continue
        discounts = 1 / np.log2(np.arange(2, len(places) + 2))
        ranked = gains[np.argsort(-predictions_N[places], kind="stable")]
        values_N[places[0]] = (ranked @ discounts) / (np.sort(gains)[::-1] @ discounts)
        counts_N[places[0]] = 1.0
    return values_N, counts_N


def _ideal(targets_U: np.ndarray) -> FloatArray:
    """Return the sum of discounts of the best list for a number of targets."""
    best_K = np.cumsum(1 / np.log2(np.arange(2, K + 2)))
    return np.asarray(best_K[np.clip(targets_U.astype(np.int64), 1, K) - 1])


def _discounts(rows: Rows, places_N: FloatArray) -> Each:
    hit_N = places_N > 0
    return np.where(hit_N, 1 / np.log2(np.where(hit_N, places_N, 1.0) + 1), 0.0), np.ones(len(places_N))


_MEANS: dict[str, Callable[[Rows, FloatArray], Each]] = {
    "retrieval": _discounts,
    "regression": _squares,
    "ordinal": _squares,
    "count": _deviances,
    "ranking": _in_slates,
}
