"""Items that count as negative for a task whose log holds positives alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motet.task import Task
from motet.training.batches import Batch

_TRIES = 4


@dataclass(frozen=True)
class Negatives:
    """Pairs of a user's state and an item: window and output of the state, the item, the weight."""

    rows_N: Tensor
    outputs_N: Tensor
    items_N: Tensor
    weights_N: Tensor
    """Of the positive; 0 where no item outside of the window was found."""


def drawn_negatives(task: Task, batch: Batch, items: int, scored: Sequence[str]) -> Negatives | None:
    """Return `negatives` uniform items for each known positive of a task, or None if it wants none.

    Args:
        task: any task.
        batch: windows of training.
        items: size of the catalogue.
        scored: names of the scored tasks, in the order of the labels.
    """
    if not task.negatives:
        return None
    place = list(scored).index(task.name)
    rows_N, outputs_N = (batch.labels_BPT[:, :, place] == 1).nonzero(as_tuple=True)
    rows_N, outputs_N = rows_N.repeat_interleave(task.negatives), outputs_N.repeat_interleave(task.negatives)
    met_BM = torch.cat([torch.where(batch.valid_BS, batch.items_BS, -1), batch.targets_BP], 1)
    drawn_N = torch.randint(items, rows_N.shape, device=rows_N.device)
    met_N = (met_BM[rows_N] == drawn_N.unsqueeze(1)).any(1)
    for _ in range(_TRIES):
        again_N = torch.randint(items, rows_N.shape, device=rows_N.device)
        drawn_N = torch.where(met_N, again_N, drawn_N)
        met_N = (met_BM[rows_N] == drawn_N.unsqueeze(1)).any(1)
    weights_N = (~met_N).float()
    if batch.weights_BPT is not None:
        weights_N = weights_N * batch.weights_BPT[rows_N, outputs_N, place]
    return Negatives(rows_N, outputs_N, drawn_N, weights_N)
