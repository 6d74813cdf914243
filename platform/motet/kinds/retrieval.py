"""retrieval: which item comes next; it trains the vectors that are searched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Retrieval:
    """The next item, by a softmax over items; it has no label and no head of its own."""

    name: str = "retrieval"
    labels: tuple[str, ...] = ()
    selection: dict[str, bool] = field(default_factory=lambda: {"ndcg": True, "recall": True, "loss": False})


def retrieval_loss(
    logits_NC: Tensor, target_N: Tensor, smoothing: float = 0.0, masked_NC: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy over candidates, and the number of rows.

    Args:
        logits_NC: one row per event; a candidate's column.
        target_N: column of the item that came next.
        smoothing: label smoothing.
        masked_NC: candidates that do not count for a row; never its target.
    """
    import torch
    from torch.nn import functional

    count = torch.tensor(float(len(target_N)), device=logits_NC.device)
    if masked_NC is None:
        total = functional.cross_entropy(logits_NC, target_N, reduction="sum", label_smoothing=smoothing)
        return total, count
    logits_NC = logits_NC.masked_fill(masked_NC, -torch.inf)
    total = functional.cross_entropy(logits_NC, target_N, reduction="sum")
    if smoothing:
        even_NC = -logits_NC.log_softmax(-1).masked_fill(masked_NC, 0.0)
        even = (even_NC.sum(-1) / (~masked_NC).sum(-1)).sum()
        total = (1 - smoothing) * total + smoothing * even
    return total, count
