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
        """Return what is learned and how, for checkpoints."""
        if self.kind == "dwa":
            averages = self.scalarizer._previous_averages
            return {f"averages.{place}": average.tolist() for place, average in enumerate(averages)}
        learned = self._learned()
        if learned is None:
            return {}
        name, values, optimizer = learned
        moments = optimizer.state_dict()["state"].get(0, {}) if optimizer is not None else {}
        return {name: values.detach().tolist()} | {key: value.reshape(-1).tolist() for key, value in moments.items()}

    def load(self, state: dict[str, list[float]]) -> None:
        """Restore what `state` gave."""
        if self.kind == "dwa":
            averages = [torch.tensor(state[name]) for name in sorted(state)]
            self.scalarizer._previous_averages = averages
            return
        learned = self._learned()
        if learned is None or learned[0] not in state:
            return
        name, values, optimizer = learned
        with torch.no_grad():
            values.copy_(torch.tensor(state[name]))
        if "step" not in state:
            return
        if optimizer is None:
            optimizer = self.scalarizer._optimizer = torch.optim.Adam(
                [values], lr=self.scalarizer.lr, weight_decay=self.scalarizer.weight_decay
            )
        moments = {key: torch.tensor(state[key]) for key in ("exp_avg", "exp_avg_sq")}
        moments["step"] = torch.tensor(state["step"][0])
        optimizer.load_state_dict({"state": {0: moments}, "param_groups": optimizer.state_dict()["param_groups"]})

    def _learned(self) -> tuple[str, Tensor, torch.optim.Optimizer | None] | None:
        """Return name and values of what is learned, and its optimiser, once there is one."""
        if self.kind == "uncertainty":
            return "log_variances", self.scalarizer.log_var, self.optimizer
        if self.kind == "famo":
            return "logits", self.scalarizer._w, self.scalarizer._optimizer
        return None
