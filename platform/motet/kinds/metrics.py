"""Metrics of one task's predictions: a probability, a number, a count, a level, an order within slates.

A label that is NaN is unknown: its row is left out. A figure that the known rows can't give (the AUC of one
class, any figure of no row) is None, which JSON writes as null.

Letters: N rows, B bins.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_poisson_deviance,
    roc_auc_score,
    root_mean_squared_error,
)

from motet.errors import EvaluationError

BINS = 15
"""How many equal-width bins the calibration error has."""

FloatArray = NDArray[np.float64]


def binary_metrics(labels_N: ArrayLike, probabilities_N: ArrayLike) -> dict[str, float | None]:
    """Scores the probabilities of a binary task.

    Args:
        labels_N: 0, 1, or NaN for unknown, shape (N,).
        probabilities_N: The predicted probability of 1, from 0 to 1, shape (N,).

    Returns:
        `auc` (None if the known labels are all 0 or all 1), `logloss` (nats), `accuracy` (a probability of at
        least 0.5 says 1), `base_rate` (the share of 1), `ece` (expected calibration error over 15 bins of
        equal width) and `rows` (how many labels are known).

    Raises:
        EvaluationError: A prediction is not finite or not from 0 to 1, a label is not 0 or 1, or the shapes
            differ.
    """
    labels, probabilities = _known_binary(labels_N, probabilities_N)
    if not labels.size:
        return dict.fromkeys(("auc", "logloss", "accuracy", "base_rate", "ece")) | {"rows": 0}
    return {
        "auc": float(roc_auc_score(labels, probabilities)) if np.unique(labels).size > 1 else None,
        "logloss": float(log_loss(labels, probabilities, labels=[0, 1])),
        "accuracy": float(accuracy_score(labels, probabilities >= 0.5)),
        "base_rate": float(labels.mean()),
        "ece": _calibration_error(labels, probabilities, BINS),
        "rows": labels.size,
    }


def regression_metrics(labels_N: ArrayLike, predictions_N: ArrayLike) -> dict[str, float | None]:
    """Scores the predictions of a regression task.

    Args:
        labels_N: Numbers, or NaN for unknown, shape (N,).
        predictions_N: The predicted numbers, shape (N,).

    Returns:
        `rmse` and `mae` (in the unit of the label) and `rows` (how many labels are known).

    Raises:
        EvaluationError: A prediction is not finite, a label is infinite, or the shapes differ.
    """
    labels, predictions = _known(labels_N, predictions_N)
    if not labels.size:
        return {"rmse": None, "mae": None, "rows": 0}
    return {
        "rmse": float(root_mean_squared_error(labels, predictions)),
        "mae": float(mean_absolute_error(labels, predictions)),
        "rows": labels.size,
    }


def count_metrics(labels_N: ArrayLike, counts_N: ArrayLike) -> dict[str, float | None]:
    """Scores the expected counts of a count task.

    Args:
        labels_N: Counts of 0 or more, or NaN for unknown, shape (N,).
        counts_N: The expected counts, above 0, shape (N,).

    Returns:
        `deviance` (mean Poisson deviance), `mae` and `rows` (how many labels are known).

    Raises:
        EvaluationError: A prediction is not finite or not above 0, a label is infinite or below 0, or the shapes
            differ.
    """
    labels, counts = _known(labels_N, counts_N)
    if not labels.size:
        return {"deviance": None, "mae": None, "rows": 0}
    if labels.min() < 0 or counts.min() <= 0:
        raise EvaluationError(
            f"the least label is {labels.min()}, the least expected count {counts.min()}: "
            "give labels of 0 or more and counts above 0"
        )
    return {
        "deviance": float(mean_poisson_deviance(labels, counts)),
        "mae": float(mean_absolute_error(labels, counts)),
        "rows": labels.size,
    }


def ordinal_metrics(labels_N: ArrayLike, levels_N: ArrayLike) -> dict[str, float | None]:
    """Scores the expected levels of an ordinal task.

    Args:
        labels_N: Whole numbers, or NaN for unknown, shape (N,).
        levels_N: The expected levels, shape (N,).

    Returns:
        `rmse` and `mae` of the expected level, `accuracy` and `kappa` of the rounded one (quadratic-weighted, Cohen
        1968; None if labels and predictions are all one level) and `rows`.

    Raises:
        EvaluationError: A prediction is not finite, a label is infinite, or the shapes differ.
    """
    labels, levels = _known(labels_N, levels_N)
    found = {**regression_metrics(labels, levels), "accuracy": None, "kappa": None}
    if not labels.size:
        return found
    rounded_N = np.floor(levels + 0.5)
    found["accuracy"] = float((rounded_N == labels).mean())
    # Over all pairs of a label and a prediction: the two variances and the distance of the means.
    chance = float(labels.var() + rounded_N.var() + (labels.mean() - rounded_N.mean()) ** 2)
    found["kappa"] = 1.0 - float(((labels - rounded_N) ** 2).mean()) / chance if chance > 0 else None
    return found


def slate_metrics(labels_N: ArrayLike, scores_N: ArrayLike, slates_N: ArrayLike) -> dict[str, float | None]:
    """Scores the order within slates.

    Args:
        labels_N: Gains, of which what is below 0 counts as 0, or NaN for unknown, shape (N,).
        scores_N: The scores that order a slate, shape (N,).
        slates_N: The slate of each row, below 0 for none, shape (N,).

    Returns:
        `ndcg`, the mean over slates of several items with a gain (None if there are none), `slates` and `rows`.

    Raises:
        EvaluationError: A score is not finite, a label is infinite, or the shapes differ.
    """
    labels = np.asarray(labels_N, dtype=np.float64)
    slates = np.asarray(slates_N)
    kept_N = ~np.isnan(labels)
    gains, scores = _known(labels, scores_N)
    ndcg_N = slate_ndcgs(gains, scores, slates[kept_N])
    found = ndcg_N[~np.isnan(ndcg_N)]
    return {"ndcg": float(np.mean(found)) if len(found) else None, "slates": len(found), "rows": int(gains.size)}


def slate_ndcgs(labels_N: np.ndarray, scores_N: np.ndarray, slates_N: np.ndarray) -> FloatArray:
    """Return the NDCG of each slate at its first row, float64 [N]; NaN elsewhere, and where a slate has none.

    Args:
        labels_N: gains, all known; below 0 counts as 0.
        scores_N: order a slate.
        slates_N: slate of each row, below 0 for none; of fewer than two rows, or without a gain, it has no NDCG.
    """
    ndcg_N, gains_N = np.full(len(slates_N), np.nan), np.maximum(labels_N, 0.0)
    order_N = np.argsort(slates_N, kind="stable")
    for rows in np.split(order_N, np.flatnonzero(np.diff(slates_N[order_N])) + 1) if len(slates_N) else []:
        if slates_N[rows[0]] < 0 or rows.size < 2 or gains_N[rows].sum() <= 0:
            continue
        discounts = 1 / np.log2(np.arange(2, rows.size + 2))
        ranked = gains_N[rows][np.argsort(-scores_N[rows], kind="stable")]
        ndcg_N[rows[0]] = (ranked @ discounts) / (np.sort(gains_N[rows])[::-1] @ discounts)
    return ndcg_N


def poisson_deviances(labels_N: np.ndarray, counts_N: np.ndarray) -> FloatArray:
    """Return the Poisson deviance of each row, float64 [N].

    Args:
        labels_N: counts of 0 or more, all known.
        counts_N: expected ones; above 0.
    """
    expected_N = np.maximum(counts_N, 1e-12)
    ratio_N = np.where(labels_N > 0, labels_N, 1.0) / expected_N
    return np.asarray(2 * (labels_N * np.log(np.where(labels_N > 0, ratio_N, 1.0)) - labels_N + expected_N))


def reliability(labels_N: ArrayLike, probabilities_N: ArrayLike, bins: int = BINS) -> list[dict[str, float | None]]:
    """Gives, bin by bin, the probability that was said and the share that came true.

    Args:
        labels_N: 0, 1, or NaN for unknown, shape (N,).
        probabilities_N: The predicted probability of 1, from 0 to 1, shape (N,).
        bins: How many bins of equal width, at least 1.

    Returns:
        One dict a bin, lowest first: `low` and `high` (the bin holds low <= p < high, the last one also 1),
        `count`, `prediction` (mean probability) and `label` (mean label); both means are None if the bin is
        empty.

    Raises:
        EvaluationError: bins is under 1, or as in `binary_metrics`.
    """
    if bins < 1:
        raise EvaluationError(f"bins = {bins} holds nothing: give at least 1, such as {BINS}")
    counts_B, predictions_B, labels_B = _bin_sums(*_known_binary(labels_N, probabilities_N), bins)
    edges = _edges(bins).tolist()
    return [
        {
            "low": edges[place],
            "high": edges[place + 1],
            "count": int(count),
            "prediction": float(predictions_B[place] / count) if count else None,
            "label": float(labels_B[place] / count) if count else None,
        }
        for place, count in enumerate(counts_B)
    ]


def _calibration_error(labels_N: FloatArray, probabilities_N: FloatArray, bins: int) -> float:
    """Gives the mean over rows of |share of 1 - mean probability| of the row's bin."""
    _, predictions_B, labels_B = _bin_sums(labels_N, probabilities_N, bins)
    return float(np.abs(labels_B - predictions_B).sum() / labels_N.size)


