"""Gradients task by task, summed over all workers before anything is made of them.

They come from `torch.autograd.grad` on this worker's module, which fires no hook of DistributedDataParallel, so
nothing is reduced twice. Letters: T tasks, W numbers in the parameters that are looked at.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from motet.losses.surgery import surgery_weights
from motet.training.distributed import sum_over_workers


def task_gradients(losses_T: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the gradient of each task's loss over all workers, [T, W]; zero where it does not reach.

    Args:
        losses_T: this worker's share of the global losses; their graph is kept.
        parameters: what is looked at.
    """
    rows = []
    for loss in losses_T:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        rows.append(torch.cat([one.reshape(-1) for one in flat]))
    return sum_over_workers(torch.stack(rows))


def operate(kind: str, losses_T: Tensor, parameters: Sequence[nn.Parameter], seed: int) -> None:
    """Set the parameters' gradients by surgery on those that several tasks share; the rest is the sum over tasks.

    Args:
        kind: pcgrad or cagrad.
        losses_T: this worker's share of the global losses, weighted.
        parameters: all of the model's.
        seed: of the order of conflicts; the same on all workers.
    """
    gradients_TW = task_gradients(losses_T, parameters)
    sizes = [parameter.numel() for parameter in parameters]
    parts = gradients_TW.split(sizes, 1)
    reached = [(part != 0).any(1).sum() for part in parts]
    shared = [part for part, tasks in zip(parts, reached, strict=True) if tasks > 1]
    trunk_TW = torch.cat(shared, 1) if shared else gradients_TW[:, :0]
    there_T = trunk_TW.any(1).cpu()
    gramian_TT = (trunk_TW @ trunk_TW.T).cpu()[there_T][:, there_T]
    weights_T = torch.ones(len(losses_T))
    if there_T.sum() > 1:
        weights_T[there_T] = surgery_weights(kind, gramian_TT, seed)
    weights_T = weights_T.to(gradients_TW)
    for parameter, part_TW, tasks in zip(parameters, parts, reached, strict=True):
        found = weights_T @ part_TW if tasks > 1 else part_TW.sum(0)
        parameter.grad = found.view_as(parameter).clone()
