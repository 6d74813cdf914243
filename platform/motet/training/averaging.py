"""A moving average of a network's weights over the steps of training (Polyak and Juditsky 1992).

    average = keep x average + (1 - keep) x weights      keep = min(train.average, (1 + step) / (10 + step))

The last steps of training jump around a minimum; their average lies nearer to it. The average is what is validated,
kept and released; training goes on from the weights themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The average of a network's parameters.

    Args:
        model: the network, whose parameters are read and, inside `applied`, replaced.
        keep: share of the average that a step keeps.
    """

    def __init__(self, model: nn.Module, keep: float) -> None:
        self.keep = keep
        self.replaced: dict[str, Tensor] = {}
        self.parameters = [one.detach() for one in model.parameters()]
        self.names = [name for name, _ in model.named_parameters()]
        self.averages = [one.clone() for one in self.parameters]

    def update(self, step: int) -> None:
        """Move the average towards the weights, after the step of this number from 0."""
        keep = min(self.keep, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - keep)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network; `replaced` holds the weights that it stands in for, by name."""
        weights = [one.clone() for one in self.parameters]
        torch._foreach_copy_(self.parameters, self.averages)
        self.replaced = dict(zip(self.names, weights, strict=True))
        try:
            yield
        finally:
            torch._foreach_copy_(self.parameters, weights)
            self.replaced = {}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Put weights that were `replaced` into the network; what is in it is the average."""
        for name, one in zip(self.names, self.parameters, strict=True):
            one.copy_(weights[name])
