"""Losses by hand: what is unknown adds to neither sum nor count."""

import math

import pytest
import torch

from motet.losses.masked import TASK_LOSSES, binary_loss, regression_loss, retrieval_loss

NAN = math.nan


def test_binary_by_hand() -> None:
    total, count = binary_loss(torch.tensor([0.0, 2.0, -1.0, 9.0]), torch.tensor([1.0, 0.0, 1.0, NAN]))
    # -log(1/2) + log(1 + e^2) + log(1 + e^1)
    expected = math.log(2) + math.log1p(math.exp(2)) + math.log1p(math.exp(1))
    assert (float(total), int(count)) == (pytest.approx(expected, rel=1e-6), 3)


def test_regression_by_hand() -> None:
    total, count = regression_loss(torch.tensor([1.0, -2.0, 5.0]), torch.tensor([0.5, 1.0, NAN]))
    assert (float(total), int(count)) == (0.25 + 9.0, 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_retrieval_by_hand(smoothing: float) -> None:
    total, count = retrieval_loss(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([1, 2]), smoothing)
    log_sum = math.log(math.e + math.e**2 + 1)
    each = [log_sum - 1, log_sum - 2, log_sum]
    first = (1 - smoothing) * each[1] + smoothing * sum(each) / 3
    assert (float(total), int(count)) == (pytest.approx(first + math.log(3), rel=1e-6), 2)


@pytest.mark.parametrize("kind", sorted(TASK_LOSSES))
def test_unknown_labels_give_no_loss_and_a_gradient_of_zero(kind: str) -> None:
    scores = torch.tensor([1.0, -3.0], requires_grad=True)
    total, count = TASK_LOSSES[kind](scores, torch.tensor([NAN, NAN]))
    total.backward()
    assert (total.item(), int(count)) == (0.0, 0)
    assert scores.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", sorted(TASK_LOSSES))
def test_sums_of_parts_add_up(kind: str) -> None:
    scores, labels = torch.linspace(-2, 2, 9), torch.tensor([0.0, 1.0, NAN] * 3)
    total, count = TASK_LOSSES[kind](scores, labels)
    parts = [TASK_LOSSES[kind](scores[cut], labels[cut]) for cut in (slice(0, 2), slice(2, 9))]
    assert float(total) == pytest.approx(sum(float(one) for one, _ in parts), rel=1e-6)
    assert int(count) == sum(int(one) for _, one in parts) == 6


def test_no_row_at_all_gives_zero_with_a_gradient() -> None:
    logits = torch.zeros(0, 4, requires_grad=True)
    total, count = retrieval_loss(logits, torch.zeros(0, dtype=torch.long))
    total.backward()
    assert (total.item(), int(count)) == (0.0, 0)
