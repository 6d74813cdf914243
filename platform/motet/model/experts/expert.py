"""One expert, a gate, and the mixture of experts by a gate."""

import torch
from torch import Tensor, nn

from motet.settings import ModelSettings


def expert(inputs: int, settings: ModelSettings) -> nn.Sequential:
    """Return a network from `inputs` numbers to a normalised vector."""
    size = settings.expert_dim
    return nn.Sequential(nn.Linear(inputs, size), nn.SiLU(), nn.Dropout(settings.dropout), nn.LayerNorm(size))


class Gate(nn.Module):
    """The weights of experts, which sum to one in each row."""

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, experts)

    def forward(self, x_NF: Tensor) -> Tensor:
        """Return [N, E]."""
        return self.linear(x_NF).softmax(-1)


def mix(gate_NE: Tensor, experts: list[Tensor]) -> Tensor:
    """Return the weighted sum [N, D] of experts' outputs [N, D] each."""
    return (gate_NE.unsqueeze(1) @ torch.stack(experts, 1)).squeeze(1)


def of_task(x: Tensor, task: int) -> Tensor:
    """Return a task's input [N, F] of [N, F] for all or [N, T, F]."""
    return x if x.dim() == 2 else x[:, task]
