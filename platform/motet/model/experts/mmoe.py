"""Multi-gate mixture of experts (Ma et al., KDD 2018)."""

import torch
from torch import Tensor, nn

from motet.model.experts.expert import Gate, expert, of_task
from motet.settings import ModelSettings


class MMoE(nn.Module):
    """Shared experts, mixed by a softmax gate per task."""

    def __init__(self, inputs: int, tasks: int, settings: ModelSettings) -> None:
        super().__init__()
        self.experts = nn.ModuleList([expert(inputs, settings) for _ in range(settings.num_experts)])
        self.gates = nn.ModuleList([Gate(inputs, settings.num_experts) for _ in range(tasks)])

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, T, D]."""
        gates_NTE = torch.stack([gate(of_task(x, task)) for task, gate in enumerate(self.gates)], 1)
        experts = torch.stack([one(x) for one in self.experts], -2)
        if x.dim() == 2:
            return gates_NTE @ experts
        return (gates_NTE.unsqueeze(2) @ experts).squeeze(2)
