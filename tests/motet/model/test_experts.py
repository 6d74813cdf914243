"""The contract of the task layers, for all of them; and what sets them apart."""

import pytest
import torch

from motet.model.experts import EXPERTS, PLE, MMoE, SharedBottom, build_experts
from motet.model.experts.expert import Gate
from motet.settings import ModelSettings

SETTINGS = ModelSettings(dim=8, expert_dim=5, num_experts=3, dropout=0.0)
TASKS, INPUTS = 2, 7


@pytest.fixture(params=[*((name, 1) for name in sorted(EXPERTS)), ("ple", 3)], ids=str)
def layers(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(3)
    kind, depth = request.param
    return build_experts(INPUTS, TASKS, SETTINGS.model_copy(update={"experts": kind, "expert_layers": depth}))


def _inputs(rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, INPUTS, generator=torch.Generator().manual_seed(0))


def test_one_vector_per_row_and_task(layers: torch.nn.Module) -> None:
    assert layers(_inputs()).shape == (4, TASKS, SETTINGS.expert_dim)
    assert layers(_inputs(0)).shape == (0, TASKS, SETTINGS.expert_dim)


def test_one_input_for_all_tasks_is_the_same_input_for_each(layers: torch.nn.Module) -> None:
    each = _inputs().unsqueeze(1).expand(-1, TASKS, -1)
    torch.testing.assert_close(layers(each), layers(_inputs()), atol=1e-5, rtol=1e-5)
    other = torch.stack([_inputs(), _inputs() + 1], 1)
    assert not torch.allclose(layers(other)[:, 1], layers(each)[:, 1], atol=1e-3)


def test_a_permuted_batch_gives_permuted_outputs_of_the_inputs_type(layers: torch.nn.Module) -> None:
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(layers(_inputs()[order]), layers(_inputs())[order], atol=1e-6, rtol=0)
    double = layers.double()(_inputs().double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), layers.float()(_inputs()), atol=1e-5, rtol=1e-4)


def test_gates_sum_to_one(layers: torch.nn.Module) -> None:
    sums = []
    for module in layers.modules():
        if isinstance(module, Gate):
            module.register_forward_hook(lambda _, __, out: sums.append(out.sum(-1)))
    layers(_inputs())
    assert bool(sums) != isinstance(layers, SharedBottom)
    assert all(torch.allclose(one, torch.ones(4)) for one in sums)


def test_rows_do_not_see_one_another(layers: torch.nn.Module) -> None:
    together = layers(_inputs())
    for row in range(4):
        torch.testing.assert_close(layers(_inputs()[row : row + 1])[0], together[row], atol=1e-6, rtol=0)


def test_huge_inputs_give_finite_outputs_of_the_size_of_normalised_ones(layers: torch.nn.Module) -> None:
    outputs = layers(1e6 * _inputs())
    assert torch.isfinite(outputs).all()
    # A mixture of layer-normalised experts: no component beyond sqrt(width - 1).
    assert outputs.abs().max() <= SETTINGS.expert_dim**0.5


def test_every_parameter_learns(layers: torch.nn.Module) -> None:
    (layers(_inputs()) ** 3).sum().backward()
    for name, parameter in layers.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_shared_bottom_gives_all_tasks_the_same_the_others_do_not() -> None:
    torch.manual_seed(3)
    shared = SharedBottom(INPUTS, TASKS, SETTINGS)(_inputs())
    assert torch.equal(shared[:, 0], shared[:, 1])
    for kind in (MMoE, PLE):
        outputs = kind(INPUTS, TASKS, SETTINGS)(_inputs())
        assert not torch.allclose(outputs[:, 0], outputs[:, 1], atol=1e-2)


def test_mmoe_is_the_gates_mixture_of_its_experts() -> None:
    torch.manual_seed(3)
    layers, inputs = MMoE(INPUTS, TASKS, SETTINGS), _inputs()
    outputs = layers(inputs)
    for task, gate in enumerate(layers.gates):
        weights = gate(inputs)
        expected = sum(weights[:, [place]] * expert(inputs) for place, expert in enumerate(layers.experts))
        torch.testing.assert_close(outputs[:, task], expected)


def test_a_task_of_ple_sees_the_shared_experts_and_its_own_but_not_those_of_others() -> None:
    torch.manual_seed(3)
    ple, inputs = PLE(INPUTS, TASKS, SETTINGS), _inputs()
    (layers,) = ple.layers
    before = ple(inputs)
    weights = layers.gates[0](inputs)
    experts = [*layers.shared, layers.own[0]]
    expected = sum(weights[:, [place]] * expert(inputs) for place, expert in enumerate(experts))
    torch.testing.assert_close(before[:, 0], expected)
    with torch.no_grad():
        layers.own[1][0].weight.add_(torch.randn(5, INPUTS))
    after = ple(inputs)
    assert torch.equal(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 1], before[:, 1], atol=1e-3)
