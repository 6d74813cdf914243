"""binary: whether something happens; a logit, cross-entropy, served as a calibrated probability."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motet.kinds.kind import Figures, LabelScale, masked_sum

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from motet.kinds.calibration import Calibrator
    from motet.kinds.statistics import Statistic


@dataclass(frozen=True)
class Binary:
    """A truth."""

    name: str = "binary"
    labels: tuple[str, ...] = ("truth",)
    selection: dict[str, bool] = field(default_factory=lambda: {"auc": True, "loss": False})
    figures: dict[str, bool] = field(default_factory=lambda: {"auc": True, "logloss": False})
    options: frozenset[str] = frozenset({"given", "negatives", "delay_days"})

    def problem(self, scale: LabelScale) -> str | None:
        """Return None: a truth is always right."""
        return None

    def outputs(self, scale: LabelScale) -> int:
        """Return 1: a logit."""
        return 1

    def raw(self, outputs_NO: Tensor) -> Tensor:
        """Return the logit."""
        return outputs_NO[:, 0]

    def loss(
        self,
        outputs_NO: Tensor,
        labels_N: Tensor,
        scale: LabelScale,
        weights_N: Tensor | None = None,
        groups_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy and the number of known labels."""
        from torch.nn import functional

        known_N = ~labels_N.isnan()
        each_N = functional.binary_cross_entropy_with_logits(
            outputs_NO[:, 0], labels_N.nan_to_num(0.0), reduction="none"
        )
        return masked_sum(each_N, known_N, weights_N)

    def validation(
        self, raw_N: np.ndarray, labels_N: np.ndarray, scale: LabelScale, groups_N: np.ndarray
    ) -> dict[str, float]:
        """Return the AUC, if both classes are there."""
        import numpy as np
        from sklearn.metrics import roc_auc_score

        known_N = ~np.isnan(labels_N)
        if len(np.unique(labels_N[known_N])) < 2:
            return {}
        return {"auc": float(roc_auc_score(labels_N[known_N], raw_N[known_N]))}

    def report(self, served_N: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray) -> Figures:
        """Return AUC, log loss and calibration, with the reliability curve."""
        from motet.kinds.metrics import binary_metrics, reliability

        return {**binary_metrics(labels_N, served_N), "reliability": reliability(labels_N, served_N)}

    def statistic(
        self, predictions_N: np.ndarray, labels_N: np.ndarray, users_N: np.ndarray, slates_N: np.ndarray
    ) -> Statistic:
        """Return the AUC."""
        from motet.kinds.statistics import PairsInOrder

        return PairsInOrder(predictions_N, labels_N, users_N)

    def fit(
        self,
        method: str,
        raw_N: np.ndarray,
        labels_N: np.ndarray,
        scale: LabelScale,
        moments_N: np.ndarray | None = None,
    ) -> Calibrator:
        """Fit by the recipe's method."""
        from motet.kinds.calibration import fit_binary

        return fit_binary(method, raw_N, labels_N, moments_N)

    def uncalibrated(self, scale: LabelScale) -> Calibrator:
        """Return the sigmoid."""
        from motet.kinds.calibration import Calibrator

        return Calibrator("none")
