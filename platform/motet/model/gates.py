"""The gates of the experts, and what they answer while the network runs.

Letters: N rows, E experts that a gate mixes, T tasks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motet.model.experts import PLE, MMoE
from motet.model.experts.expert import Gate
from motet.model.recommender import Recommender

SHARED = "shared"
"""The name under which the gate of ple's shared stream stands."""


@dataclass(frozen=True)
class Gated:
    """A gate with the names of what it stands between."""

    layer: int
    task: str
    """Or `SHARED`."""
    experts: tuple[str, ...]
    gate: Gate


def gates_of(experts: nn.Module | None, tasks: Sequence[str]) -> Iterator[Gated]:
    """Yield the gates of mmoe and ple; there are none in shared_bottom, and without scored tasks."""
    if isinstance(experts, MMoE):
        names = tuple(f"expert {place + 1}" for place in range(len(experts.experts)))
        for task, gate in zip(tasks, experts.gates, strict=True):
            yield Gated(0, task, names, gate)  # type: ignore[arg-type]
    if isinstance(experts, PLE):
        for number, layer in enumerate(experts.layers):
            shared = tuple(f"shared {place + 1}" for place in range(len(layer.shared)))  # type: ignore[arg-type]
            for task, gate in zip(tasks, layer.gates, strict=True):  # type: ignore[arg-type]
                yield Gated(number, task, (*shared, f"own of {task}"), gate)
            if layer.shared_gate is not None:
                own = tuple(f"own of {task}" for task in tasks)
                yield Gated(number, SHARED, (*shared, *own), layer.shared_gate)  # type: ignore[arg-type]


@contextmanager
def heard(gates: Sequence[Gated], keep: Callable[[Tensor], Tensor]) -> Iterator[list[list[Tensor]]]:
    """Give, for each gate, what `keep` makes of its weights [N, E] each time it runs inside the block."""
    seen: list[list[Tensor]] = [[] for _ in gates]
    hooks = [
        one.gate.register_forward_hook(lambda _, __, weights_NE, kept=kept: kept.append(keep(weights_NE)))
        for one, kept in zip(gates, seen, strict=True)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def gate_weights(model: Recommender, *pairs: Tensor) -> Tensor | None:
    """Return the weight of each expert in each task's mixture, [N, T, E], rows of E sum to 1; None without gates.

    Of `ple` it is the last layer's: the shared experts, then the task's own.

    Args:
        model: the network.
        pairs: the arguments of `Recommender.task_outputs`.
    """
    gates = [one for one in gates_of(model.experts, model.scored) if one.task != SHARED]
    last = [one for one in gates if one.layer == gates[-1].layer]
    if not last:
        return None
    with heard(last, lambda weights_NE: weights_NE) as seen:
        model.task_outputs(*pairs)
    return torch.stack([one[0] for one in seen], 1)
