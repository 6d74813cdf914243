"""Losses as (sum, count): what is unknown adds to neither, and the caller divides by the GLOBAL count.

kind         scores                 labels                      loss of one labelled row
binary       logits [N]             0, 1, NaN = unknown         cross-entropy
regression   standardised [N]       standardised, NaN unknown   squared error
retrieval    logits [N, C]          place of the next item      cross-entropy over the candidates
"""

import torch
from torch import Tensor
from torch.nn import functional


def binary_loss(logits_N: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of the labelled rows, and their number."""
    known_N = ~labels_N.isnan()
    each_N = functional.binary_cross_entropy_with_logits(logits_N, labels_N.nan_to_num(0.0), reduction="none")
    return (each_N * known_N).sum(), known_N.sum()


def regression_loss(values_N: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed squared error of the labelled rows, and their number."""
    known_N = ~labels_N.isnan()
    each_N = (values_N - labels_N.nan_to_num(0.0)) ** 2
    return (each_N * known_N).sum(), known_N.sum()


def retrieval_loss(logits_NC: Tensor, target_N: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy over candidates, and the number of rows.

    Args:
        logits_NC: one row per event; a candidate's column.
        target_N: column of the item that came next.
        smoothing: label smoothing.
    """
    total = functional.cross_entropy(logits_NC, target_N, reduction="sum", label_smoothing=smoothing)
    return total, torch.tensor(len(target_N), device=logits_NC.device)


TASK_LOSSES = {"binary": binary_loss, "regression": regression_loss}
