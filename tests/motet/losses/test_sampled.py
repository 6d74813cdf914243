"""Sampled softmax: each item once, corrected by how often it was to be expected."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motet.losses.masked import retrieval_loss
from motet.losses.sampled import sampled_candidates


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_candidates_are_distinct_and_hold_every_target(targets: list[int], negatives: int) -> None:
    chosen = sampled_candidates(torch.tensor(targets), torch.ones(10), negatives)
    items = chosen.items_C.tolist()
    assert len(set(items)) == len(items) <= min(10, len(set(targets)) + negatives)
    assert [items[column] for column in chosen.target_N.tolist()] == targets
    assert torch.isfinite(chosen.correction_C).all()


def test_the_correction_by_hand() -> None:
    counts = torch.tensor([6.0, 3.0, 1.0, 0.0])
    chosen = sampled_candidates(torch.tensor([0, 1, 0]), counts, 8, torch.Generator().manual_seed(0))
    # An item is absent if none of 3 targets is it (each is with its share of the log) and none of 8 draws of 4 items.
    expected = {item: 1 - (1 - share) ** 3 * 0.75**8 for item, share in enumerate((0.6, 0.3, 0.1, 0.0))}
    assert {0, 1} <= set(chosen.items_C.tolist())
    for item, correction in zip(chosen.items_C.tolist(), chosen.correction_C.exp().tolist(), strict=True):
        assert correction == pytest.approx(expected[item], rel=1e-5)


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
    sampled = retrieval_loss(logits[:, chosen.items_C] - chosen.correction_C, chosen.target_N)[0]
    assert float(sampled) == pytest.approx(float(retrieval_loss(logits, targets)[0]), rel=1e-5)
