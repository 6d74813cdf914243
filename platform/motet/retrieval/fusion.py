"""Fusion: one log-probability from the scores of several sources.

A conditional logit (McFadden 1974): among a user's candidates, P(next = c) is the softmax of a weighted sum of
each source's standardised score, of its log rank, and of whether it listed c at all. Weights are fitted on the
validation events, with an L2 penalty, by L-BFGS.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from motet.errors import RetrievalError

FEATURES_PER_SOURCE = 3
_PENALTY = 1e-3


def log_softmax(logits_C: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float32 [C]."""
    shifted_C = logits_C - logits_C.max(initial=-np.inf) if len(logits_C) else logits_C
    return np.asarray(shifted_C - np.log(np.exp(shifted_C).sum()) if len(logits_C) else logits_C, np.float32)


class Fusion:
    """Fitted weights for a list of sources.

    Args:
        sources: names, in the order of the columns.
        center_S: subtracted from each source's score.
        scale_S: divides it.
        weights_F: one weight per feature: scores, then log ranks, then presence.
    """

    def __init__(
        self, sources: Sequence[str], center_S: np.ndarray, scale_S: np.ndarray, weights_F: np.ndarray
    ) -> None:
        self.sources, self.center_S, self.scale_S, self.weights_F = (
            tuple(sources),
            center_S,
            scale_S,
            weights_F,
        )

    def features(self, scores_CS: np.ndarray, ranks_CS: np.ndarray) -> np.ndarray:
        """Return [C, 3S].

        Args:
            scores_CS: score of each source, NaN (taken as 0) where it has none.
            ranks_CS: place in the source's list from 0; NaN where it was not listed.
        """
        listed_CS = ~np.isnan(ranks_CS)
        logs_CS = np.where(listed_CS, -np.log1p(np.nan_to_num(ranks_CS)), -np.log1p(ranks_CS.shape[0]))
        scores_CS = np.nan_to_num(scores_CS)
        return np.concatenate([(scores_CS - self.center_S) / self.scale_S, logs_CS, listed_CS], 1)

    def log_probabilities(self, scores_CS: np.ndarray, ranks_CS: np.ndarray) -> np.ndarray:
        """Return the log-probability of each candidate, float32 [C]."""
        return log_softmax(self.features(scores_CS, ranks_CS) @ self.weights_F)

    @classmethod
    def fit(cls, sources: Sequence[str], examples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> "Fusion":
        """Fit on examples (scores_CS, ranks_CS, row of the item that came next).

        Raises:
            RetrievalError: if there is no example: no candidate list held its target.
        """
        if not examples:
            raise RetrievalError("fusion: no validation event is among its candidates; raise retrieval.candidates")
        every = np.nan_to_num(np.concatenate([scores for scores, _, _ in examples]))
        scale_S = every.std(0)
        fusion = cls(sources, every.mean(0), np.where(scale_S > 0, scale_S, 1.0), np.zeros(0))
        lengths_U = np.array([len(scores) for scores, _, _ in examples])
        features_NF = np.concatenate([fusion.features(scores, ranks) for scores, ranks, _ in examples])
        starts_U = np.cumsum(lengths_U) - lengths_U
        targets = [np.atleast_1d(rows) + start for start, (_, _, rows) in zip(starts_U, examples, strict=True)]
        share_N = np.zeros(len(features_NF))
        for rows in targets:
            share_N[rows] = 1 / len(rows)

        def loss(weights_F: np.ndarray) -> tuple[float, np.ndarray]:
            logits_N = features_NF @ weights_F
            logits_N = logits_N - np.repeat(np.maximum.reduceat(logits_N, starts_U), lengths_U)
            exp_N = np.exp(logits_N)
            total_U = np.add.reduceat(exp_N, starts_U)
            wrong_N = exp_N / np.repeat(total_U, lengths_U) - share_N
            nll = np.log(total_U).sum() - (share_N * logits_N).sum()
            users = len(examples)
            penalty = _PENALTY * float(weights_F @ weights_F)
            return nll / users + penalty, features_NF.T @ wrong_N / users + 2 * _PENALTY * weights_F

        fitted = minimize(loss, np.zeros(features_NF.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
        fusion.weights_F = fitted.x
        return fusion

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "sources": list(self.sources),
            "center": self.center_S.tolist(),
            "scale": self.scale_S.tolist(),
            "weights": self.weights_F.tolist(),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Fusion":
        """Rebuild from `to_dict`."""
        arrays = (np.array(value[name], np.float64) for name in ("center", "scale", "weights"))
        return cls(value["sources"], *arrays)