def _edges(bins: int) -> FloatArray:
    return np.linspace(0.0, 1.0, bins + 1)


def _bin_sums(
    labels_N: FloatArray, probabilities_N: FloatArray, bins: int
) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
    """Gives each bin's count of rows, sum of probabilities and sum of labels, shape (B,) each."""
    places_N = np.minimum(np.searchsorted(_edges(bins), probabilities_N, side="right") - 1, bins - 1)
    counts_B = np.bincount(places_N, minlength=bins)
    predictions_B: FloatArray = np.bincount(places_N, probabilities_N, bins).astype(np.float64)
    labels_B: FloatArray = np.bincount(places_N, labels_N, bins).astype(np.float64)
    return counts_B, predictions_B, labels_B


def _known_binary(labels: ArrayLike, probabilities: ArrayLike) -> tuple[FloatArray, FloatArray]:
    labels_N, probabilities_N = _known(labels, probabilities)
    outside_N = (probabilities_N < 0) | (probabilities_N > 1)
    if outside_N.any():
        raise EvaluationError(
            f"{outside_N.sum()} of {outside_N.size} probabilities are outside 0 to 1 "
            f"({probabilities_N[outside_N][0]} first): give probabilities, not logits"
        )
    strange_N = (labels_N != 0) & (labels_N != 1)
    if strange_N.any():
        raise EvaluationError(
            f"{strange_N.sum()} of {strange_N.size} labels are neither 0 nor 1 "
            f"({labels_N[strange_N][0]} first): give 0, 1, or NaN for unknown"
        )
    return labels_N, probabilities_N


def _known(labels: ArrayLike, predictions: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Checks both sides and gives the rows whose label is known."""
    labels_N = np.asarray(labels, dtype=np.float64)
    predictions_N = np.asarray(predictions, dtype=np.float64)
    if labels_N.ndim != 1 or labels_N.shape != predictions_N.shape:
        raise EvaluationError(f"labels are {labels_N.shape}, predictions {predictions_N.shape}: give both as (N,)")
    broken = int((~np.isfinite(predictions_N)).sum())
    if broken:
        raise EvaluationError(
            f"{broken} of {predictions_N.size} predictions are not finite: mend the model or its input"
        )
    infinite = int(np.isinf(labels_N).sum())
    if infinite:
        raise EvaluationError(f"{infinite} of {labels_N.size} labels are infinite: give NaN for unknown")
    known_N = ~np.isnan(labels_N)
    return labels_N[known_N], predictions_N[known_N]
