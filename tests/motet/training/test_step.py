"""The losses of one step: sums over labelled rows, by hand from the model's own scores."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from motet.recipe import Recipe
from motet.training.batches import Batch
from motet.training.negatives import drawn_negatives
from motet.training.step import TrainStep, user_states
from tests.builders import ITEMS, Tiny, recipe_dict


@pytest.fixture(scope="module")
def step(tiny: Tiny) -> TrainStep:
    return tiny.trainer().step_module


@pytest.fixture(scope="module")
def batch(tiny: Tiny) -> Batch:
    return tiny.batches(20)[0]


def _outputs(step: TrainStep, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    catalogue = step.catalogue.vectors(step.model, torch.arange(ITEMS))
    return user_states(step.model, batch, catalogue[batch.items_BS]), catalogue


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
        outputs = step.catalogue.task_outputs(step.model, user[None], catalogue[[item]], torch.tensor([item]))
        raw = step.model.raw_scores(outputs)[0]
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
def test_with_negatives_the_other_losses_stay_and_many_approach_the_softmax_over_what_was_not_met(
    encoder_folder: Path, tiny: Tiny, step: TrainStep, batch: Batch
) -> None:
    full_T, counts_T = step(batch)
    sampled = Tiny.of(encoder_folder, train={"negatives": 4000}).trainer().step_module
    torch.manual_seed(0)
    sums_T, sampled_counts_T = sampled(batch)
    assert torch.equal(sampled_counts_T, counts_T)
    torch.testing.assert_close(sums_T[1:], full_T[1:], rtol=1e-5, atol=1e-5)
    user_BPD, catalogue = _outputs(step, batch)
    expected = 0.0
    for row, output in torch.nonzero(batch.targets_BP >= 0).tolist():
        target = int(batch.targets_BP[row, output])
        logits = step.model.retrieval_logits(user_BPD[row, [output]], catalogue)[0]
        met = {*batch.items_BS[row][batch.valid_BS[row]].tolist(), *batch.targets_BP[row].tolist()} - {-1, target}
        logits[list(met)] = -torch.inf
        expected -= float(logits.log_softmax(0)[target])
    assert float(sums_T[0]) == pytest.approx(expected, rel=1e-4)


TASKS = [
    {"name": "watch", "kind": "retrieval"},
    {"name": "met", "kind": "binary", "label": "rating >= 2", "negatives": 3},
    {"name": "like", "kind": "binary", "label": "rating >= 4", "given": "met"},
    {"name": "stars", "kind": "ordinal", "label": "rating", "sample_weight": "rating / 2"},
    {"name": "plays", "kind": "count", "label": "rating"},
    {"name": "best", "kind": "ranking", "label": "rating", "slate": "rating"},
]


@pytest.fixture(scope="module")
def rich(encoder_folder: Path) -> Tiny:
    """All kinds of tasks and all their options; a slate is what a user gave the same rating."""
    changes = {"tasks": TASKS, "surfaces": {"home": {"weights": {"watch": 1.0, "like_given_met": 0.1, "best": 0.1}}}}
    recipe = Recipe.model_validate(recipe_dict(str(encoder_folder)) | changes)
    return Tiny(recipe)


def test_all_kinds_of_tasks_train_and_are_validated(rich: Tiny) -> None:
    torch.manual_seed(0)
    trainer, epochs = rich.train()
    assert epochs[-1].losses["stars"] < epochs[0].losses["stars"]
    assert {"like.auc", "met.loss", "stars.kappa", "plays.deviance", "watch.ndcg"} <= set(epochs[-1].validation)
    assert trainer.step_module.model.scores == ["met", "like", "stars", "plays", "best", "like_given_met"]


def test_a_chain_s_loss_is_that_of_the_product(rich: Tiny) -> None:
    step, batch = rich.trainer().step_module.eval(), rich.batches(20)[0]
    with torch.no_grad():
        sums_T, counts_T = step(batch)
        user_BPD, catalogue = _outputs(step, batch)
        has = batch.targets_BP >= 0
        items = batch.targets_BP[has]
        met, like, *_ = step.catalogue.task_outputs(step.model, user_BPD[has], catalogue[items], items)
    share = torch.sigmoid(met[:, 0]) * torch.sigmoid(like[:, 0])
    labels = batch.labels_BPT[has][:, 1]
    known = ~labels.isnan()
    expected = functional.binary_cross_entropy(share[known], labels[known], reduction="sum")
    assert float(sums_T[2]) == pytest.approx(float(expected), rel=1e-4)
    assert counts_T[2] == known.sum()


@torch.no_grad()
def test_of_a_chain_both_the_product_and_the_share_among_its_condition_are_served(rich: Tiny) -> None:
    torch.manual_seed(3)
    model = rich.card.build().eval()
    met, like = torch.randn(6, 1), torch.randn(6, 1)
    others = [torch.randn(6, task.rules.outputs(rich.card.scales[task.name])) for task in model.tasks[2:]]
    raw = dict(zip(model.scores, model.raw_scores([met, like, *others]).T, strict=True))
    torch.testing.assert_close(torch.sigmoid(raw["like"]), (torch.sigmoid(met) * torch.sigmoid(like))[:, 0])
    torch.testing.assert_close(raw["like_given_met"], like[:, 0])
    torch.testing.assert_close(raw["met"], met[:, 0])


def test_drawn_negatives_are_of_no_window_and_count_beside_the_labels(rich: Tiny) -> None:
    batch, task = rich.batches(20)[0], rich.recipe.tasks[1]
    found = drawn_negatives(task, batch, ITEMS, rich.names)
    assert found is not None
    positives = int((batch.labels_BPT[..., 0] == 1).sum())
    assert len(found.items_N) == 3 * positives
    for row, item, weight in zip(found.rows_N.tolist(), found.items_N.tolist(), found.weights_N.tolist(), strict=True):
        met = {*batch.items_BS[row][batch.valid_BS[row]].tolist(), *batch.targets_BP[row].tolist()}
        assert (item in met) == (weight == 0)
    assert found.weights_N.mean() > 0.9
    torch.manual_seed(1)
    _, counts_T = rich.trainer().step_module(batch)
    known = int((~batch.labels_BPT[..., 0].isnan()).sum())
    assert known + 2.5 * positives < counts_T[1] <= known + 3 * positives
    assert drawn_negatives(rich.recipe.tasks[2], batch, ITEMS, rich.names) is None


@torch.no_grad()
def test_sample_weights_weigh_rows_and_their_sum_is_the_count(rich: Tiny) -> None:
    step, batch = rich.trainer().step_module.eval(), rich.batches(20)[0]
    _, counts_T = step(batch)
    ratings = batch.labels_BPT[..., 2]
    assert float(counts_T[3]) == pytest.approx(float((ratings / 2).nansum()))
    doubled = replace(batch, weights_BPT=2 * batch.weights_BPT)
    assert float(step(doubled)[0][3]) == pytest.approx(2 * float(step(batch)[0][3]), rel=1e-5)


@torch.no_grad()
def test_a_slate_is_scored_by_the_user_before_it(rich: Tiny) -> None:
    """What happened within a slate, and after its first event, changes none of its scores."""
    step, batch = rich.trainer().step_module.eval(), rich.batches(20)[0]
    slates = torch.full_like(batch.slates_BPT, -1)
    row = int(batch.valid_BS.sum(1).argmax())
    slates[row, -3:, 4] = batch.valid_BS.shape[1] - 3
    labels = batch.labels_BPT.clone()
    labels[row, -3:, 4] = torch.tensor([1.0, 3.0, 2.0])
    one = replace(batch, slates_BPT=slates, labels_BPT=labels)
    before = step(one)
    assert before[1][5] == 1
    items, events = one.items_BS.clone(), one.events_BST.clone()
    items[row, -3:], events[row, -3:] = (items[row, -3:] + 1) % ITEMS, 0.0
    after = step(replace(one, items_BS=items, events_BST=events))
    assert float(after[0][5]) == pytest.approx(float(before[0][5]), rel=1e-5)
    assert float(after[0][0]) != pytest.approx(float(before[0][0]), rel=1e-5)


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
    from motet.training.catalogue import Catalogue

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
