"""GradNorm (Chen et al., ICML 2018): weights that give the tasks' gradients like norms at the last shared layer.

G_t = w_t |gradient of L_t|, r_t = (L_t / first L_t) / mean over tasks. The weights go down the gradient of
sum |G_t - mean(G) r_t^alpha|, the second term held fixed, and are then scaled to sum to the number of tasks.
"""

import torch
from torch import Tensor, nn

ALPHA = 1.5
"""Strength with which tasks that learn slowly are pulled up; the paper's for tasks of unlike kinds."""
_LEAST = 1e-3


class GradNorm(nn.Module):
    """The learned weights of T tasks, and each task's first loss."""

    first_T: Tensor

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.weights_T = nn.Parameter(torch.ones(tasks))
        self.register_buffer("first_T", torch.zeros(tasks))

    def learn(self, losses_T: Tensor, norms_T: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """Return this step's weights, and move them for the next; a task without rows stays out of it.

        Args:
            losses_T: global losses.
            norms_T: norms of the unweighted gradients.
            optimizer: of `weights_T`.
        """
        current_T = self.weights_T.detach().clone()
        there_T = norms_T > 0
        self.first_T = torch.where((self.first_T == 0) & there_T, losses_T.clamp(min=1e-8), self.first_T)
        if not there_T.any():
            return current_T
        pace_T = losses_T.clamp(min=1e-8) / self.first_T.clamp(min=1e-8)
        pace_T = pace_T / pace_T[there_T].mean()
        found_T = self.weights_T * norms_T
        target_T = found_T.detach()[there_T].mean() * pace_T**ALPHA
        optimizer.zero_grad()
        ((found_T - target_T).abs() * there_T).sum().backward()
        optimizer.step()
        with torch.no_grad():
            self.weights_T.clamp_(min=_LEAST)
            self.weights_T.mul_(len(self.weights_T) / self.weights_T.sum())
        return current_T
