"""The moving average of weights: by hand, put in and taken out again, and what a run validates and keeps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from motet.training.averaging import Average
from motet.training.loop import Epoch
from tests.builders import Tiny


def _line(value: float) -> nn.Linear:
    line = nn.Linear(1, 1, bias=False)
    nn.init.constant_(line.weight, value)
    return line


def test_it_starts_at_the_weights_and_follows_them_slower_and_slower() -> None:
    line = _line(0.0)
    average = Average(line, 0.5)
    expected = 0.0
    for step, keep in enumerate([0.1, 2 / 11, 0.25, 4 / 13, 5 / 14, 0.4, 7 / 16, 8 / 17, 0.5, 0.5, 0.5]):
        nn.init.constant_(line.weight, float(step))
        average.update(step)
        expected = keep * expected + (1 - keep) * step
    assert average.averages[0].item() == pytest.approx(expected, rel=1e-6)
    assert line.weight.item() == 10.0


def test_applied_it_stands_in_the_network_and_the_weights_come_back() -> None:
    line = _line(0.0)
    average = Average(line, 0.9)
    nn.init.constant_(line.weight, 10.0)
    average.update(0)
    with average.applied():
        assert line.weight.item() == pytest.approx(9.0)
        assert average.replaced["weight"].item() == 10.0
    assert (line.weight.item(), average.replaced) == (10.0, {})
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert line.weight.item() == 10.0


def test_a_run_reports_with_the_average_in_the_network(encoder_folder) -> None:
    tiny = Tiny.of(encoder_folder, train={"epochs": 2, "average": 0.9})
    trainer = tiny.trainer()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def report(_: Epoch) -> None:
        name, inside = next(iter(trainer.step_module.model.named_parameters()))
        seen.append((inside.detach().clone(), trainer.stepped[name]))

    trainer.run(lambda _: tiny.batches(4), tiny.validation, report)
    assert len(seen) == 2
    assert all(not torch.equal(average, weights) for average, weights in seen)
    assert trainer.average is not None
    torch.testing.assert_close(trainer.average.averages[0], seen[-1][0])
    assert trainer.stepped == {}


def test_the_loss_of_training_is_that_without_an_average(encoder_folder) -> None:
    """The average only looks on: steps are the same, validation is not."""
    tiny = Tiny.of(encoder_folder, train={"epochs": 2})
    _, plain = tiny.train()
    settings = tiny.recipe.train.model_copy(update={"average": 0.9})
    other = replace(tiny, recipe=tiny.recipe.model_copy(update={"train": settings}))
    _, averaged = other.train()
    assert [one.losses for one in plain] == [one.losses for one in averaged]
    assert plain[-1].validation != averaged[-1].validation
