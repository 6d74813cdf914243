"""regression: a number; a standardised value, squared error, served on the label's scale within its range."""

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
class Regression:
    """A number."""

    name: str = "regression"
    labels: tuple[str, ...] = ("number",)
    selection: dict[str, bool] = field(default_factory=lambda: {"rmse": False, "loss": False})
    figures: dict[str, bool] = field(default_factory=lambda: {"rmse": False})
    options: frozenset[str] = frozenset()

    def problem(self, scale: LabelScale) -> str | None:
        """Return None: any number will do."""
        return None

    def outputs(self, scale: LabelScale) -> int:
        """Return 1: the standardised value."""
        return 1

    def raw(self, outputs_NO: Tensor) -> Tensor:
        """Return the standardised value."""
        return outputs_NO[:, 0]

    def loss(
        self,
        outputs_NO: Tensor,
        labels_N: Tensor,
        scale: LabelScale,
        weights_N: Tensor | None = None,
        groups_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the summed squared error of standardised values and the number of known labels."""
        known_N = ~labels_N.isnan()
        standard_N = (labels_N.nan_to_num(scale.mean) - scale.mean) / scale.std
        return masked_sum((outputs_NO[:, 0] - standard_N) ** 2, known_N, weights_N)

    def validation(
        self, raw_N: np.ndarray, labels_N: np.ndarray, scale: LabelScale, groups_N: np.ndarray
    ) -> dict[str, float]:
        """Return the root mean squared error on the label's scale."""
        import numpy as np

        known_N = ~np.isnan(labels_N)
        error_N = (raw_N * scale.std + scale.mean - labels_N)[known_N].astype(np.float64)
        return {"rmse": float(np.sqrt((error_N**2).mean()))} if len(error_N) else {}

    def report(self, served_N: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray) -> Figures:
        """Return RMSE and MAE."""
        from motet.kinds.metrics import regression_metrics

        return {**regression_metrics(labels_N, served_N)}

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

        return fit_linear(raw_N, labels_N, (scale.std, scale.mean), (scale.low, scale.high))

    def uncalibrated(self, scale: LabelScale) -> Calibrator:
        """Return the line back to the label's scale, not clipped."""
        from motet.kinds.calibration import Calibrator

        return Calibrator("linear", (scale.std, scale.mean), (-float("inf"), float("inf")))
