"""Surgery on the gradients of a module: the trunk is operated on, the heads are summed."""

import pytest
import torch
from torch import nn

from motet.training.gradients import operate, task_gradients


@pytest.fixture
def parameters() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.ones(size)) for name, size in (("trunk", 2), ("one", 1), ("two", 1), ("idle", 3))}


def _losses(parameters: dict[str, nn.Parameter]) -> torch.Tensor:
    """Two tasks whose gradients at the trunk, (1, 0) and (-1, 1), conflict; each has a parameter of its own."""
    trunk = parameters["trunk"]
    return torch.stack([
        trunk[0] + 3 * parameters["one"].sum(), trunk[1] - trunk[0] + 5 * parameters["two"].sum()
    ])  # fmt: skip


def test_a_row_per_task_and_zero_where_it_does_not_reach(parameters: dict[str, nn.Parameter]) -> None:
    found = task_gradients(_losses(parameters), list(parameters.values()))
    assert found.tolist() == [[1, 0, 3, 0, 0, 0, 0], [-1, 1, 0, 5, 0, 0, 0]]


def test_conflicts_are_operated_on_in_the_trunk_alone(parameters: dict[str, nn.Parameter]) -> None:
    operate("pcgrad", _losses(parameters), list(parameters.values()), 0)
    # The projections give task one the weight 2 and task two 1.5: 2 (1, 0) + 1.5 (-1, 1).
    expected = {"trunk": [0.5, 1.5], "one": [3.0], "two": [5.0], "idle": [0.0, 0.0, 0.0]}
    assert {name: parameter.grad.tolist() for name, parameter in parameters.items()} == expected


def test_without_a_common_parameter_the_gradients_are_summed(parameters: dict[str, nn.Parameter]) -> None:
    losses = torch.stack([3 * parameters["one"].sum(), 5 * parameters["two"].sum()])
    operate("cagrad", losses, list(parameters.values()), 0)
    assert [parameters[name].grad.tolist() for name in ("one", "two")] == [[3.0], [5.0]]
