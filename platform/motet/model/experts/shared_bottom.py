"""Shared bottom: one network for all tasks (Caruana 1997)."""

from torch import Tensor, nn

from motet.model.experts.expert import expert
from motet.settings import ModelSettings


class SharedBottom(nn.Module):
    """One network; tasks with one input get the same vector."""

    def __init__(self, inputs: int, tasks: int, settings: ModelSettings) -> None:
        super().__init__()
        self.tasks = tasks
        self.bottom = expert(inputs, settings)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, T, D]."""
        out = self.bottom(x)
        return out if out.dim() == 3 else out.unsqueeze(1).expand(-1, self.tasks, -1)
