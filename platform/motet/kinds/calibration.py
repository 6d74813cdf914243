"""Calibration: raw scores of the heads to probabilities and values that mean what they say.

    binary       platt      p = sigmoid(a * logit + b)                      (Platt 1999)
                 isotonic   p = a rising step function of the logit         (Zadrozny and Elkan 2002)
                 none       p = sigmoid(logit)
    regression   linear     value = a * raw + b by least squares, clipped to the labels' range; also of ordinal
    count        exponential value = exp(raw + b), so that the means agree
    ranking      platt, or identity: the score itself

Fitted on validation events. With fewer than 50 of them, or one class only, a binary task stays uncalibrated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from motet.kinds.count import LARGEST_LOG

LEAST_ROWS = 50
_EDGE = 1e-4


@dataclass(frozen=True)
class Calibrator:
    """One task's mapping; `kind` is none, platt, isotonic, linear, exponential or identity."""

    kind: str
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

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
        slope, intercept = self.x if self.kind == "platt" else (1.0, 0.0)
        return sigmoid(slope * raw_N + intercept)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"kind": self.kind, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Calibrator":
        """Rebuild from `to_dict`."""
        return cls(value["kind"], tuple(value["x"]), tuple(value["y"]))


def sigmoid(logits_N: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow, float32."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits_N, np.float64))), np.float32)


def fit_binary(kind: str, logits_N: np.ndarray, labels_N: np.ndarray) -> Calibrator:
    """Fit a binary task's calibrator.

    Args:
        kind: none, platt or isotonic.
        logits_N: raw scores.
        labels_N: 0, 1, NaN = unknown.
    """
    known_N = ~np.isnan(labels_N)
    raw, labels = logits_N[known_N].astype(np.float64), labels_N[known_N]
    if kind == "none" or len(labels) < LEAST_ROWS or len(np.unique(labels)) < 2:
        return Calibrator("none")
    if kind == "platt":
        fitted = LogisticRegression(C=1e6).fit(raw[:, None], labels)
        return Calibrator("platt", (float(fitted.coef_[0, 0]), float(fitted.intercept_[0])))
    steps = IsotonicRegression(y_min=_EDGE, y_max=1 - _EDGE, out_of_bounds="clip").fit(raw, labels)
    return Calibrator("isotonic", tuple(map(float, steps.X_thresholds_)), tuple(map(float, steps.y_thresholds_)))


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
