"""The losses of one step: sums over labelled rows, by hand from the model's own scores."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from motet.training.batches import Batch
from motet.training.step import TrainStep
from tests.builders import ITEMS, Tiny


@pytest.fixture(scope="module")
def step(tiny: Tiny) -> TrainStep:
    return tiny.trainer().step_module


@pytest.fixture(scope="module")
def batch(tiny: Tiny) -> Batch:
    return tiny.batches(20)[0]


def _outputs(step: TrainStep, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    catalogue = step.catalogue.vectors(step.model, torch.arange(ITEMS))
    prefix = step.model.users.prefix(batch.text_BX, batch.slots_BL, batch.numbers_BM)
    return step.model.users(prefix, catalogue[batch.items_BS], batch.liking_BS, batch.valid_BS), catalogue


@torch.no_grad()
def test_sums_and_counts_by_hand(tiny: Tiny, step: TrainStep, batch: Batch) -> None:
    sums_T, counts_T = step(batch)
    user_BPD, catalogue = _outputs(step, batch)
    expected, counts = [0.0, 0.0, 0.0], [0, 0, 0]
    scale = tiny.card.scales["rating"]
    for row, output in torch.nonzero(batch.targets_BP >= 0).tolist():
        user, item = user_BPD[row, output], int(batch.targets_BP[row, output])
        cosine = functional.cosine_similarity(user, catalogue, dim=-1)
        expected[0] -= float((cosine / step.model.temperature).log_softmax(0)[item])
        counts[0] += 1
        like, rating = batch.labels_BPT[row, output].tolist()
        raw = step.model.task_scores(user[None], catalogue[[item]], step.catalogue.log_count_I[[item]])[0]
        if like == like:
            expected[1] += float(functional.softplus(-raw[0] * (2 * like - 1)))
            expected[2] += float((raw[1] - (rating - scale.mean) / scale.std) ** 2)
            counts[1], counts[2] = counts[1] + 1, counts[2] + 1
    assert counts_T.tolist() == counts
    assert counts[0] == 57
    assert counts[1] < 57  # some ratings are unknown
    assert sums_T.tolist() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_unknown_labels_add_nothing(step: TrainStep, batch: Batch) -> None:
    sums_T, counts_T = step(batch)
    labels = batch.labels_BPT.clone()
    labels[..., 0] = torch.nan
    without_T, fewer_T = step(replace(batch, labels_BPT=labels))
    assert (fewer_T[1], float(without_T[1])) == (0, 0.0)
    assert torch.equal(without_T[[0, 2]], sums_T[[0, 2]])
    assert torch.equal(fewer_T[[0, 2]], counts_T[[0, 2]])


@torch.no_grad()
def test_with_negatives_the_other_tasks_losses_stay_and_many_approach_the_full_softmax(
    encoder_folder: Path, tiny: Tiny, step: TrainStep, batch: Batch
) -> None:
    full_T, counts_T = step(batch)
    sampled = Tiny.of(encoder_folder, train={"negatives": 4000}).trainer().step_module
    torch.manual_seed(0)
    sums_T, sampled_counts_T = sampled(batch)
    assert torch.equal(sampled_counts_T, counts_T)
    torch.testing.assert_close(sums_T[1:], full_T[1:], rtol=1e-5, atol=1e-5)
    assert float(sums_T[0]) == pytest.approx(float(full_T[0]), rel=0.02)


def test_gradient_reaches_every_parameter_but_the_padding(step: TrainStep, batch: Batch) -> None:
    step.zero_grad()
    sums_T, _ = step(batch)
    sums_T.sum().backward()
    for name, parameter in step.model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any() or "gate" in name, name  # the item's gate waits for its id part, which is zero


def test_the_catalogue_of_a_recipe_without_numbers_has_one_zero_column(tiny: Tiny) -> None:
    from motet.model.items import ItemInputs
    from motet.training.step import Catalogue

    inputs = tiny.inputs
    bare = ItemInputs(inputs.text_IX, inputs.slots_IL, inputs.numbers_IM[:, :0], inputs.log_count_I)
    assert Catalogue(bare, torch.ones(ITEMS)).numbers_IM.tolist() == [[0.0]] * ITEMS


def test_an_item_without_a_training_event_has_no_id_part_and_gets_none(tiny: Tiny) -> None:
    """Its vector does not depend on its row of the id table, which gets no gradient."""
    step = tiny.trainer().step_module.eval()
    step.catalogue.counts_I[0] = 0
    before = step.catalogue.vectors(step.model, torch.arange(2)).detach()
    with torch.no_grad():
        step.model.items.ids.weight[1:3] += torch.arange(step.model.items.ids.weight.shape[1])
    after = step.catalogue.vectors(step.model, torch.arange(2))
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    (after**2).sum().backward()
    gradient = step.model.items.ids.weight.grad
    assert gradient is not None
    assert not gradient[1].any()
