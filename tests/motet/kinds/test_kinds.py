"""The contract of all scored kinds, and each kind's loss, metrics and map by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from motet.kinds import KINDS, LARGER_IS_BETTER, LabelScale, ScoredKind, scored_kind
from motet.kinds.calibration import LEAST_ROWS, Calibrator
from motet.kinds.retrieval import retrieval_loss
from motet.model.heads import OrderedHead, build_head

NAN = math.nan
SCALE = LabelScale(2.0, 0.5, 1.0, 4.0, True)
SCORED = [(name, {}) for name in KINDS if name != "retrieval"] + [("ranking", {"loss_kind": "pairwise"})]


@pytest.fixture(params=SCORED, ids=lambda one: "-".join([one[0], *one[1].values()]))
def kind(request: pytest.FixtureRequest) -> ScoredKind:
    return scored_kind(request.param[0], **request.param[1])


def _case(kind: ScoredKind, rows: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs, labels of which every fourth is unknown, and slates of four."""
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(rows, kind.outputs(SCALE), generator=random).sort(-1, descending=True).values
    labels = torch.randint(0, 2, (rows,), generator=random).float()
    labels = labels if "truth" in kind.labels else 1 + 3 * labels
    labels[3::4] = NAN
    return outputs.requires_grad_(), labels, torch.arange(rows) // 4


def test_a_report_has_the_figures_that_tell_releases_apart(kind: ScoredKind) -> None:
    _, labels, slates = _case(kind)
    served = np.linspace(0.1, 0.9, len(labels)) if kind.name == "binary" else np.linspace(1.1, 3.9, len(labels))
    found = kind.report(served, labels.numpy(), slates.numpy())
    assert kind.figures
    assert all(isinstance(found[name], float) for name in kind.figures)


def test_every_metric_of_selection_has_one_direction() -> None:
    for one in KINDS.values():
        assert "loss" in one.selection
        assert all(LARGER_IS_BETTER[metric] is larger for metric, larger in one.selection.items())


def test_unknown_labels_give_no_loss_and_a_gradient_of_zero(kind: ScoredKind) -> None:
    outputs, labels, slates = _case(kind)
    total, count = kind.loss(outputs, torch.full_like(labels, NAN), SCALE, None, slates)
    total.backward()
    assert (total.item(), float(count)) == (0.0, 0.0)
    assert not outputs.grad.any()


def test_sums_of_parts_add_up(kind: ScoredKind) -> None:
    outputs, labels, slates = _case(kind)
    total, count = kind.loss(outputs, labels, SCALE, None, slates)
    cuts = (slice(0, 4), slice(4, 12))
    parts = [kind.loss(outputs[cut], labels[cut], SCALE, None, slates[cut]) for cut in cuts]
    assert total.item() == pytest.approx(sum(one.item() for one, _ in parts), rel=1e-5)
    assert float(count) == pytest.approx(sum(float(one) for _, one in parts))
    assert count > 0


def test_a_weight_of_two_counts_a_row_twice(kind: ScoredKind) -> None:
    outputs, labels, slates = _case(kind)
    weights = torch.ones(12)
    weights[4:8] = 2.0
    total, count = kind.loss(outputs, labels, SCALE, weights, slates)
    twice = torch.cat([torch.arange(12), torch.arange(4, 8)])
    again = torch.cat([slates, slates[4:8] + 9])  # a slate of its own
    expected = kind.loss(outputs[twice], labels[twice], SCALE, None, again)
    assert (total.item(), float(count)) == pytest.approx((expected[0].item(), float(expected[1])), rel=1e-5)


def test_the_calibrator_keeps_the_order_and_survives_json(kind: ScoredKind) -> None:
    raw = np.linspace(-2, 2, 80).astype(np.float32)
    labels = (raw + np.sin(9 * raw) > 0).astype(np.float32)
    labels = labels if "truth" in kind.labels else 1 + 3 * labels
    for calibrator in (kind.fit("platt", raw, labels, SCALE), kind.uncalibrated(SCALE)):
        served = Calibrator.from_dict(calibrator.to_dict()).apply(raw)
        assert (np.diff(served) >= 0).all()
        assert served[-1] > served[0]


