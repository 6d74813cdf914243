"""retrieval: which item comes next; it trains the vectors that are searched.

Its loss is a softmax over items, its metrics are those of a list of K, and its calibrator is a factor: times the
fused scores of a list's candidates it gives the logits of a softmax, which is served as the probability of being next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from motet.kinds.statistics import Statistic

K = 10
"""Length of the lists that its metrics are of."""


@dataclass(frozen=True)
class Retrieval:
    """The next item, by a softmax over items; it has no label and no head of its own."""

    name: str = "retrieval"
    labels: tuple[str, ...] = ()
    selection: dict[str, bool] = field(default_factory=lambda: {"ndcg": True, "recall": True, "loss": False})
    options: frozenset[str] = frozenset()

    def statistic(
        self, predictions_N: np.ndarray, labels_N: np.ndarray, users_N: np.ndarray, slates_N: np.ndarray
    ) -> Statistic:
        """Return the mean NDCG of users, from the place of each target in its user's list."""
        import numpy as np

        from motet.kinds.statistics import Mean

        hit_N = predictions_N > 0
        gains_N = np.where(hit_N, 1 / np.log2(np.where(hit_N, predictions_N, 1.0) + 1), 0.0)
        found = Mean.of_rows(gains_N, users_N)
        best_K = np.cumsum(1 / np.log2(np.arange(2, K + 2)))
        ideal_U = best_K[np.clip(found.counts_U.astype(np.int64), 1, K) - 1]
        return Mean(found.sums_U / ideal_U, np.ones(len(ideal_U)))


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


def list_metrics(logits_BI: Tensor, targets_BN: Tensor, seen_BI: Tensor) -> Tensor:
    """Return NDCG and recall at K and the loss of the first target, of each user with a target to find, [U, 3].

    Args:
        logits_BI: of every item.
        targets_BN: places of what came, padded with -1.
        seen_BI: what is left out of lists and targets.
    """
    import torch

    loss_B = -logits_BI.log_softmax(-1).gather(1, targets_BN[:, :1].clamp(min=0)).squeeze(1)
    top_BK = logits_BI.masked_fill(seen_BI, -torch.inf).topk(min(K, logits_BI.shape[1])).indices
    wanted_BI = placed(targets_BN, logits_BI.shape[1]) & ~seen_BI
    hits_BK = wanted_BI.gather(1, top_BK).float()
    discount_K = 1 / torch.log2(torch.arange(2, hits_BK.shape[1] + 2, device=hits_BK.device).float())
    count_B = wanted_BI.sum(1)
    ideal_B = discount_K.cumsum(0)[count_B.clamp(1, len(discount_K)) - 1]
    ndcg_B = (hits_BK * discount_K).sum(1) / ideal_B
    recall_B = hits_BK.sum(1) / count_B.clamp(min=1)
    return torch.stack([ndcg_B, recall_B, loss_B], 1)[count_B > 0]


def placed(places_BN: Tensor, items: int) -> Tensor:
    """Return where lists of places, padded with -1, are, bool [B, I]."""
    import torch

    found_BI = torch.zeros(len(places_BN), items + 1, dtype=torch.bool, device=places_BN.device)
    return found_BI.scatter_(1, torch.where(places_BN >= 0, places_BN, items), True)[:, :items]


def fit_sharpness(raws: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> float:
    """Return what to multiply fused scores by so that their softmax has the least cross-entropy; 1 without rows.

    Args:
        raws: scores of the candidates of each list.
        rows: those that the user took.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    used = [(raw, taken) for raw, taken in zip(raws, rows, strict=True) if len(taken)]
    if not used:
        return 1.0

    def loss(log_factor: float) -> float:
        factor = float(np.exp(log_factor))
        return float(np.mean([-log_softmax(factor * raw)[taken].mean() for raw, taken in used]))

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 3.0), method="bounded").x))
