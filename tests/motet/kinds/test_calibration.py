"""Calibrators: the contract for all kinds, and each by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.kinds.calibration import LEAST_ROWS, Calibrator, fit_binary, fit_linear, sigmoid

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=20_000).astype(np.float32) * 2
LABELS = (RANDOM.random(20_000) < 1 / (1 + np.exp(-(0.5 * LOGITS - 1)))).astype(np.float32)
BINARY = {kind: fit_binary(kind, LOGITS, LABELS) for kind in ("none", "platt", "isotonic")}


@pytest.mark.parametrize("kind", sorted(BINARY))
def test_probabilities_rise_with_the_logit_and_stay_within_0_and_1(kind: str) -> None:
    calibrator = BINARY[kind]
    assert calibrator.kind == kind
    found = calibrator.apply(np.array([-1e9, *np.linspace(-8, 8, 200), 1e9], np.float32))
    assert found.dtype == np.float32
    assert (np.diff(found) >= 0).all()
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("kind", sorted(BINARY))
def test_json_and_back_is_exact(kind: str) -> None:
    again = Calibrator.from_dict(json.loads(json.dumps(BINARY[kind].to_dict())))
    assert again == BINARY[kind]
    np.testing.assert_array_equal(again.apply(LOGITS), BINARY[kind].apply(LOGITS))


def test_platt_recovers_slope_and_intercept() -> None:
    assert BINARY["platt"].x == pytest.approx((0.5, -1.0), abs=0.05)
    assert BINARY["platt"].apply(np.array([2.0])) == pytest.approx([0.5], abs=0.02)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibrated_means_are_the_observed_shares(kind: str) -> None:
    found = BINARY[kind].apply(LOGITS)
    for low in (0.1, 0.3, 0.5):
        chosen = (found >= low) & (found < low + 0.2)
        assert LABELS[chosen].mean() == pytest.approx(found[chosen].mean(), abs=0.03)


def test_isotonic_by_hand() -> None:
    # Logits 0, 1, 2, 3 with 20 rows each and shares 0.1, 0.5, 0.3, 0.9; the two in the middle pool to 0.4.
    raw = np.repeat(np.arange(4.0), 20).astype(np.float32)
    labels = np.concatenate([np.arange(20) < 20 * share for share in (0.1, 0.5, 0.3, 0.9)]).astype(np.float32)
    calibrator = fit_binary("isotonic", raw, labels)
    np.testing.assert_allclose(
        calibrator.apply(np.array([-5, 0, 1, 2, 3, 9])), [0.1, 0.1, 0.4, 0.4, 0.9, 0.9], atol=1e-6
    )
    assert calibrator.apply(np.array([0.5]))[0] == pytest.approx(0.25)  # between two steps: on the line


def test_none_is_the_sigmoid() -> None:
    np.testing.assert_allclose(
        BINARY["none"].apply(np.array([0.0, np.log(3), -np.log(3)])), [0.5, 0.75, 0.25], rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
@pytest.mark.parametrize(
    ("rows", "labels", "fitted"),
    [
        (LEAST_ROWS - 1, lambda n: np.arange(n) % 2, False),
        (LEAST_ROWS, lambda n: np.arange(n) % 2, True),
        (200, np.ones, False),
        (200, lambda n: np.full(n, np.nan), False),
        (LEAST_ROWS + 9, lambda n: np.where(np.arange(n) < 10, np.nan, np.arange(n) % 2), False),
    ],
)
def test_too_few_rows_one_class_or_unknown_labels_leave_the_task_uncalibrated(
    kind: str, rows: int, labels, fitted: bool
) -> None:
    found = fit_binary(kind, LOGITS[:rows], labels(rows).astype(np.float32))
    assert found == Calibrator("none") if not fitted else found.kind == kind


def test_regression_recovers_the_line_and_clips_to_the_labels_range() -> None:
    raw = RANDOM.normal(size=500).astype(np.float32)
    calibrator = fit_linear(raw, 2 * raw + 3, (9.0, 9.0), (1.0, 5.0))
    assert calibrator.x == pytest.approx((2.0, 3.0), abs=1e-4)
    np.testing.assert_allclose(calibrator.apply(np.array([-9.0, -0.5, 0.5, 9.0])), [1, 2, 4, 5], atol=1e-4)


def test_regression_of_too_few_rows_or_a_constant_head_uses_mean_and_deviation_of_training() -> None:
    for raw, labels in (
        (np.arange(49.0), np.arange(49.0)),
        (np.ones(80), np.arange(80.0)),
        (np.arange(80.0), np.full(80, np.nan)),
    ):
        assert fit_linear(raw, labels, (1.25, 3.5), (1.0, 5.0)) == Calibrator("linear", (1.25, 3.5), (1.0, 5.0))


@given(st.floats(-1e30, 1e30))
def test_the_sigmoid_neither_overflows_nor_leaves_0_to_1(logit: float) -> None:
    value = float(sigmoid(np.array([logit]))[0])
    assert 0 <= value <= 1
    if abs(logit) < 30:
        assert value == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
