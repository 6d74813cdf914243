"""The softmax of the retrieval loss over a sample of the catalogue.

The candidates are the targets of all workers and the same N uniform items on each, every item once. The logit of a
candidate is lowered by the log of the probability that it is among them (logQ correction, Bengio and Senecal 2008;
Yi et al., RecSys 2019), so that the popular are not punished for being drawn more. A candidate stands in the softmax
once however often it was drawn, so it is this probability that counts, not the expected number. A row's own target
is there with certainty and not by chance, so its logit stays as it is (Khrylchenko et al., RecSys 2025,
arXiv 2507.09331): the gradient is then (1 - p) (of the target - of the mean over the others), as of the full softmax.
Other events of the same window are no negatives: they are left out of the row's softmax.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Items [C] of a softmax in rising order, and what to take off each logit [C]."""

    items_C: Tensor
    correction_C: Tensor

    def columns(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return (column, whether it is there) of items, in their shape."""
        column = torch.searchsorted(self.items_C, items).clamp(max=len(self.items_C) - 1)
        return column, self.items_C[column] == items


def sampled_candidates(
    targets_N: Tensor, counts_I: Tensor, negatives: int, generator: torch.Generator | None = None
) -> Candidates:
    """Return targets and uniform negatives, each item once.

    Args:
        targets_N: the next items of all workers, N at least 1.
        counts_I: how often each item occurs in training.
        negatives: uniform draws, with replacement.
        generator: source of the draws, on the CPU; of one state on all workers.
    """
    items = len(counts_I)
    drawn = torch.randint(items, (negatives,), generator=generator).to(targets_N.device)
    items_C = torch.unique(torch.cat([targets_N, drawn]))
    share_C = (counts_I[items_C] / counts_I.sum().clamp(min=1)).clamp(max=1 - 1e-6)
    log_absent_C = len(targets_N) * (-share_C).log1p() + negatives * math.log1p(-min(1 / items, 1 - 1e-6))
    present_C = -log_absent_C.expm1()
    return Candidates(items_C, present_C.clamp(min=1e-9).log())


def corrected_logits(
    logits_NC: Tensor, chosen: Candidates, targets_N: Tensor, rows_N: Tensor, met_BM: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (logits [N, C], column of each target [N], candidates that do not count [N, C]).

    Args:
        logits_NC: of each row's user and the candidates.
        chosen: the candidates.
        targets_N: the next item of each row.
        rows_N: each row's window.
        met_BM: the items of each window, -1 for none.
    """
    target_N, _ = chosen.columns(targets_N)
    column_BM, there_BM = chosen.columns(met_BM)
    met_BC = torch.zeros(len(met_BM), len(chosen.items_C), dtype=torch.int8, device=logits_NC.device)
    met_BC.scatter_reduce_(1, column_BM, there_BM.to(torch.int8), "amax")
    own_NC = torch.zeros_like(logits_NC, dtype=torch.bool).scatter_(1, target_N.unsqueeze(1), True)
    logits_NC = torch.where(own_NC, logits_NC, logits_NC - chosen.correction_C)
    return logits_NC, target_N, met_BC[rows_N].bool() & ~own_NC
