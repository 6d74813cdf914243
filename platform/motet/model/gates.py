"""Which experts each task listens to."""

import torch
from torch import Tensor, nn

from motet.model.recommender import Recommender


def _task_gates(model: Recommender) -> list[nn.Module]:
    """Return each task's gate, of the last layer if there are several; nothing for a shared bottom."""
    found: list[nn.Module] = []
    if model.experts is not None:
        for name, module in model.experts.named_modules():
            if name.rpartition(".")[2] == "gates" and isinstance(module, nn.ModuleList):
                found = list(module)
    return found


@torch.inference_mode()
def gate_weights(model: Recommender, *pairs: Tensor) -> Tensor | None:
    """Return the weight of each expert in each task's mixture, [N, T, E], rows of E sum to 1; None without gates.

    Of `ple` it is the last layer's: the shared experts, then the task's own.

    Args:
        model: the network.
        pairs: the arguments of `Recommender.task_outputs`.
    """
    gates = _task_gates(model)
    if not gates:
        return None
    seen: dict[int, Tensor] = {}

    def keep(task: int, weights_NE: Tensor) -> None:
        seen[task] = weights_NE

    hooks = [
        gate.register_forward_hook(lambda _module, _inputs, output, task=task: keep(task, output))
        for task, gate in enumerate(gates)
    ]
    try:
        model.task_outputs(*pairs)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([seen[task] for task in range(len(gates))], 1)
