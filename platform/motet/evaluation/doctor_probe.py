"""What goes on inside a network that several tasks share: where their gradients point, which experts their gates use.

Both look at the same training batches, without drop-out. Shared is a parameter that the losses of two tasks reach.

Letters: T tasks, W numbers in a parameter, N rows, E experts that a gate mixes, J batches.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from motet.model.gates import Gated, gates_of, heard
from motet.training.batches import Batch
from motet.training.gradients import task_gradients
from motet.training.loop import divisors
from motet.training.step import TrainStep

DEAD_SHARE = 0.1
"""An expert is dead if no gate gives it a tenth of an even share."""
UNIFORM_ENTROPY = 0.98
ONE_HOT_ENTROPY = 0.1
_TOWERS = {"items": "item tower", "users": "user tower", "experts": "experts"}


def gradients(step: TrainStep, batches: Sequence[Batch], weights: dict[str, float], seed: int) -> dict[str, Any]:
    """Return how the tasks' gradients stand to each other.

    Args:
        step: the network, trained.
        batches: of training windows.
        weights: of the tasks' losses, for `pulls`.
        seed: of drawn negatives.

    Returns:
        `batches`, their number; `pairs`, for each pair of tasks `tasks`, the mean `cosine` over what both reach, the
        share of batches where it is `negative` and the `lowest` part of the network (None: they share nothing);
        `pulls`, the mean norm of each task's weighted gradient over what several tasks reach.
    """
    step.eval()
    torch.manual_seed(seed)
    names = [task.name for task in step.tasks]
    weights_T = torch.tensor([weights.get(name, 1.0) for name in names])
    products = [_products(step, batch, weights_T) for batch in batches]
    pairs = [
        {"tasks": [names[a], names[b]], **_pair([_cosines(one, a, b) for one in products])}
        for a, b in combinations(range(len(names)), 2)
    ]
    norms_JT = torch.stack([_norms(one) for one in products])
    return {"batches": len(batches), "pairs": pairs, "pulls": dict(zip(names, norms_JT.mean(0).tolist(), strict=True))}


Products = list[tuple[str, Tensor]]
"""Of each shared parameter the part of the network that it is in, and the inner products of the gradients, [T, T]."""


def _products(step: TrainStep, batch: Batch, weights_T: Tensor) -> Products:
    named = [(name, one) for name, one in step.model.named_parameters() if one.requires_grad]
    sums_T, counts_T = step(batch)
    losses_T = sums_T / divisors(counts_T) * weights_T
    gradients_TW = task_gradients(losses_T, [one for _, one in named])
    parts = gradients_TW.split([one.numel() for _, one in named], 1)
    found = []
    for (name, _), part_TW in zip(named, parts, strict=True):
        if int((part_TW != 0).any(1).sum()) > 1:
            found.append((name.partition(".")[0], (part_TW @ part_TW.T).double()))
    return found


def _norms(products: Products) -> Tensor:
    total_TT = sum((one.diagonal() for _, one in products), torch.zeros(1, dtype=torch.float64))
    return total_TT.sqrt()


def _cosines(products: Products, a: int, b: int) -> dict[str, float]:
    """Return the cosine over all that two tasks reach, under "", and over each part of the network."""
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for part, product_TT in products:
        three = np.array([product_TT[a, b], product_TT[a, a], product_TT[b, b]])
        if three[1] > 0 and three[2] > 0:
            sums[""] += three
            sums[part] += three
    return {part: float(dot / np.sqrt(one * other)) for part, (dot, one, other) in sums.items()}


def _pair(cosines: list[dict[str, float]]) -> dict[str, Any]:
    whole = [one[""] for one in cosines if "" in one]
    if not whole:
        return {"cosine": None, "negative": None, "lowest": None}
    parts = {name for one in cosines for name in one} & set(_TOWERS)
    means = {part: float(np.mean([one[part] for one in cosines if part in one])) for part in parts}
    lowest = _TOWERS[min(sorted(means), key=lambda part: means[part])] if means else None
    return {"cosine": float(np.mean(whole)), "negative": float(np.mean(np.array(whole) < 0)), "lowest": lowest}


@torch.no_grad()
def expert_use(step: TrainStep, batches: Iterable[Batch], kind: str) -> dict[str, Any]:
    """Return what the gates do over the pairs that training scores.

    Args:
        step: the network, trained.
        batches: of training windows.
        kind: `model.experts` of the recipe.

    Returns:
        `kind`; `gates`, for each its `layer`, `task`, the mean weight of each of the `experts`, the mean `entropy` of a
        row's weights (0 one expert, 1 all alike) and its `state`; `dead`, the experts that no gate uses.
    """
    step.eval()
    gates = list(gates_of(step.model.experts, step.model.scored))
    with heard(gates, _summed) as seen:
        for batch in batches:
            step(batch)
    found = [_gate(one, torch.stack(kept).sum(0)) for one, kept in zip(gates, seen, strict=True)]
    return {"kind": kind, "gates": found, "dead": dead_experts(found)}


def _summed(weights_NE: Tensor) -> Tensor:
    """Return the sums of the weights, of the rows' entropies, and the number of rows, [E + 2]."""
    weights_NE = weights_NE.double()
    entropy_N = -(weights_NE * weights_NE.clamp(min=1e-30).log()).sum(1)
    return torch.cat([weights_NE.sum(0), entropy_N.sum()[None], torch.tensor([len(weights_NE)]).double()])


def _gate(one: Gated, sums: Tensor) -> dict[str, Any]:
    *weights, entropy = (sums[:-1] / sums[-1].clamp(min=1)).tolist()
    share = entropy / np.log(len(weights)) if len(weights) > 1 else None
    experts = dict(zip(one.experts, weights, strict=True))
    return {"layer": one.layer, "task": one.task, "experts": experts, "entropy": share, "state": gate_state(share)}


def gate_state(entropy: float | None) -> str:
    """Return what a gate does, from the mean entropy of its rows, 0 to 1; None if it has no choice."""
    if entropy is None:
        return "one expert"
    return "uniform" if entropy > UNIFORM_ENTROPY else "one-hot" if entropy < ONE_HOT_ENTROPY else "mixes"


def dead_experts(gates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `layer` and `expert` of those to which no gate of the layer gives a tenth of an even share."""
    most: dict[tuple[int, str], float] = defaultdict(float)
    for gate in gates:
        for name, weight in gate["experts"].items():
            key = gate["layer"], name
            most[key] = max(most[key], weight * len(gate["experts"]))
    return [{"layer": layer, "expert": name} for (layer, name), share in most.items() if share < DEAD_SHARE]
