"""Gradient surgery: the tasks' gradients of what they share become one.

    pcgrad   of two that conflict, each loses its part along the other (Yu et al., NeurIPS 2020)
    cagrad   the update near the mean gradient that helps the worst-off task most (Liu et al., NeurIPS 2021)

Both need the T x T inner products of the gradients alone, and give one weight per task.
"""

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torchjd.aggregation import PCGradWeighting

CAGRAD_RADIUS = 0.4
"""How far, relative to its norm, the update may stand from the mean gradient; the paper's c."""


def pcgrad_weights(gramian_TT: Tensor, seed: int) -> Tensor:
    """Return the weight of each task's gradient, [T].

    Args:
        gramian_TT: inner products of the gradients, on the CPU.
        seed: of the order in which conflicts are looked at; the same on all workers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights_T: Tensor = PCGradWeighting()(gramian_TT)
    return weights_T


def cagrad_weights(gramian_TT: Tensor) -> Tensor:
    """Return the weight of each task's gradient, [T]; they sum to about T, as if the gradients were added.

    With g0 the mean, it minimises g_w . g0 + c |g0| |g_w| over mixtures w; the update is g0 + c |g0| / |g_w| g_w.

    Args:
        gramian_TT: inner products of the gradients, on the CPU.
    """
    tasks = len(gramian_TT)
    gramian = gramian_TT.double().numpy()
    scale = float(np.trace(gramian)) / tasks
    if scale <= 0:
        return torch.ones(tasks)
    gramian = gramian / scale
    even = np.full(tasks, 1 / tasks)
    radius = CAGRAD_RADIUS * float(np.sqrt(max(even @ gramian @ even, 0.0)))

    def objective(w: np.ndarray) -> float:
        return float(w @ gramian @ even + radius * np.sqrt(w @ gramian @ w + 1e-8))

    sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
    found = minimize(objective, even, bounds=[(0, 1)] * tasks, constraints=sums_to_one, method="SLSQP")
    length = float(np.sqrt(max(found.x @ gramian @ found.x, 0.0) + 1e-8))
    return torch.from_numpy(tasks * (even + radius / length * found.x)).to(gramian_TT.dtype)


def surgery_weights(kind: str, gramian_TT: Tensor, seed: int) -> Tensor:
    """Return the weight of each task's gradient by `model.balance`: pcgrad or cagrad."""
    return pcgrad_weights(gramian_TT, seed) if kind == "pcgrad" else cagrad_weights(gramian_TT)
