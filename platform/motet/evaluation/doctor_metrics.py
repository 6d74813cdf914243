"""How much better a task is one way than the other, with an interval over the users that both ways were asked about.

    kind        metric              of
    retrieval   ndcg at 10          users (the prediction of a row is its place in the user's list, 0 for none)
    binary      auc                 pairs of rows, of one user or of two
    regression  rmse                rows
    ordinal     rmse                rows
    count       Poisson deviance    rows
    ranking     ndcg                slates

Letters: N rows, U users, R draws of U users with replacement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from motet.evaluation.bootstrap import interval, resampled
from motet.kinds import KINDS
from motet.kinds.statistics import FloatArray, Statistic

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
    predictions_N = np.asarray(predictions_N, np.float64)
    return KINDS[kind].statistic(predictions_N, rows.labels_N, rows.users_N, rows.slates_N)