def test_reports_of_no_known_label_hold_no_figure(kind: ScoredKind) -> None:
    report = kind.report(np.ones(3), np.full(3, NAN), np.zeros(3))
    assert report["rows"] == 0
    assert {value for name, value in report.items() if name not in ("rows", "slates", "reliability")} == {None}
    assert kind.validation(np.ones(3), np.full(3, NAN), SCALE, np.zeros(3)) == {}


def test_binary_by_hand() -> None:
    logits, labels = torch.tensor([[0.0], [2.0], [-1.0], [9.0]]), torch.tensor([1.0, 0.0, 1.0, NAN])
    total, count = scored_kind("binary").loss(logits, labels, SCALE)
    # -log(1/2) + log(1 + e^2) + log(1 + e^1)
    expected = math.log(2) + math.log1p(math.exp(2)) + math.log1p(math.exp(1))
    assert (float(total), int(count)) == (pytest.approx(expected, rel=1e-6), 3)


def test_regression_by_hand() -> None:
    # Labels 2.25 and 2.5 are 0.5 and 1 deviations above the mean of 2.
    values, labels = torch.tensor([[1.0], [-2.0], [5.0]]), torch.tensor([2.25, 2.5, NAN])
    total, count = scored_kind("regression").loss(values, labels, SCALE)
    assert (float(total), int(count)) == (0.25 + 9.0, 2)


def test_count_by_hand() -> None:
    kind = scored_kind("count")
    total, _ = kind.loss(torch.tensor([[0.0], [math.log(3)]]), torch.tensor([2.0, 3.0]), SCALE)
    assert float(total) == pytest.approx((1 - 0) + (3 - 3 * math.log(3)), rel=1e-6)
    report = kind.report(np.array([1.0, 3.0]), np.array([2.0, 3.0]), np.zeros(2))
    # Deviance of 2 seen and 1 expected: 2 (2 log 2 - 1); of 3 and 3: 0.
    assert report["deviance"] == pytest.approx((4 * math.log(2) - 2) / 2)
    assert report["mae"] == 0.5
    raw = np.zeros(LEAST_ROWS)
    assert kind.fit("platt", raw, np.full(LEAST_ROWS, 3.0), SCALE).apply(np.zeros(1)) == pytest.approx([3.0])
    assert "at least 0" in (kind.problem(LabelScale(0, 1, -1, 3, True)) or "")


def test_ordinal_by_hand() -> None:
    kind = scored_kind("ordinal")
    logits = torch.tensor([[1.0, 0.0, -2.0]])
    sigmoid = [1 / (1 + math.exp(-x)) for x in (1.0, 0.0, -2.0)]
    shares = [1 - sigmoid[0], sigmoid[0] - sigmoid[1], sigmoid[1] - sigmoid[2], sigmoid[2]]
    for level, share in enumerate(shares):
        total, count = kind.loss(logits, torch.tensor([1.0 + level]), SCALE)
        assert (float(total), int(count)) == (pytest.approx(-math.log(share), rel=1e-5), 1)
    expected = sum(level * share for level, share in enumerate(shares))
    assert float(kind.raw(logits)) == pytest.approx(expected, rel=1e-6)
    assert kind.uncalibrated(SCALE).apply(np.array([expected])) == pytest.approx([1 + expected])
    far = torch.tensor([[200.0, 199.0, -300.0]], requires_grad=True)
    total, _ = kind.loss(far, torch.tensor([1.0]), SCALE)
    total.backward()
    assert total.item() == pytest.approx(200.0)
    assert torch.isfinite(far.grad).all()


def test_kappa_by_hand() -> None:
    # Squared errors 0, 1, 0, 1: mean 0.5. Over all pairs: variances 1.25 and 0.5, distance of the means 0.5.
    report = scored_kind("ordinal").report(np.array([1.0, 3.2, 2.8, 2.9]), np.array([1.0, 2, 3, 4]), np.zeros(4))
    rounded = np.array([1.0, 3, 3, 3])
    chance = np.mean([(a - b) ** 2 for a in (1, 2, 3, 4) for b in rounded])
    assert report["kappa"] == pytest.approx(1 - 0.5 / chance)
    assert report["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (LabelScale(0, 1, 1, 5, False), "no whole numbers"),
        (LabelScale(0, 1, 3, 3, True), "has 1 levels, from 3 to 3"),
        (LabelScale(0, 1, 1, 21, True), "has 21 levels"),
        (LabelScale(0, 1, 1, 20, True), None),
    ],
)
def test_what_ordinal_labels_may_be(scale: LabelScale, said: str | None) -> None:
    problem = scored_kind("ordinal").problem(scale)
    assert problem is None if said is None else said in problem


