"""Chains of binary tasks, such as view, click, buy: P(buy) = P(view) P(click | view) P(buy | click).

Entire-space multi-task modelling (ESMM, Ma et al., SIGIR 2018): a head says the probability among the events of the
task before it, the loss is over all events. All in logs: with p = P(before), s = sigmoid(z),
log P = log p + log s and log(1 - P) = log((1 - p) + p (1 - s)). Their difference is the logit of P, on which the
cross-entropy and the calibration of any binary task work.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from motet.task import Task


def chain_logits(logits: dict[str, Tensor], tasks: Sequence[Task]) -> dict[str, Tensor]:
    """Return the logit of each binary task over all events, [N] each.

    Args:
        logits: of the heads by task: among the events of `given`, for tasks that have one.
        tasks: the scored tasks.
    """
    given = {task.name: task.given for task in tasks if task.kind == "binary"}
    logs: dict[str, tuple[Tensor, Tensor]] = {}

    def both(name: str) -> tuple[Tensor, Tensor]:
        if name not in logs:
            before, yes_N, no_N = given[name], logsigmoid(logits[name]), logsigmoid(-logits[name])
            if before is not None:
                before_N, not_before_N = both(before)
                yes_N, no_N = before_N + yes_N, torch.logaddexp(not_before_N, before_N + no_N)
            logs[name] = yes_N, no_N
        return logs[name]

    found = {}
    for name, before in given.items():
        yes_N, no_N = both(name)
        found[name] = logits[name] if before is None else yes_N - no_N
    return found
