"""Which items the softmax of the retrieval loss runs over.

Without negatives in the recipe: the whole catalogue. With N: the targets of the batch and N uniform items, each
logit lowered by the log of the probability that the item is among the candidates (logQ correction, Bengio and
Senecal 2008; Yi et al., RecSys 2019), so that the popular are not punished for being drawn more. A candidate stands
in the softmax once however often it was drawn, so it is this probability that counts, not the expected number.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Items [C] of a softmax, what to take off each logit [C], and each target's column [N]."""

    items_C: Tensor
    correction_C: Tensor
    target_N: Tensor


def sampled_candidates(
    targets_N: Tensor, counts_I: Tensor, negatives: int, generator: torch.Generator | None = None
) -> Candidates:
    """Return the batch's targets and uniform negatives, each item once.

    Args:
        targets_N: the next items, N at least 1.
        counts_I: how often each item occurs in training.
        negatives: uniform draws, with replacement.
        generator: source of the draws, on the CPU.
    """
    items = len(counts_I)
    drawn = torch.randint(items, (negatives,), generator=generator).to(targets_N.device)
    items_C, place = torch.unique(torch.cat([targets_N, drawn]), return_inverse=True)
    share_C = (counts_I[items_C] / counts_I.sum().clamp(min=1)).clamp(max=1 - 1e-6)
    log_absent_C = len(targets_N) * (-share_C).log1p() + negatives * math.log1p(-min(1 / items, 1 - 1e-6))
    present_C = -log_absent_C.expm1()
    return Candidates(items_C, present_C.clamp(min=1e-9).log(), place[: len(targets_N)])
