"""Calibrators: the contract for all kinds, and each by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.kinds import scored_kind
from motet.kinds.calibration import BINARY as KINDS
from motet.kinds.calibration import LEAST_ROWS, Calibrator, fit_binary, fit_linear, sigmoid
from motet.kinds.kind import LabelScale

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=20_000).astype(np.float32) * 2
LABELS = (RANDOM.random(20_000) < 1 / (1 + np.exp(-(0.5 * LOGITS - 1)))).astype(np.float32)
BINARY = {kind: fit_binary(kind, LOGITS, LABELS) for kind in KINDS}


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


def test_temperature_recovers_the_factor_and_keeps_the_order() -> None:
    labels = (RANDOM.random(20_000) < 1 / (1 + np.exp(-LOGITS / 2.5))).astype(np.float32)
    found = fit_binary("temperature", LOGITS, labels)
    assert found.x == pytest.approx((2.5,), rel=0.05)
    assert found.apply(np.array([2.5, 0.0])) == pytest.approx([1 / (1 + np.exp(-1)), 0.5], abs=0.01)


def test_temperature_by_hand() -> None:
    # logits of 1 and -1, right in 3 of 4: sigmoid(1 / t) = 3/4, so t = 1 / ln 3
    raw = np.repeat([1.0, -1.0], 40).astype(np.float32)
    labels = np.concatenate([np.arange(40) < 30, np.arange(40) < 10]).astype(np.float32)
    assert fit_binary("temperature", raw, labels).x == pytest.approx((1 / np.log(3),), rel=1e-3)


@pytest.mark.parametrize(
    ("truth", "best", "narrower"),
    [
        (lambda raw: raw, "none", ()),
        (lambda raw: raw / 3, "temperature", ("none",)),
        (lambda raw: 0.5 * raw - 2, "platt", ("none", "temperature")),
        (lambda raw: np.where(raw > 1, 2.5, -2.5), "isotonic", ("none", "temperature", "platt")),
    ],
)
def test_auto_chooses_the_kind_that_the_events_come_from(truth, best: str, narrower: tuple[str, ...]) -> None:
    random = np.random.default_rng(5)
    raw = random.normal(size=20_000).astype(np.float32) * 2
    labels = (random.random(20_000) < 1 / (1 + np.exp(-truth(raw)))).astype(np.float32)
    found = fit_binary("auto", raw, labels, random.permutation(20_000))
    tried = dict(found.tried)
    assert list(tried) == list(KINDS)
    assert tried[best] - min(tried.values()) < 1e-3  # a wider family that holds the truth too may win by chance
    assert all(tried[kind] - tried[best] > 0.02 for kind in narrower)
    assert tried[found.kind] == min(tried.values())
    assert Calibrator(found.kind, found.x, found.y) == fit_binary(found.kind, raw, labels)
    assert Calibrator.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_auto_is_judged_by_later_events_however_the_rows_stand() -> None:
    """Earlier the share of 1 rises with the logit in a step, later it is the sigmoid: a step fits the past only."""
    random = np.random.default_rng(6)
    early, late = (random.normal(size=rows).astype(np.float32) * 2 for rows in (4000, 2000))
    labels = [np.where(early > 0, 0.98, 0.02), 1 / (1 + np.exp(-late / 4))]
    labels_N = (random.random(6000) < np.concatenate(labels)).astype(np.float32)
    raw_N, moments_N = np.concatenate([early, late]), np.arange(6000)
    mixed = random.permutation(6000)
    right = fit_binary("auto", raw_N[mixed], labels_N[mixed], moments_N[mixed])
    assert dict(right.tried) == pytest.approx(dict(fit_binary("auto", raw_N, labels_N, moments_N).tried))
    assert right.kind == "none"
    assert fit_binary("auto", raw_N, labels_N, random.permutation(6000)).kind == "isotonic"


def test_the_events_of_one_moment_are_not_divided() -> None:
    raw, labels = LOGITS[:300], LABELS[:300]
    assert fit_binary("auto", raw, labels, np.zeros(300)) == fit_binary("platt", raw, labels)
    moments = np.where(np.arange(300) < 240, 1, 2)  # two thirds are within the first moment, 60 rows are later
    found = fit_binary("auto", raw, labels, moments)
    early = fit_binary("platt", raw[:240], labels[:240]).apply(raw[240:])
    loss = -np.mean(np.where(labels[240:] == 1, np.log(early), np.log(1 - early)))
    assert dict(found.tried)["platt"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("moments", [None, np.arange(100)])
def test_auto_without_moments_or_with_too_few_rows_is_platt(moments: np.ndarray | None) -> None:
    raw, labels = LOGITS[:100], LABELS[:100]  # 66 earlier and 34 later
    assert fit_binary("auto", raw, labels, moments) == fit_binary("platt", raw, labels)
    assert fit_binary("auto", raw[:0], labels[:0], np.arange(0)) == Calibrator("none")


def test_the_kind_of_a_task_passes_the_moments_on_and_others_take_them() -> None:
    scale, moments = LabelScale(0.5, 0.5, 0.0, 1.0, True), np.arange(20_000)
    expected = fit_binary("auto", LOGITS, LABELS, moments)
    assert expected.tried
    assert scored_kind("binary").fit("auto", LOGITS, LABELS, scale, moments) == expected
    for kind in ("regression", "count", "ordinal", "ranking"):
        rules = scored_kind(kind)
        assert rules.fit("auto", LOGITS, LABELS, scale, moments) == rules.fit("auto", LOGITS, LABELS, scale)


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
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
