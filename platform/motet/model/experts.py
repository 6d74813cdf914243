"""Task layers: from one shared input to one vector per task.

    shared_bottom   one network for all tasks (the honest baseline)
    mmoe            multi-gate mixture of experts (Ma et al., KDD 2018)
    ple             progressive layered extraction, one CGC layer (Tang et al., RecSys 2020)

All take [N, F] and return [N, T, D]. Expert outputs are layer-normalised and use SiLU, which keeps experts from
collapsing into one (HoME, arXiv 2408.05430).
"""

import torch
from torch import Tensor, nn

from motet.settings import ModelSettings


def _expert(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.SiLU(), nn.Dropout(dropout), nn.LayerNorm(outputs))


class SharedBottom(nn.Module):
    """One network; every task gets the same vector."""

    def __init__(self, inputs: int, tasks: int, settings: ModelSettings) -> None:
        super().__init__()
        self.tasks = tasks
        self.bottom = _expert(inputs, settings.expert_dim, settings.dropout)

    def forward(self, x_NF: Tensor) -> Tensor:
        """Return [N, T, D]."""
        return self.bottom(x_NF).unsqueeze(1).expand(-1, self.tasks, -1)


class MMoE(nn.Module):
    """Shared experts, mixed by a softmax gate per task."""

    def __init__(self, inputs: int, tasks: int, settings: ModelSettings) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            [_expert(inputs, settings.expert_dim, settings.dropout) for _ in range(settings.num_experts)]
        )
        self.gates = nn.ModuleList([nn.Linear(inputs, settings.num_experts) for _ in range(tasks)])

    def forward(self, x_NF: Tensor) -> Tensor:
        """Return [N, T, D]."""
        experts_NED = torch.stack([expert(x_NF) for expert in self.experts], 1)
        gates_NTE = torch.stack([gate(x_NF).softmax(-1) for gate in self.gates], 1)
        return gates_NTE @ experts_NED


class PLE(nn.Module):
    """Shared experts and one expert per task; a task's gate mixes the shared ones and its own."""

    def __init__(self, inputs: int, tasks: int, settings: ModelSettings) -> None:
        super().__init__()
        size, dropout = settings.expert_dim, settings.dropout
        self.shared = nn.ModuleList([_expert(inputs, size, dropout) for _ in range(settings.num_experts)])
        self.own = nn.ModuleList([_expert(inputs, size, dropout) for _ in range(tasks)])
        self.gates = nn.ModuleList([nn.Linear(inputs, settings.num_experts + 1) for _ in range(tasks)])

    def forward(self, x_NF: Tensor) -> Tensor:
        """Return [N, T, D]."""
        shared_NED = torch.stack([expert(x_NF) for expert in self.shared], 1)
        mixed = []
        for expert, gate in zip(self.own, self.gates, strict=True):
            experts_NED = torch.cat([shared_NED, expert(x_NF).unsqueeze(1)], 1)
            mixed.append((gate(x_NF).softmax(-1).unsqueeze(1) @ experts_NED).squeeze(1))
        return torch.stack(mixed, 1)


EXPERTS: dict[str, type[nn.Module]] = {"shared_bottom": SharedBottom, "mmoe": MMoE, "ple": PLE}


def build_experts(inputs: int, tasks: int, settings: ModelSettings) -> nn.Module:
    """Return the task layers that the recipe names."""
    return EXPERTS[settings.experts](inputs, tasks, settings)
