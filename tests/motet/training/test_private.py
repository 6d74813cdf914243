"""Private steps: each window's gradient is its own, cut and noised; epsilon grows to what was asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from motet.errors import TrainingError
from motet.recipe import Recipe
from motet.training.loop import Epoch, Trainer
from motet.training.private import PrivateSteps
from tests.builders import Tiny, recipe_dict

PRIVATE = {"epsilon": 5.0, "delta": 1e-3, "clip": 1.0}


@pytest.fixture(scope="module")
def variant(encoder_folder: Path) -> Callable[..., Tiny]:
    return lambda **train: Tiny.of(encoder_folder, train=train, model={"dropout": 0.0})


def _losses(trainer: Trainer, tiny: Tiny) -> torch.Tensor:
    (batch, *_) = tiny.batches(8)
    sums_T, _ = trainer.step_module(batch)
    assert trainer.private is not None
    return sums_T.sum() / trainer.private.outputs


def test_the_gradient_of_a_step_is_the_mean_of_those_of_its_windows_each_cut(variant: Callable[..., Tiny]) -> None:
    """Beside gradients of the same windows one by one, by torch alone."""
    tiny = variant(private=PRIVATE)
    trainer, alone = tiny.trainer(), variant().trainer()
    private = trainer.private
    assert isinstance(private, PrivateSteps)
    private.noise = 0.0
    private.settings = private.settings.model_copy(update={"clip": 0.05})
    whole = tiny.windows.slice(0, 8)
    batches = [tiny.batches(1)[place] for place in range(8)]
    expected, cut = [0.0] * len(private.parameters), 0
    for batch in batches:
        alone.step_module.zero_grad()
        sums_T, _ = alone.step_module(batch)
        (sums_T.sum() / private.outputs).backward()
        own = [one.grad if one.grad is not None else torch.zeros_like(one) for one in _tower(alone)]
        norm = torch.cat([one.flatten() for one in own]).norm()
        cut += bool(norm > 0.05)
        share = min(1.0, 0.05 / float(norm.clamp(min=1e-12)))
        expected = [total + share * one for total, one in zip(expected, own, strict=True)]
    assert cut > 0
    assert whole.num_rows == 8
    private.step(_losses(trainer, tiny), trainer._others, 8)
    for one, total in zip(private.parameters, expected, strict=True):
        found = one.grad if one.grad is not None else torch.zeros_like(one)
        torch.testing.assert_close(found, total / private.batch_size, atol=1e-6, rtol=1e-4)


def _tower(trainer: Trainer) -> list[torch.nn.Parameter]:
    return list(trainer.step_module.model.users.parameters())


def test_the_noise_is_as_large_as_it_should_be_and_never_the_same(variant: Callable[..., Tiny]) -> None:
    tiny = variant(private=PRIVATE)
    seen = []
    for _ in range(2):
        trainer = tiny.trainer()
        private = trainer.private
        assert private is not None
        private.settings = private.settings.model_copy(update={"clip": 10.0})
        private.step(0 * _losses(trainer, tiny), trainer._others, 8)  # nothing but noise
        seen.append(torch.cat([one.grad.flatten() for one in private.parameters if one.grad is not None]))
        expected = private.noise * 10.0 / private.batch_size
        assert seen[-1].std() == pytest.approx(float(expected), rel=0.1)
        assert abs(float(seen[-1].mean())) < expected / 5
    assert not torch.equal(seen[0], seen[1])


def test_what_is_used_where_no_window_is_told_apart_is_refused(variant: Callable[..., Tiny]) -> None:
    trainer = variant(private=PRIVATE).trainer()
    assert trainer.private is not None
    with pytest.raises(TrainingError, match="a part of the user tower has no gradient by window; leave private out"):
        trainer.private.step(trainer.private.parameters[0].sum(), trainer._others, 8)


def test_a_run_spends_what_it_was_given(variant: Callable[..., Tiny]) -> None:
    tiny = variant(private=PRIVATE, epochs=6, patience=6, batch_size=8)
    steps = len(tiny.batches(8))
    epochs: list[Epoch] = []
    trainer = tiny.trainer(steps)
    trainer.run(lambda _: tiny.batches(8), tiny.validation, epochs.append)
    spent = [epoch.metrics()["privacy"] for epoch in epochs]
    assert [one["epsilon"] for one in spent] == sorted(one["epsilon"] for one in spent)
    assert spent[-1]["epsilon"] == pytest.approx(5.0, rel=0.15)
    assert {one["windows"] for one in spent} == {tiny.windows.num_rows}
    assert "privacy" not in variant(epochs=1).train()[1][0].metrics()


def test_less_epsilon_is_more_noise(variant: Callable[..., Tiny]) -> None:
    noises = []
    for epsilon in (0.5, 5.0, 50.0):
        private = variant(private={**PRIVATE, "epsilon": epsilon}).trainer().private
        assert private is not None
        noises.append(private.noise)
    assert noises == sorted(noises, reverse=True)
    assert noises[0] > 3 * noises[2]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"train": {"workers": 2, "private": PRIVATE}}, "private is for one worker on CPUs without compile"),
        ({"train": {"workers": 0, "compile": True, "private": PRIVATE}}, "private is for one worker on CPUs"),
        ({"train": {"workers": 0, "negatives": 8, "private": PRIVATE}}, "negatives = 8 are of all together"),
        ({"model": {"balance": "famo"}, "train": {"workers": 0, "private": PRIVATE}}, "set it to static"),
        ({"model": {"sequence": "gru4rec"}, "train": {"workers": 0, "private": PRIVATE}}, "use transformer"),
        ({"train": {"workers": 0, "private": {"epsilon": 0}}}, "greater than 0"),
    ],
)
def test_what_cannot_be_private(changes: dict, problem: str) -> None:
    recipe = recipe_dict("m")
    merged = {**recipe, **{name: {**recipe.get(name, {}), **values} for name, values in changes.items()}}
    with pytest.raises(ValueError, match=problem):
        Recipe.model_validate(merged)


def test_an_epoch_that_is_shorter_than_the_noise_is_made_for_ends_the_run(variant: Callable[..., Tiny]) -> None:
    private = variant(private=PRIVATE).trainer(steps_per_epoch=4).private
    assert private is not None
    private._steps = 4
    private.end_epoch()
    private._steps = 3
    with pytest.raises(TrainingError, match=r"an epoch had 3 steps, the noise is made for 4; it would spend more than"):
        private.end_epoch()
