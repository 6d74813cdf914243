"""Progressive layered extraction (Tang et al., RecSys 2020): layers of customised gate control, one after another.

Each layer has shared experts and one expert per task. A task's gate mixes the shared ones and its own; the gate of
the shared stream, which the last layer does without, mixes all of them. Gates read the stream that they belong to.
"""

import torch
from torch import Tensor, nn

from motet.model.experts.expert import Gate, expert, mix, of_task
from motet.settings import ModelSettings


class CGC(nn.Module):
    """One layer."""

    def __init__(self, inputs: int, tasks: int, settings: ModelSettings, last: bool) -> None:
        super().__init__()
        shared = settings.num_experts
        self.shared = nn.ModuleList([expert(inputs, settings) for _ in range(shared)])
        self.own = nn.ModuleList([expert(inputs, settings) for _ in range(tasks)])
        self.gates = nn.ModuleList([Gate(inputs, shared + 1) for _ in range(tasks)])
        self.shared_gate = None if last else Gate(inputs, shared + tasks)

    def forward(self, shared_NF: Tensor, own: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the shared stream and each task's, [N, D] each."""
        shared = [one(shared_NF) for one in self.shared]
        tasks = [one(x_NF) for one, x_NF in zip(self.own, own, strict=True)]
        mixed = [mix(gate(x_NF), [*shared, task]) for gate, x_NF, task in zip(self.gates, own, tasks, strict=True)]
        if self.shared_gate is None:
            return shared_NF, mixed
        return mix(self.shared_gate(shared_NF), [*shared, *tasks]), mixed


class PLE(nn.Module):
    """Layers whose task streams grow apart; a shared stream reads the mean of the tasks' inputs."""

    def __init__(self, inputs: int, tasks: int, settings: ModelSettings) -> None:
        super().__init__()
        self.tasks = tasks
        widths = [inputs] + [settings.expert_dim] * (settings.expert_layers - 1)
        self.layers = nn.ModuleList(
            [CGC(width, tasks, settings, place == len(widths) - 1) for place, width in enumerate(widths)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, T, D]."""
        shared_NF = x if x.dim() == 2 else x.mean(1)
        own = [of_task(x, task) for task in range(self.tasks)]
        for layer in self.layers:
            shared_NF, own = layer(shared_NF, own)
        return torch.stack(own, 1)
