"""Sampled softmax: each item once, corrected by how often it was to be expected, the target as it is."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motet.kinds.retrieval import retrieval_loss
from motet.losses.sampled import Candidates, corrected_logits, sampled_candidates


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_candidates_are_distinct_and_hold_every_target(targets: list[int], negatives: int) -> None:
    chosen = sampled_candidates(torch.tensor(targets), torch.ones(10), negatives)
    items = chosen.items_C.tolist()
    assert len(set(items)) == len(items) <= min(10, len(set(targets)) + negatives)
    column, there = chosen.columns(torch.tensor(targets))
    assert there.all()
    assert [items[place] for place in column.tolist()] == targets
    assert torch.isfinite(chosen.correction_C).all()


def test_the_correction_by_hand() -> None:
    counts = torch.tensor([6.0, 3.0, 1.0, 0.0])
    chosen = sampled_candidates(torch.tensor([0, 1, 0]), counts, 8, torch.Generator().manual_seed(0))
    # An item is absent if none of 3 targets is it (each is with its share of the log) and none of 8 draws of 4 items.
    expected = {item: 1 - (1 - share) ** 3 * 0.75**8 for item, share in enumerate((0.6, 0.3, 0.1, 0.0))}
    assert {0, 1} <= set(chosen.items_C.tolist())
    for item, correction in zip(chosen.items_C.tolist(), chosen.correction_C.exp().tolist(), strict=True):
        assert correction == pytest.approx(expected[item], rel=1e-5)


def test_the_loss_by_hand() -> None:
    # Candidates 2, 5, 7, 9 with probabilities 1/2, 1/4, 1, 1/2. The row's target is 5; its window met 7, and 8 too.
    chosen = Candidates(torch.tensor([2, 5, 7, 9]), torch.tensor([0.5, 0.25, 1.0, 0.5]).log())
    logits = torch.tensor([[0.3, 1.0, 9.0, -0.2]], requires_grad=True)
    met = torch.tensor([[-1, 7, 5, 8]])
    found, column, masked = corrected_logits(logits, chosen, torch.tensor([5]), torch.tensor([0]), met)
    assert masked.tolist() == [[False, False, True, False]]
    loss, _ = retrieval_loss(found, column, 0.0, masked)
    others = [2 * math.exp(0.3), 2 * math.exp(-0.2)]
    share = math.exp(1) / (math.exp(1) + sum(others))
    assert loss.item() == pytest.approx(-math.log(share), rel=1e-6)
    loss.backward()
    # (1 - p) (mean of the others - target), as in arXiv 2507.09331.
    each = [(1 - share) * one / sum(others) for one in others]
    assert logits.grad.tolist()[0] == pytest.approx([each[0], share - 1, 0.0, each[1]], rel=1e-5)


@pytest.mark.parametrize("counts", [[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [5.0]])
def test_a_log_with_few_items_has_finite_corrections(counts: list[float]) -> None:
    chosen = sampled_candidates(torch.tensor([0]), torch.tensor(counts), 1)
    assert torch.isfinite(chosen.correction_C).all()


@pytest.mark.parametrize(("batch", "negatives"), [(300, 20), (20, 300), (300, 300)])
def test_the_corrected_denominator_is_that_of_the_full_softmax_on_average(batch: int, negatives: int) -> None:
    random = torch.Generator().manual_seed(1)
    counts = torch.linspace(1, 10, 200) ** 4  # the most popular item is 10,000 times as popular as the least
    logits = torch.randn(200, generator=random)
    full = float(logits.exp().sum())
    found = []
    for _ in range(400):
        targets = torch.multinomial(counts, batch, replacement=True, generator=random)
        chosen = sampled_candidates(targets, counts, negatives, random)
        found.append(float((logits[chosen.items_C] - chosen.correction_C).exp().sum()))
    error = torch.tensor(found).std().item() / 20  # of the mean of 400
    assert abs(sum(found) / 400 - full) < 4 * error
    assert error < 0.03 * full


def test_with_many_draws_the_loss_is_that_of_the_full_softmax() -> None:
    logits, targets = torch.randn(16, 50, generator=torch.Generator().manual_seed(2)), torch.arange(16)
    chosen = sampled_candidates(targets, torch.arange(50.0), 2_000)
    rows, met = torch.arange(16), torch.full((16, 1), -1)
    found, column, masked = corrected_logits(logits[:, chosen.items_C], chosen, targets, rows, met)
    sampled = retrieval_loss(found, column, 0.0, masked)[0]
    assert float(sampled) == pytest.approx(float(retrieval_loss(logits, targets)[0]), rel=1e-5)
