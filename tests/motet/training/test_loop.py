"""The loop: schedule, early stopping, balancing, errors, and the golden losses of a tiny run."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motet.devices import ON_CPU
from motet.errors import TrainingError
from motet.recipe import Recipe
from motet.training.loop import Epoch, Progress, Trainer
from tests.builders import Tiny, recipe_dict

GOLDEN = Path(__file__).parent.parent.parent / "golden" / "tiny_losses.txt"
TOLERANCE = 2e-3  # relative; another CPU sums floats in another order


@pytest.fixture(scope="module")
def variant(encoder_folder: Path) -> Callable[..., Tiny]:
    return lambda **changes: Tiny.of(encoder_folder, **changes)


def _run(trainer: Trainer, tiny: Tiny) -> list[Epoch]:
    epochs: list[Epoch] = []
    trainer.run(lambda _: tiny.batches(8), tiny.validation, epochs.append)
    return epochs


def test_losses_are_those_of_the_golden_file(tiny: Tiny) -> None:
    _, epochs = tiny.train()
    expected = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    assert len(epochs) == len(expected)
    for epoch, (number, *values) in zip(epochs, expected, strict=True):
        assert epoch.number == int(number)
        assert list(epoch.losses.values()) == pytest.approx([float(value) for value in values], rel=TOLERANCE)


def test_batches_made_ahead_change_nothing_and_bfloat16_little(tiny: Tiny) -> None:
    _, plain = tiny.train()
    for place, tolerance in ((replace(ON_CPU, ahead=2), 1e-6), (replace(ON_CPU, precision="bfloat16"), 0.1)):
        trainer = tiny.trainer()
        trainer.place = place
        epochs = _run(trainer, tiny)
        for one, other in zip(epochs, plain, strict=True):
            assert one.rows == other.rows
            assert one.losses == pytest.approx(other.losses, rel=tolerance)
    assert epochs[0].losses != plain[0].losses


def test_training_lowers_every_task_s_loss_and_counts_the_rows(tiny: Tiny, variant: Callable[..., Tiny]) -> None:
    _, epochs = variant(train={"epochs": 25, "patience": 25}).train()
    for task in ("watch", "like", "rating"):
        assert epochs[-1].losses[task] < 0.9 * epochs[0].losses[task]
    events = sum(len(items) for items in tiny.before(1))
    # 5, 6, 7, 8, 9, 5, ... events of 12 users make 81; two of each are held out.
    assert all(epoch.rows == events == 57 for epoch in epochs)
    row = epochs[0].metrics()
    assert row["loss"] == pytest.approx(sum(row["losses"].values()))
    assert row["weights"] == {"watch": 1.0, "like": 1.0, "rating": 1.0}


def test_the_learning_rate_warms_up_and_falls_on_a_cosine_to_a_tenth(variant: Callable[..., Tiny]) -> None:
    tiny = variant(train={"learning_rate": 0.1, "warmup_steps": 4, "epochs": 3})
    trainer = tiny.trainer(steps_per_epoch=8)  # 24 steps: 4 up, 20 down
    assert [trainer.learning_rate(step) for step in range(4)] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert trainer.learning_rate(4) == pytest.approx(0.1)
    assert trainer.learning_rate(14) == pytest.approx(0.055)  # half of the way: 0.1 x (0.55 + 0.45 cos(pi/2))
    assert trainer.learning_rate(9) == pytest.approx(0.1 * (0.55 + 0.45 * math.sqrt(0.5)))
    assert trainer.learning_rate(24) == trainer.learning_rate(99) == pytest.approx(0.01)


def test_without_warm_up_the_first_step_has_the_full_rate(variant: Callable[..., Tiny]) -> None:
    trainer = variant(train={"learning_rate": 0.1, "warmup_steps": 0}).trainer(8)
    assert trainer.learning_rate(0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("metric", "values", "best", "stops"),
    [
        ("watch.ndcg", [0.1, 0.3, 0.2, 0.3, 0.25, 0.9], [True, True, False, False, False], 5),
        ("watch.loss", [3.0, 2.0, 2.5, 1.0, 1.5, 1.2, 1.1], [True, True, False, True, False, False, False], 7),
    ],
)
def test_training_stops_when_the_metric_was_not_better_for_patience_epochs(
    variant: Callable[..., Tiny], metric: str, values: list[float], best: list[bool], stops: int
) -> None:
    trainer = variant(train={"select_by": metric, "patience": 3, "epochs": 10}).trainer()
    found = []
    for value in values:
        if trainer.progress.since_best == 3:
            break
        trainer.progress.epoch += 1
        found.append(trainer._note_best({metric: value}))
    assert (found, len(found)) == (best, stops)


def test_a_run_stops_early_by_itself_and_at_most_at_the_last_epoch(variant: Callable[..., Tiny]) -> None:
    # A rate this small changes no order: the second and third epoch are not better than the first.
    trainer = (tiny := variant(train={"learning_rate": 1e-9, "patience": 2, "epochs": 10})).trainer()
    assert [epoch.best for epoch in _run(trainer, tiny)] == [True, False, False]
    assert (trainer.progress.best_epoch, trainer.progress.epoch) == (1, 3)
    assert len(_run((tiny := variant(train={"epochs": 2})).trainer(), tiny)) == 2


def test_a_metric_that_validation_does_not_give_is_named(variant: Callable[..., Tiny]) -> None:
    tiny = variant(train={"select_by": "like.auc"})
    with pytest.raises(TrainingError, match=r"select_by = 'like.auc' has no value: validation gave \[\]; choose"):
        tiny.trainer().run(lambda _: tiny.batches(8), lambda: [], lambda _: None)


def test_a_loss_that_is_not_finite_names_the_task_and_changes_no_weight(tiny: Tiny) -> None:
    trainer = tiny.trainer()
    before = {name: value.clone() for name, value in trainer.step_module.state_dict().items()}
    (batch, *_) = tiny.batches(8)
    labels = batch.labels_BPT.clone()
    labels[..., 1] = torch.where(labels[..., 1].isnan(), labels[..., 1], torch.inf)
    with pytest.raises(TrainingError, match=r"loss of task 'rating' is not finite at step 0; lower"):
        trainer.run(lambda _: [replace(batch, labels_BPT=labels)], tiny.validation, lambda _: None)
    after = trainer.step_module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_weight_that_is_not_finite_stops_training_at_the_next_step(tiny: Tiny) -> None:
    trainer = tiny.trainer()
    with torch.no_grad():
        trainer.step_module.model.heads[0].bias.fill_(torch.nan)
    with pytest.raises(TrainingError, match="loss of task 'like' is not finite"):
        _run(trainer, tiny)


def test_no_row_at_all_is_an_error(tiny: Tiny) -> None:
    with pytest.raises(TrainingError, match=r"there is no training row; check data\.split"):
        tiny.trainer().run(lambda _: [], tiny.validation, lambda _: None)


def test_padding_rows_change_neither_loss_nor_gradient(tiny: Tiny) -> None:
    from motet.training.batches import collate
    from motet.training.windows import train_rows

    arguments = (tiny.histories, tiny.users, 6, tiny.text)
    bare, padded = train_rows(*arguments), train_rows(*arguments, multiple_of=50)
    assert (bare.num_rows, padded.num_rows) == (12, 50)
    found = []
    for table in (bare, padded):
        trainer = tiny.trainer()
        sums_T, counts_T = trainer.module(collate(table, tiny.names, 6))
        (sums_T / counts_T).sum().backward()
        gradients = {name: value.grad for name, value in trainer.step_module.named_parameters()}
        found.append((sums_T.tolist(), counts_T.tolist(), gradients))
    (sums, counts, gradients), (padded_sums, padded_counts, padded_gradients) = found
    assert counts == padded_counts
    assert counts[0] == 57
    assert sums == pytest.approx(padded_sums, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, padded_gradients[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("experts", ["shared_bottom", "mmoe", "ple"])
@pytest.mark.parametrize("negatives", [0, 5])
def test_every_kind_of_experts_trains_with_and_without_sampling(
    variant: Callable[..., Tiny], experts: str, negatives: int
) -> None:
    tiny = variant(model={"experts": experts}, train={"negatives": negatives, "epochs": 12, "patience": 12})
    _, epochs = tiny.train()
    assert epochs[-1].losses["watch"] < epochs[0].losses["watch"]
    assert epochs[-1].losses["rating"] < epochs[0].losses["rating"]


@pytest.mark.parametrize(
    "options",
    [
        {"sequence": "hstu"},
        {"sequence": "gru4rec", "layers": 2},
        {"time_signal": False},
        {"experts": "ple", "expert_layers": 2},
        {"task_embeddings": True},
        {"balance": "gradnorm"},
        {"balance": "pcgrad"},
        {"balance": "cagrad"},
    ],
    ids=str,
)
def test_options_of_the_model_train(variant: Callable[..., Tiny], options: dict[str, object]) -> None:
    _, epochs = variant(model=options, train={"epochs": 12, "patience": 12}).train()
    for task in ("watch", "rating"):
        assert epochs[-1].losses[task] < epochs[0].losses[task]


def test_a_recipe_with_the_retrieval_task_alone_trains(encoder_folder: Path) -> None:
    alone = {"tasks": [{"name": "watch", "kind": "retrieval"}], "surfaces": {"home": {"weights": {"watch": 1.0}}}}
    recipe = Recipe.model_validate(recipe_dict(str(encoder_folder)) | alone)
    _, epochs = Tiny(recipe).train()
    assert list(epochs[0].losses) == ["watch"]
    assert set(epochs[0].validation) == {"watch.ndcg", "watch.recall", "watch.loss"}


def test_progress_starts_at_nothing() -> None:
    assert Progress() == Progress(epoch=0, step=0, best=None, best_epoch=0, since_best=0, balance={})


def test_without_validation_the_last_of_the_given_epochs_is_kept_and_the_rate_has_fallen(tiny: Tiny) -> None:
    trainer, epochs = tiny.trainer(), []
    trainer.run(lambda _: tiny.batches(8), None, epochs.append, 2)
    assert [(epoch.best, epoch.validation) for epoch in epochs] == [(True, {}), (True, {})]
    assert trainer.progress.best_epoch == 2
    peak, steps = tiny.recipe.train.learning_rate, trainer.steps_per_epoch * 2
    assert trainer.learning_rate(steps) == pytest.approx(0.1 * peak)