def test_thresholds_of_an_ordered_head_rise_whatever_is_learned() -> None:
    head = build_head(3, 4)
    assert isinstance(head, OrderedHead)
    assert isinstance(build_head(3, 1), torch.nn.Linear)
    torch.testing.assert_close(head.thresholds(), torch.tensor([-1.5, -0.5, 0.5, 1.5]), atol=5e-3, rtol=0)
    with torch.no_grad():
        head.steps.copy_(torch.tensor([-50.0, 5.0, -9.0]))
    assert (head.thresholds().diff() > 0).all()
    assert (head(torch.randn(5, 3)).diff(dim=-1) < 0).all()


def test_listwise_by_hand() -> None:
    scores = torch.tensor([[1.0], [0.0], [2.0], [5.0], [0.0], [3.0], [1.0]])
    gains = torch.tensor([3.0, 1.0, 0.0, 1.0, NAN, 0.0, 0.0])
    slates = torch.tensor([4, 4, 4, 7, 7, 9, 9])  # the second has one known item, the third no gain
    total, count = scored_kind("ranking").loss(scores, gains, SCALE, None, slates)
    log_sum = math.log(math.exp(1) + 1 + math.exp(2))
    assert (float(total), float(count)) == (pytest.approx(0.75 * (log_sum - 1) + 0.25 * log_sum, rel=1e-6), 1.0)


def test_pairwise_by_hand() -> None:
    scores, gains = torch.tensor([[1.0], [0.0], [2.0], [9.0]]), torch.tensor([3.0, 1.0, 0.0, 5.0])
    kind = scored_kind("ranking", loss_kind="pairwise")
    total, count = kind.loss(scores, gains, SCALE, None, torch.tensor([0, 0, 0, -1]))
    expected = sum(math.log1p(math.exp(-gap)) for gap in (1.0, -1.0, -2.0))  # 3 over 1, 3 over 0, 1 over 0
    assert (float(total), float(count)) == (pytest.approx(expected, rel=1e-6), 3.0)


def test_ndcg_within_slates_by_hand() -> None:
    report = scored_kind("ranking").report(
        np.array([0.1, 0.9, 0.5, 0.3, 0.2]), np.array([1.0, 0.0, 2.0, 1.0, NAN]), np.array([0, 0, 0, 1, 1])
    )
    ideal = 2 + 1 / math.log2(3)
    assert report["ndcg"] == pytest.approx((2 / math.log2(3) + 1 / 2) / ideal)
    assert (report["slates"], report["rows"]) == (1, 4)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_retrieval_by_hand(smoothing: float) -> None:
    logits, targets = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([1, 2])
    total, count = retrieval_loss(logits, targets, smoothing)
    log_sum = math.log(math.e + math.e**2 + 1)
    each = [log_sum - 1, log_sum - 2, log_sum]
    first = (1 - smoothing) * each[1] + smoothing * sum(each) / 3
    assert (float(total), int(count)) == (pytest.approx(first + math.log(3), rel=1e-6), 2)
    masked = torch.tensor([[False, False, True], [False, False, False]])
    pair = math.log(math.e + math.e**2)
    first = (1 - smoothing) * (pair - 2) + smoothing * (2 * pair - 3) / 2
    total, _ = retrieval_loss(logits, targets, smoothing, masked)
    assert float(total) == pytest.approx(first + math.log(3), rel=1e-6)


def test_no_row_at_all_gives_zero_with_a_gradient() -> None:
    logits = torch.zeros(0, 4, requires_grad=True)
    total, count = retrieval_loss(logits, torch.zeros(0, dtype=torch.long))
    total.backward()
    assert (total.item(), int(count)) == (0.0, 0)


def test_a_recipe_is_read_without_torch_and_scikit_learn() -> None:
    code = "import motet.recipe, motet.recipe_file, sys; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
