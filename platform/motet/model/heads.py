"""Heads: from a task's vector to its outputs; several outputs are cumulative logits with ordered thresholds."""

import torch
from torch import Tensor, nn


class OrderedHead(nn.Module):
    """One score and O thresholds that rise: output k is score - threshold k.

    The steps between thresholds are softplus of what is learned, so they stay ordered; they start at 1, around 0.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(inputs, 1, bias=False)
        self.first = nn.Parameter(torch.tensor(-(outputs - 1) / 2))
        self.steps = nn.Parameter(torch.full((outputs - 1,), 0.5413249))

    def thresholds(self) -> Tensor:
        """Return [O], rising."""
        return torch.cat([self.first[None], self.first + (nn.functional.softplus(self.steps) + 1e-3).cumsum(0)])

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return [N, O]."""
        return self.score(x_ND) - self.thresholds()


def build_head(inputs: int, outputs: int) -> nn.Module:
    """Return a linear head, or an ordered one for several outputs."""
    return nn.Linear(inputs, 1) if outputs == 1 else OrderedHead(inputs, outputs)
