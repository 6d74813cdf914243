"""Off-policy estimates: what reward would another policy have had, from the log of the one that ran.

The log holds for each row a context x, the action a that was taken, its reward r and the propensity p = mu(a | x) with
which the logging policy mu took it. The target policy pi is judged through w = pi(a | x) / p:

    IPS           mean(w r)                                        (Horvitz and Thompson 1952)
    SNIPS         sum(w r) / sum(w)                                (Swaminathan and Joachims, NeurIPS 2015)
    clipped IPS   mean(min(w, c) r), c = sqrt(N) if not given      (Ionides 2008, Truncated Importance Sampling)
    DR            mean(sum_a pi(a | x) q(x, a) + w (r - q(x, a)))  (Dudik, Langford and Li, ICML 2011)

IPS and DR are unbiased if the propensities are true and mu takes every action that pi may take; DR also if the reward
model q is right, whatever the propensities. SNIPS is consistent and moves with the rewards: r + c gives its value + c.
Clipping trades variance for a bias towards 0. The effective sample size sum(w)^2 / sum(w^2) (Kish 1965) says how many
rows of the target policy's own the log is worth; the mean of w is near 1 if the propensities are true.

Letters: N rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.errors import EvaluationError
from motet.evaluation.bootstrap import RESAMPLES, ratio_interval


@dataclass(frozen=True)
class Logged:
    """A log with what the target policy makes of it, float64 [N] each.

    Raises:
        EvaluationError: the lengths differ, there is no row, a number is not finite, a propensity is not above 0 and
            at most 1, or a target probability is not from 0 to 1.
    """

    reward_N: np.ndarray
    propensity_N: np.ndarray
    target_N: np.ndarray
    """pi(a | x) of the action that was taken."""
    predicted_N: np.ndarray | None = None
    """q(x, a) of the action that was taken; needed for DR."""
    expected_N: np.ndarray | None = None
    """sum_a pi(a | x) q(x, a); needed for DR."""
    cluster_N: np.ndarray | None = None
    """Who each row belongs to: rows of one user are drawn together in the bootstrap; each on its own if None."""

    def __post_init__(self) -> None:
        """Check the columns."""
        if not len(self.reward_N):
            raise EvaluationError("the log has no row; give at least one with a known propensity")
        if (self.predicted_N is None) != (self.expected_N is None):
            raise EvaluationError("predicted_N and expected_N go together; give both, or neither")
        for name, values in vars(self).items():
            if values is None:
                continue
            if np.shape(values) != (len(self.reward_N),):
                raise EvaluationError(f"{name} has the shape {np.shape(values)}; give ({len(self.reward_N)},)")
            if not np.isfinite(values).all():
                raise EvaluationError(f"{name} has a number that is not finite; leave such rows out")
        _require("propensity", self.propensity_N, self.propensity_N > 0, "above 0 and at most 1")
        _require("propensity", self.propensity_N, self.propensity_N <= 1, "above 0 and at most 1")
        _require("target", self.target_N, (self.target_N >= 0) & (self.target_N <= 1), "from 0 to 1")

    @property
    def weight_N(self) -> np.ndarray:
        """The importance weights w."""
        return np.asarray(self.target_N / self.propensity_N)

    @property
    def owners_N(self) -> np.ndarray:
        """The clusters of the bootstrap."""
        return np.arange(len(self.reward_N)) if self.cluster_N is None else self.cluster_N


def _require(name: str, values_N: np.ndarray, right_N: np.ndarray, wanted: str) -> None:
    if not right_N.all():
        row = int(np.argmin(right_N))
        raise EvaluationError(f"{name} = {values_N[row]:g} in row {row}: a probability must be {wanted}")


Terms = tuple[np.ndarray, np.ndarray]
"""What an estimate sums above the line and below it, [N] each."""


def _ips_terms(log: Logged) -> Terms:
    return log.weight_N * log.reward_N, np.ones(len(log.reward_N))


def _snips_terms(log: Logged) -> Terms:
    return log.weight_N * log.reward_N, log.weight_N


def _clipped_terms(log: Logged, most: float | None) -> Terms:
    bound = np.sqrt(len(log.reward_N)) if most is None else most
    return np.minimum(log.weight_N, bound) * log.reward_N, np.ones(len(log.reward_N))


def _robust_terms(log: Logged) -> Terms:
    if log.predicted_N is None or log.expected_N is None:
        raise EvaluationError("the doubly robust estimate needs predicted_N and expected_N of a reward model")
    return log.expected_N + log.weight_N * (log.reward_N - log.predicted_N), np.ones(len(log.reward_N))


def ips(log: Logged) -> float:
    """Return the inverse propensity score estimate of the target policy's mean reward (Horvitz and Thompson 1952)."""
    return _ratio(_ips_terms(log))


def snips(log: Logged) -> float:
    """Return the self-normalised estimate (Swaminathan and Joachims 2015).

    Raises:
        EvaluationError: the target policy takes none of the logged actions.
    """
    above_N, below_N = _snips_terms(log)
    if below_N.sum() <= 0:
        raise EvaluationError("the target policy takes none of the logged actions, so the log says nothing about it")
    return _ratio((above_N, below_N))


def clipped_ips(log: Logged, most: float | None = None) -> float:
    """Return the IPS estimate with weights of at most `most`, sqrt(N) if None (Ionides 2008)."""
    return _ratio(_clipped_terms(log, most))


def doubly_robust(log: Logged) -> float:
    """Return the doubly robust estimate (Dudik et al. 2011).

    Raises:
        EvaluationError: the log has no predictions of a reward model.
    """
    return _ratio(_robust_terms(log))


def effective_sample_size(weight_N: np.ndarray) -> float:
    """Return sum(w)^2 / sum(w^2) (Kish 1965); 0 if all weights are."""
    squares = float((weight_N**2).sum())
    return float(weight_N.sum()) ** 2 / squares if squares > 0 else 0.0


def _ratio(terms: Terms) -> float:
    return float(terms[0].sum() / terms[1].sum())


def estimates(log: Logged, seed: int = 42, most: float | None = None, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return every estimate with its 95 % bootstrap interval over clusters, and how far to trust them.

    Args:
        log: the log.
        seed: of the bootstrap.
        most: largest weight of the clipped estimate; sqrt(N) if None.
        resamples: of the bootstrap.

    Returns:
        `ips`, `snips`, `clipped_ips`, `dr` and `logged` (the logging policy's own mean reward), each with `mean`, `low`
        and `high`, or None if it is undefined; `rows`, `matched` (rows whose action the target policy may take),
        `mean_weight` and `effective_sample_size`.
    """
    ones_N = np.ones(len(log.reward_N))
    terms: dict[str, Terms] = {
        "logged": (log.reward_N, ones_N),
        "ips": _ips_terms(log),
        "snips": _snips_terms(log),
        "clipped_ips": _clipped_terms(log, most),
    }
    if log.predicted_N is not None:
        terms["dr"] = _robust_terms(log)
    figures: dict[str, Any] = {name: _figure(one, log, seed, resamples) for name, one in terms.items()}
    return figures | {
        "rows": len(log.reward_N),
        "matched": int((log.target_N > 0).sum()),
        "mean_weight": float(log.weight_N.mean()),
        "effective_sample_size": effective_sample_size(log.weight_N),
    }


def _figure(terms: Terms, log: Logged, seed: int, resamples: int) -> dict[str, float] | None:
    if terms[1].sum() <= 0:
        return None
    ends = ratio_interval(*terms, log.owners_N, seed, resamples)
    assert ends is not None
    return {"mean": _ratio(terms), "low": ends[0], "high": ends[1]}
