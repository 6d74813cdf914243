"""ordinal: a level such as stars; cumulative logits with ordered thresholds, served as the expected level.

P(level >= k) = sigmoid(score - threshold k) (McCullagh 1980; CORAL, Cao et al. 2020, has the same ordered thresholds).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motet.kinds.kind import Figures, LabelScale, masked_sum

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from motet.kinds.calibration import Calibrator
    from motet.kinds.statistics import Statistic

MOST_LEVELS = 20


@dataclass(frozen=True)
class Ordinal:
    """A whole number between the lowest and the highest training label."""

    name: str = "ordinal"
    labels: tuple[str, ...] = ("number",)
    selection: dict[str, bool] = field(
        default_factory=lambda: {"rmse": False, "mae": False, "kappa": True, "loss": False}
    )
    figures: dict[str, bool] = field(default_factory=lambda: {"rmse": False})
    options: frozenset[str] = frozenset()

    def problem(self, scale: LabelScale) -> str | None:
        """Return that there are fractions, one level only, or more than 20 levels, if so."""
        levels = scale.high - scale.low + 1
        if not scale.whole:
            return "has labels that are no whole numbers; use kind regression"
        if not 2 <= levels <= MOST_LEVELS:
            return f"has {levels:g} levels, from {scale.low:g} to {scale.high:g}; it takes 2 to {MOST_LEVELS}"
        return None

    def outputs(self, scale: LabelScale) -> int:
        """Return one cumulative logit for each level but the lowest."""
        return max(1, round(scale.high - scale.low))

    def raw(self, outputs_NO: Tensor) -> Tensor:
        """Return the expected number of levels above the lowest."""
        return outputs_NO.sigmoid().sum(-1)

    def loss(
        self,
        outputs_NO: Tensor,
        labels_N: Tensor,
        scale: LabelScale,
        weights_N: Tensor | None = None,
        groups_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the summed -log P(level) and the number of known labels.

        With a >= b the neighbouring cumulative logits, sigmoid(a) - sigmoid(b) is
        sigmoid(a) sigmoid(-b) (1 - e^(b - a)), which neither cancels nor overflows in logs.
        """
        import torch
        from torch.nn import functional

        known_N = ~labels_N.isnan()
        levels = outputs_NO.shape[1]
        level_N = (labels_N.nan_to_num(scale.low) - scale.low).round().long().clamp(0, levels)
        reached_N = outputs_NO.gather(1, (level_N - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        missed_N = outputs_NO.gather(1, level_N.clamp(max=levels - 1).unsqueeze(1)).squeeze(1)
        between_N = (level_N > 0) & (level_N < levels)
        step_N = torch.where(between_N, missed_N - reached_N, -1.0)
        log_N = torch.where(level_N > 0, functional.logsigmoid(reached_N), 0.0)
        log_N = log_N + torch.where(level_N < levels, functional.logsigmoid(-missed_N), 0.0)
        log_N = log_N + torch.where(between_N, torch.log(-torch.expm1(step_N)), 0.0)
        return masked_sum(-log_N, known_N, weights_N)

    def validation(
        self, raw_N: np.ndarray, labels_N: np.ndarray, scale: LabelScale, groups_N: np.ndarray
    ) -> dict[str, float]:
        """Return RMSE, MAE and the quadratic-weighted kappa of the expected level."""
        found = self.report(raw_N + scale.low, labels_N, groups_N)
        return {name: value for name in ("rmse", "mae", "kappa") if isinstance(value := found[name], float)}

    def report(self, served_N: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray) -> Figures:
        """Return RMSE, MAE, accuracy and the quadratic-weighted kappa of the rounded level."""
        from motet.kinds.metrics import ordinal_metrics

        return {**ordinal_metrics(labels_N, served_N)}

    def statistic(
        self, predictions_N: np.ndarray, labels_N: np.ndarray, users_N: np.ndarray, slates_N: np.ndarray
    ) -> Statistic:
        """Return the RMSE."""
        from motet.kinds.statistics import Mean

        return Mean.of_rows((predictions_N - labels_N) ** 2, users_N, root=True)

    def fit(
        self,
        method: str,
        raw_N: np.ndarray,
        labels_N: np.ndarray,
        scale: LabelScale,
        moments_N: np.ndarray | None = None,
    ) -> Calibrator:
        """Fit a line."""
        from motet.kinds.calibration import fit_linear

        return fit_linear(raw_N, labels_N, (1.0, scale.low), (scale.low, scale.high))

    def uncalibrated(self, scale: LabelScale) -> Calibrator:
        """Return the expected level itself."""
        from motet.kinds.calibration import Calibrator

        return Calibrator("linear", (1.0, scale.low), (scale.low, scale.high))
