"""Task metrics against numbers worked out by hand, torchmetrics and their own properties."""

from math import log, nan, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error, multiclass_cohen_kappa
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, tweedie_deviance_score
from torchmetrics.functional.retrieval import retrieval_normalized_dcg

from motet.errors import EvaluationError
from motet.kinds.metrics import (
    binary_metrics,
    count_metrics,
    ordinal_metrics,
    regression_metrics,
    reliability,
    slate_metrics,
)

_LABELS = [1.0, 0.0, 1.0, 0.0]
_PROBABILITIES = [0.9, 0.2, 0.4, 0.6]


def test_binary_by_hand() -> None:
    # AUC: of the 4 pairs (1, 0) only (0.4, 0.6) is in the wrong order: 3/4
    # log loss: -(ln .9 + ln .8 + ln .4 + ln .4) / 4 = 0.540271
    # at 0.5 the first two are right: 2/4; ECE: all in bins of their own: (.1 + .2 + .6 + .6) / 4 = 0.375
    expected = {"auc": 0.75, "logloss": 0.540271, "accuracy": 0.5, "base_rate": 0.5, "ece": 0.375, "rows": 4}
    assert -(log(0.9) + log(0.8) + 2 * log(0.4)) / 4 == pytest.approx(0.540271, abs=1e-6)
    assert binary_metrics(_LABELS, _PROBABILITIES) == pytest.approx(expected, abs=1e-6)


def test_regression_by_hand() -> None:
    # errors 1, -2, 2: RMSE = sqrt((1 + 4 + 4) / 3) = sqrt 3, MAE = 5/3
    assert regression_metrics([3.0, 4.0, -1.0], [4.0, 2.0, 1.0]) == pytest.approx(
        {"rmse": sqrt(3), "mae": 5 / 3, "rows": 3}
    )


def test_half_says_yes() -> None:
    assert binary_metrics([1.0, 0.0], [0.5, 0.5])["accuracy"] == 0.5
    assert binary_metrics([1.0], [0.5])["accuracy"] == 1.0


def test_unknown_labels_are_left_out() -> None:
    assert binary_metrics([*_LABELS, nan], [*_PROBABILITIES, 0.3]) == binary_metrics(_LABELS, _PROBABILITIES)
    assert regression_metrics([1.0, nan], [2.0, 9.0]) == {"rmse": 1.0, "mae": 1.0, "rows": 1}
    assert sum(entry["count"] or 0 for entry in reliability([1.0, nan], [0.5, 0.5])) == 1


def test_no_known_label_gives_no_figure() -> None:
    unknown = {"auc": None, "logloss": None, "accuracy": None, "base_rate": None, "ece": None, "rows": 0}
    assert binary_metrics([nan, nan], [0.1, 0.2]) == unknown
    assert binary_metrics([], []) == unknown
    assert regression_metrics([nan], [0.1]) == {"rmse": None, "mae": None, "rows": 0}


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_has_no_auc_but_the_rest(label: float) -> None:
    figures = binary_metrics([label, label], [0.25, 0.25])
    assert figures["auc"] is None
    assert figures["base_rate"] == label
    assert figures["logloss"] == pytest.approx(-log(0.25 if label else 0.75))
    assert figures["ece"] == pytest.approx(abs(label - 0.25))


def test_logloss_of_a_sure_mistake_is_finite() -> None:
    assert 30 < (binary_metrics([1.0, 0.0], [0.0, 1.0])["logloss"] or 0) < 40


