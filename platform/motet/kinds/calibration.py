"""Calibration: raw scores of the heads to probabilities and values that mean what they say.

    binary       temperature  p = sigmoid(logit / t)                        (Guo et al., ICML 2017)
                 platt      p = sigmoid(a * logit + b)                      (Platt 1999)
                 isotonic   p = a rising step function of the logit         (Zadrozny and Elkan 2002)
                 none       p = sigmoid(logit)
                 auto       the one of these that, fitted on earlier events, has the least log loss on later ones
    regression   linear     value = a * raw + b by least squares, clipped to the labels' range; also of ordinal
    count        exponential value = exp(raw + b), so that the means agree
    ranking      platt, or identity: the score itself

Fitted on validation events. With fewer than 50 of them, or one class only, a binary task stays uncalibrated. `auto`
is `platt` if the moments of the events are unknown, or either side of the division has too few of them.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from motet.kinds.count import LARGEST_LOG

LEAST_ROWS = 50
BINARY = ("none", "temperature", "platt", "isotonic")
"""What `auto` chooses from; of equals the first."""
_EDGE = 1e-4
_EARLIER = 2 / 3
"""Share of the events, by time, on which the candidates of `auto` are fitted."""
_LARGEST_LOG_TEMPERATURE = 5.0


@dataclass(frozen=True)
class Calibrator:
    """One task's mapping; `kind` is one of `BINARY`, linear, exponential or identity."""

    kind: str
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    tried: tuple[tuple[str, float], ...] = ()
    """Log loss on later events of the kinds that it was chosen from."""

    def apply(self, raw_N: np.ndarray) -> np.ndarray:
        """Return calibrated scores, float32 [N]."""
        if self.kind == "identity":
            return np.asarray(raw_N, np.float32)
        if self.kind == "exponential":
            return np.exp(np.minimum(np.asarray(raw_N, np.float64) + self.x[0], LARGEST_LOG)).astype(np.float32)
        if self.kind == "linear":
            slope, intercept = self.x
            return np.clip(slope * raw_N + intercept, self.y[0], self.y[1]).astype(np.float32)
        if self.kind == "isotonic":
            return np.interp(raw_N, self.x, self.y).astype(np.float32)
        if self.kind == "temperature":
            return sigmoid(np.asarray(raw_N, np.float64) / self.x[0])
        slope, intercept = self.x if self.kind == "platt" else (1.0, 0.0)
        return sigmoid(slope * raw_N + intercept)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        tried = {"tried": [list(one) for one in self.tried]} if self.tried else {}
        return {"kind": self.kind, "x": list(self.x), "y": list(self.y), **tried}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Calibrator":
        """Rebuild from `to_dict`."""
        tried = tuple((kind, loss) for kind, loss in value.get("tried", ()))
        return cls(value["kind"], tuple(value["x"]), tuple(value["y"]), tried)


def sigmoid(logits_N: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow, float32."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits_N, np.float64))), np.float32)


def fit_binary(
    kind: str, logits_N: np.ndarray, labels_N: np.ndarray, moments_N: np.ndarray | None = None
) -> Calibrator:
    """Fit a binary task's calibrator.

    Args:
        kind: one of `BINARY`, or auto.
        logits_N: raw scores.
        labels_N: 0, 1, NaN = unknown.
        moments_N: when each event came, by which `auto` divides them; None is unknown.
    """
    known_N = ~np.isnan(labels_N)
    raw, labels = logits_N[known_N].astype(np.float64), labels_N[known_N]
    if kind == "auto":
        return _chosen(raw, labels, None if moments_N is None else moments_N[known_N])
    return _fitted(kind, raw, labels)


def _fitted(kind: str, raw_N: np.ndarray, labels_N: np.ndarray) -> Calibrator:
    """Fit a calibrator of one kind to known labels."""
    if kind == "none" or not _enough(labels_N):
        return Calibrator("none")
    if kind == "temperature":
        return Calibrator("temperature", (_temperature(raw_N, labels_N),))
    if kind == "platt":
        fitted = LogisticRegression(C=1e6).fit(raw_N[:, None], labels_N)
        return Calibrator("platt", (float(fitted.coef_[0, 0]), float(fitted.intercept_[0])))
    steps = IsotonicRegression(y_min=_EDGE, y_max=1 - _EDGE, out_of_bounds="clip").fit(raw_N, labels_N)
    return Calibrator("isotonic", tuple(map(float, steps.X_thresholds_)), tuple(map(float, steps.y_thresholds_)))


def _enough(labels_N: np.ndarray) -> bool:
    return len(labels_N) >= LEAST_ROWS and len(np.unique(labels_N)) == 2


def _temperature(raw_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the temperature of least log loss."""

    def loss(log_temperature: float) -> float:
        scaled_N = raw_N / np.exp(log_temperature)
        return float((np.logaddexp(0.0, scaled_N) - labels_N * scaled_N).mean())

    bounds = (-_LARGEST_LOG_TEMPERATURE, _LARGEST_LOG_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def _chosen(raw_N: np.ndarray, labels_N: np.ndarray, moments_N: np.ndarray | None) -> Calibrator:
    """Fit each kind on the earlier events, take the one of least log loss on the later ones, fit it on all."""
    if moments_N is None or not len(moments_N):
        return _fitted("platt", raw_N, labels_N)
    early_N = moments_N <= np.quantile(moments_N, _EARLIER, method="lower")
    if not (_enough(labels_N[early_N]) and _enough(labels_N[~early_N])):
        return _fitted("platt", raw_N, labels_N)
    early = {kind: _fitted(kind, raw_N[early_N], labels_N[early_N]) for kind in BINARY}
    losses = {kind: _log_loss(one.apply(raw_N[~early_N]), labels_N[~early_N]) for kind, one in early.items()}
    best = min(losses, key=lambda kind: losses[kind])
    return replace(_fitted(best, raw_N, labels_N), tried=tuple(losses.items()))


def _log_loss(probabilities_N: np.ndarray, labels_N: np.ndarray) -> float:
    said_N = np.clip(probabilities_N.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-(labels_N * np.log(said_N) + (1 - labels_N) * np.log1p(-said_N)).mean())


def fit_linear(
    raw_N: np.ndarray, labels_N: np.ndarray, unfitted: tuple[float, float], label_range: tuple[float, float]
) -> Calibrator:
    """Fit a line from raw values to labels.

    Args:
        raw_N: the head's raw values.
        labels_N: labels, NaN = unknown.
        unfitted: slope and intercept when there are too few rows, or all raw values are one.
        label_range: smallest and largest training label.
    """
    known_N = ~np.isnan(labels_N)
    if known_N.sum() < LEAST_ROWS or raw_N[known_N].std() < 1e-9:
        return Calibrator("linear", unfitted, label_range)
    slope, intercept = np.polyfit(raw_N[known_N].astype(np.float64), labels_N[known_N], 1)
    return Calibrator("linear", (float(slope), float(intercept)), label_range)


def fit_factor(raw_N: np.ndarray, labels_N: np.ndarray) -> Calibrator:
    """Fit the factor that gives expected counts the mean of the observed ones.

    Args:
        raw_N: logs of expected counts.
        labels_N: counts, NaN = unknown.
    """
    known_N = ~np.isnan(labels_N)
    if known_N.sum() < LEAST_ROWS or labels_N[known_N].sum() <= 0:
        return Calibrator("exponential", (0.0,))
    expected = float(np.exp(np.minimum(raw_N[known_N].astype(np.float64), LARGEST_LOG)).mean())
    return Calibrator("exponential", (float(np.log(labels_N[known_N].mean() / expected)),))
