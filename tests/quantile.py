"""quantile: a number of which nine in ten are below what is said (Koenker and Bassett 1978); a kind from elsewhere."""

from dataclasses import dataclass, field

import numpy as np

from motet.kinds.kind import masked_sum

SHARE = 0.9


@dataclass(frozen=True)
class Quantile:
    """A number's 90 % quantile."""

    name: str = "quantile"
    labels: tuple[str, ...] = ("number",)
    selection: dict[str, bool] = field(default_factory=lambda: {"pinball": False, "loss": False})
    figures: dict[str, bool] = field(default_factory=lambda: {"pinball": False})
    options: frozenset[str] = frozenset()

    def problem(self, scale):
        return None

    def outputs(self, scale):
        return 1

    def raw(self, outputs_NO):
        return outputs_NO[:, 0]

    def loss(self, outputs_NO, labels_N, scale, weights_N=None, groups_N=None):
        gap_N = (labels_N.nan_to_num(scale.mean) - scale.mean) / scale.std - outputs_NO[:, 0]
        each_N = (SHARE * gap_N).maximum((SHARE - 1) * gap_N)
        return masked_sum(each_N, ~labels_N.isnan(), weights_N)

    def validation(self, raw_N, labels_N, scale, groups_N):
        found = self.report(raw_N * scale.std + scale.mean, labels_N, groups_N)
        return {"pinball": found["pinball"]} if found["rows"] else {}

    def report(self, served_N, labels_N, groups_N):
        known_N = ~np.isnan(labels_N)
        lost_N = _pinball(served_N[known_N], labels_N[known_N])
        below = (labels_N[known_N] <= served_N[known_N]).mean() if known_N.any() else np.nan
        return {"pinball": float(lost_N.mean()), "below": float(below), "rows": int(known_N.sum())}

    def statistic(self, predictions_N, labels_N, users_N, slates_N):
        from motet.kinds.statistics import Mean

        return Mean.of_rows(_pinball(predictions_N, labels_N), users_N)

    def fit(self, method, raw_N, labels_N, scale, moments_N=None):
        return self.uncalibrated(scale)

    def uncalibrated(self, scale):
        from motet.kinds.calibration import Calibrator

        return Calibrator("linear", (scale.std, scale.mean), (scale.low, scale.high))


def _pinball(served_N, labels_N):
    gap_N = np.asarray(labels_N - served_N, np.float64)
    return np.maximum(SHARE * gap_N, (SHARE - 1) * gap_N)
