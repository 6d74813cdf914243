"""The weights of the experts, against the gates themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch

from motet.model.gates import gate_weights
from tests.builders import Tiny


def _pairs(rows: int = 6) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    users_ND, items_ND = (torch.randn(rows, 8, generator=generator) for _ in range(2))
    return users_ND, items_ND, torch.rand(rows, generator=generator), torch.arange(rows), torch.zeros(rows, 0)


@pytest.mark.parametrize(
    ("changes", "experts"),
    [
        ({"experts": "mmoe", "num_experts": 3}, 3),
        ({"experts": "mmoe", "num_experts": 3, "task_embeddings": True}, 3),
        ({"experts": "ple", "num_experts": 2}, 3),
        ({"experts": "ple", "num_experts": 2, "expert_layers": 2}, 3),
    ],
)
def test_each_task_has_weights_that_sum_to_one(encoder_folder: Path, changes: dict[str, Any], experts: int) -> None:
    model = Tiny.of(encoder_folder, model=changes).card.build().eval()
    found = gate_weights(model, *_pairs())
    assert found is not None
    assert found.shape == (6, 2, experts)
    torch.testing.assert_close(found.sum(-1), torch.ones(6, 2))
    before = model.task_scores(*_pairs())
    torch.testing.assert_close(model.task_scores(*_pairs()), before)
    assert not any(module._forward_hooks for module in model.modules())


def test_they_are_those_of_the_mixture(encoder_folder: Path) -> None:
    """Experts that answer 1, 2 and 3 everywhere: what a task's head is given is its weights' mean of them."""
    model = Tiny.of(encoder_folder, model={"experts": "mmoe", "num_experts": 3}).card.build().eval()
    for place, expert in enumerate(model.experts.experts):
        expert.forward = lambda x, place=place: torch.full((len(x), 8), place + 1.0)
    given: list[torch.Tensor] = []
    for head in model.heads:
        head.register_forward_hook(lambda _, inputs, __: given.append(inputs[0][:, 0]))
    found = gate_weights(model, *_pairs())
    assert found is not None
    torch.testing.assert_close(torch.stack(given, 1), found @ torch.tensor([1.0, 2.0, 3.0]))


def test_of_several_layers_they_are_the_last_ones(encoder_folder: Path) -> None:
    model = Tiny.of(encoder_folder, model={"experts": "ple", "expert_layers": 2}).card.build().eval()
    for task, gate in enumerate(model.experts.layers[1].gates):
        torch.nn.init.zeros_(gate.linear.weight)
        with torch.no_grad():
            gate.linear.bias.copy_(torch.tensor([0.0, 0.0, 50.0 * task]))
    found = gate_weights(model, *_pairs())
    assert found is not None
    torch.testing.assert_close(found[:, 0], torch.full((6, 3), 1 / 3))
    torch.testing.assert_close(found[:, 1], torch.tensor([0.0, 0.0, 1.0]).expand(6, 3))


def test_a_shared_bottom_has_none(encoder_folder: Path) -> None:
    model = Tiny.of(encoder_folder, model={"experts": "shared_bottom"}).card.build().eval()
    assert gate_weights(model, *_pairs()) is None