def _random_rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities_N = generator.random(2000)
    return (generator.random(2000) < probabilities_N**1.5).astype(np.float64), probabilities_N


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchmetrics(seed: int) -> None:
    labels_N, probabilities_N = _random_rows(seed)
    labels, probabilities = torch.tensor(labels_N, dtype=torch.int64), torch.tensor(probabilities_N)
    ours = binary_metrics(labels_N, probabilities_N)
    assert ours["auc"] == pytest.approx(float(binary_auroc(probabilities, labels)), abs=1e-6)
    theirs = float(binary_calibration_error(probabilities, labels, n_bins=15, norm="l1"))
    assert ours["ece"] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_other_kinds_agree_with_torchmetrics(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels_N, said_N = random.integers(1, 6, size=200), random.uniform(0.6, 5.4, size=200)
    labels, said = torch.tensor(labels_N, dtype=torch.float64), torch.tensor(said_N)
    ours = regression_metrics(labels_N, said_N)
    assert ours["rmse"] == pytest.approx(float(mean_squared_error(said, labels, squared=False)))
    assert ours["mae"] == pytest.approx(float(mean_absolute_error(said, labels)))
    deviance = float(tweedie_deviance_score(said, labels, power=1.0))
    assert count_metrics(labels_N, said_N)["deviance"] == pytest.approx(deviance)
    levels = torch.tensor(np.rint(said_N), dtype=torch.int64)
    kappa = float(multiclass_cohen_kappa(levels, labels.long(), num_classes=6, weights="quadratic"))
    assert ordinal_metrics(labels_N, said_N)["kappa"] == pytest.approx(kappa, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_slates_agree_with_torchmetrics(seed: int) -> None:
    random = np.random.default_rng(seed)
    gains_N, said_N, slates_N = random.integers(2, size=120), random.normal(size=120), np.repeat(np.arange(12), 10)
    slates = [slates_N == slate for slate in range(12)]
    each = [
        float(retrieval_normalized_dcg(torch.tensor(said_N[one]), torch.tensor(gains_N[one])))
        for one in slates
        if gains_N[one].any()
    ]
    found = slate_metrics(gains_N.astype(float), said_N, slates_N)
    assert found["ndcg"] == pytest.approx(np.mean(each), abs=1e-6)


def test_tensors_integers_and_booleans_are_taken() -> None:
    expected = binary_metrics(_LABELS, _PROBABILITIES)
    assert binary_metrics(torch.tensor(_LABELS), np.array(_PROBABILITIES)) == expected
    assert binary_metrics(np.array(_LABELS, dtype=bool), _PROBABILITIES) == expected
    assert binary_metrics(np.array(_LABELS, dtype=np.int8), _PROBABILITIES) == expected


@pytest.mark.parametrize("metrics", [binary_metrics, regression_metrics, reliability])
def test_predictions_that_are_not_finite_are_counted(metrics: type) -> None:
    with pytest.raises(EvaluationError, match="3 of 4 predictions are not finite: mend the model or its input"):
        metrics([1.0, 0.0, nan, 1.0], [nan, float("inf"), nan, 0.5])


@pytest.mark.parametrize("metrics", [binary_metrics, regression_metrics])
def test_shapes_must_agree(metrics: type) -> None:
    with pytest.raises(EvaluationError, match=r"labels are \(2,\), predictions \(1,\)"):
        metrics([1.0, 0.0], [0.5])
    with pytest.raises(EvaluationError, match=r"give both as \(N,\)"):
        metrics([[1.0, 0.0]], [[0.5, 0.5]])


def test_wrong_values_are_named() -> None:
    with pytest.raises(EvaluationError, match=r"2 of 3 probabilities are outside 0 to 1 \(-1.5 first\): .* not logits"):
        binary_metrics([0.0, 1.0, 1.0], [-1.5, 2.0, 1.0])
    with pytest.raises(EvaluationError, match=r"1 of 2 labels are neither 0 nor 1 \(4.0 first\)"):
        binary_metrics([1.0, 4.0], [0.5, 0.5])
    with pytest.raises(EvaluationError, match="1 of 2 labels are infinite: give NaN for unknown"):
        regression_metrics([1.0, float("inf")], [0.5, 0.5])


def test_reliability_by_hand() -> None:
    # two bins: 0.2 and 0.4 are low, 0.6, 0.9 and the edge 0.5 high
    assert reliability([*_LABELS, 1.0], [*_PROBABILITIES, 0.5], bins=2) == [
        {"low": 0.0, "high": 0.5, "count": 2, "prediction": pytest.approx(0.3), "label": 0.5},
        {
            "low": 0.5,
            "high": 1.0,
            "count": 3,
            "prediction": pytest.approx(2 / 3),
            "label": pytest.approx(2 / 3),
        },
    ]


def test_reliability_keeps_empty_bins_and_both_ends() -> None:
    bins = reliability([0.0, 1.0], [0.0, 1.0])
    assert [entry["count"] for entry in bins] == [1, *[0] * 13, 1]
    assert bins[7] == {
        "low": pytest.approx(7 / 15),
        "high": pytest.approx(8 / 15),
        "count": 0,
        "prediction": None,
        "label": None,
    }


def test_reliability_needs_a_bin() -> None:
    with pytest.raises(EvaluationError, match="bins = 0 holds nothing: give at least 1"):
        reliability([1.0], [0.5], bins=0)


_rows = st.lists(st.tuples(st.sampled_from([0.0, 1.0, nan]), st.floats(0, 1)), max_size=40)


@given(_rows)
def test_shares_are_from_zero_to_one_and_bins_hold_every_row(rows: list[tuple[float, float]]) -> None:
    labels, probabilities = [row[0] for row in rows], [row[1] for row in rows]
    figures = binary_metrics(labels, probabilities)
    shares = [figures[name] for name in ("auc", "accuracy", "base_rate", "ece")]
    assert all(share is None or -1e-9 <= share <= 1 + 1e-9 for share in shares)
    bins: list[dict[str, Any]] = list(reliability(labels, probabilities))
    assert sum(entry["count"] for entry in bins) == figures["rows"]
    full = [entry for entry in bins if entry["prediction"] is not None]
    assert all(entry["low"] - 1e-9 <= entry["prediction"] <= entry["high"] + 1e-9 for entry in full)


@given(_rows)
def test_ece_is_the_weighted_gap_of_the_bins(rows: list[tuple[float, float]]) -> None:
    labels, probabilities = [row[0] for row in rows], [row[1] for row in rows]
    figures: dict[str, Any] = dict(binary_metrics(labels, probabilities))
    bins: list[dict[str, Any]] = list(reliability(labels, probabilities))
    gaps = [entry["count"] * abs(entry["label"] - entry["prediction"]) for entry in bins if entry["count"]]
    if gaps:
        assert figures["ece"] == pytest.approx(sum(gaps) / figures["rows"], abs=1e-12)
