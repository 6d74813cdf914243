"""How the tasks' losses become one: weights from torchjd's scalarizers.

A scalarizer sees the GLOBAL loss of each task (all workers together); its gradient with respect to these gives
each task's weight, and every worker multiplies its own share by it. So one worker and many do the same.

    static        the recipe's weights
    uncertainty   learned log-variances (Kendall et al., CVPR 2018)
    dwa           dynamic weight averaging: slow tasks weigh more (Liu et al., CVPR 2019)
    famo          fast adaptive multitask optimisation (Liu et al., NeurIPS 2023); one more forward a step
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchjd.scalarization import DWA, FAMO, UW, Constant

from motet.task import Task


class Balancer:
    """Gives each task's weight at each step.

    Args:
        kind: static, uncertainty, dwa or famo.
        tasks: the recipe's tasks; their `weight` counts under static.
        learning_rate: of the log-variances (uncertainty).
    """

    def __init__(self, kind: str, tasks: Sequence[Task], learning_rate: float = 0.025) -> None:
        self.kind = kind
        made = {
            "static": lambda: Constant(torch.tensor([task.weight for task in tasks])),
            "uncertainty": lambda: UW(len(tasks)),
            "dwa": DWA,
            "famo": lambda: FAMO(len(tasks)),
        }
        self.scalarizer: Any = made[kind]()
        own = list(self.scalarizer.parameters()) if kind == "uncertainty" else []
        self.optimizer = torch.optim.Adam(own, lr=learning_rate) if own else None

    @property
    def needs_losses_after_step(self) -> bool:
        """Whether `after_step` wants the losses of the same batch after the model's update."""
        return self.kind == "famo"

    def weights(self, losses_T: Tensor) -> Tensor:
        """Return the weight of each task, [T], given the global losses, [T] on the CPU."""
        losses_T = losses_T.detach().float().clamp(min=1e-8).requires_grad_()
        combined = self.scalarizer(losses_T)
        if self.optimizer is not None:
            self.optimizer.zero_grad()
        combined.backward()
        if self.optimizer is not None:
            self.optimizer.step()
        assert losses_T.grad is not None
        return losses_T.grad

    def after_step(self, losses_T: Tensor) -> None:
        """Tell FAMO the losses after the update."""
        self.scalarizer.update(losses_T.detach().float().clamp(min=1e-8))

    def end_epoch(self) -> None:
        """Tell DWA that an epoch ended."""
        if self.kind == "dwa":
            self.scalarizer.step()

    def state(self) -> dict[str, list[float]]:
        """Return what is learned, for metrics and checkpoints."""
        if self.kind == "uncertainty":
            return {"log_variances": self.scalarizer.log_var.detach().tolist()}
        if self.kind == "famo":
            return {"logits": self.scalarizer._w.detach().tolist()}
        return {}

    def load(self, state: dict[str, list[float]]) -> None:
        """Restore what `state` gave."""
        with torch.no_grad():
            if "log_variances" in state:
                self.scalarizer.log_var.copy_(torch.tensor(state["log_variances"]))
            if "logits" in state:
                self.scalarizer._w.copy_(torch.tensor(state["logits"]))
