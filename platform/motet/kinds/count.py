"""count: how many; Poisson regression with a log link, served as the expected count (McCullagh and Nelder 1989)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motet.kinds.kind import Figures, LabelScale, masked_sum

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from motet.kinds.calibration import Calibrator
    from motet.kinds.statistics import Statistic

LARGEST_LOG = 20.0


@dataclass(frozen=True)
class Count:
    """A number of 0 or more, such as plays."""

    name: str = "count"
    labels: tuple[str, ...] = ("number",)
    selection: dict[str, bool] = field(default_factory=lambda: {"deviance": False, "mae": False, "loss": False})
    figures: dict[str, bool] = field(default_factory=lambda: {"deviance": False})
    options: frozenset[str] = frozenset()

    def problem(self, scale: LabelScale) -> str | None:
        """Return that there are labels below 0, if so."""
        if scale.low < 0:
            return f"has the label {scale.low:g}, and a count is at least 0; use kind regression or mend the label"
        return None

    def outputs(self, scale: LabelScale) -> int:
        """Return 1: the log of the expected count."""
        return 1

    def raw(self, outputs_NO: Tensor) -> Tensor:
        """Return the log of the expected count."""
        return outputs_NO[:, 0]

    def loss(
        self,
        outputs_NO: Tensor,
        labels_N: Tensor,
        scale: LabelScale,
        weights_N: Tensor | None = None,
        groups_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the summed exp(f) - y f, the negative log-likelihood but for log(y!), and the number of labels."""
        known_N = ~labels_N.isnan()
        log_N = outputs_NO[:, 0].clamp(max=LARGEST_LOG)
        return masked_sum(log_N.exp() - labels_N.nan_to_num(0.0) * log_N, known_N, weights_N)

    def validation(
        self, raw_N: np.ndarray, labels_N: np.ndarray, scale: LabelScale, groups_N: np.ndarray
    ) -> dict[str, float]:
        """Return the mean Poisson deviance and the mean absolute error."""
        import numpy as np

        found = self.report(np.exp(np.minimum(raw_N, LARGEST_LOG)), labels_N, groups_N)
        return {name: value for name in ("deviance", "mae") if isinstance(value := found[name], float)}

    def report(self, served_N: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray) -> Figures:
        """Return the mean Poisson deviance and the mean absolute error."""
        from motet.kinds.metrics import count_metrics

        return {**count_metrics(labels_N, served_N)}

    def statistic(
        self, predictions_N: np.ndarray, labels_N: np.ndarray, users_N: np.ndarray, slates_N: np.ndarray
    ) -> Statistic:
        """Return the mean Poisson deviance."""
        from motet.kinds.metrics import poisson_deviances
        from motet.kinds.statistics import Mean

        return Mean.of_rows(poisson_deviances(labels_N, predictions_N), users_N)

    def fit(
        self,
        method: str,
        raw_N: np.ndarray,
        labels_N: np.ndarray,
        scale: LabelScale,
        moments_N: np.ndarray | None = None,
    ) -> Calibrator:
        """Fit a factor, so that expected and observed counts have one mean."""
        from motet.kinds.calibration import fit_factor

        return fit_factor(raw_N, labels_N)

    def uncalibrated(self, scale: LabelScale) -> Calibrator:
        """Return the exponential."""
        from motet.kinds.calibration import Calibrator

        return Calibrator("exponential", (0.0,))
