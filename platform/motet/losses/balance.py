"""How the tasks' losses become one: weights from torchjd's scalarizers.

A scalarizer sees the GLOBAL loss of each task (all workers together); its gradient with respect to these gives
each task's weight, and every worker multiplies its own share by it. So one worker and many do the same.

    static        the recipe's weights
    uncertainty   learned log-variances (Kendall et al., CVPR 2018)
    dwa           dynamic weight averaging: slow tasks weigh more (Liu et al., CVPR 2019)
    famo          fast adaptive multitask optimisation (Liu et al., NeurIPS 2023); one more forward a step
    gradnorm      gradients of like norm at the last shared layer, larger for slow tasks (Chen et al., ICML 2018)

pcgrad and cagrad leave the losses with the recipe's weights and combine gradients: see `motet.losses.surgery`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchjd.scalarization import DWA, FAMO, UW, Constant

from motet.losses.gradnorm import GradNorm
from motet.task import Task


class Balancer:
    """Gives each task's weight at each step.

    Args:
        kind: `model.balance` of the recipe.
        tasks: the recipe's tasks; their `weight` counts under static.
        learning_rate: of the log-variances (uncertainty) or the weights (gradnorm).
    """

    def __init__(self, kind: str, tasks: Sequence[Task], learning_rate: float = 0.025) -> None:
        self.kind = kind
        fixed = partial(Constant, torch.tensor([task.weight for task in tasks]))
        made = {
            "static": fixed,
            "pcgrad": fixed,
            "cagrad": fixed,
            "gradnorm": lambda: GradNorm(len(tasks)),
            "uncertainty": lambda: UW(len(tasks)),
            "dwa": DWA,
            "famo": lambda: FAMO(len(tasks)),
        }
        self.scalarizer: Any = made[kind]()
        own = list(self.scalarizer.parameters()) if kind in ("uncertainty", "gradnorm") else []
        self.optimizer = torch.optim.Adam(own, lr=learning_rate) if own else None

    @property
    def needs_losses_after_step(self) -> bool:
        """Whether `after_step` wants the losses of the same batch after the model's update."""
        return self.kind == "famo"

    @property
    def needs_norms(self) -> bool:
        """Whether `weights` wants the norm of each task's gradient at the last shared layer."""
        return self.kind == "gradnorm"

    @property
    def operates(self) -> bool:
        """Whether the tasks' gradients of what they share are combined, rather than their losses added."""
        return self.kind in ("pcgrad", "cagrad")

    def weights(self, losses_T: Tensor, norms_T: Tensor | None = None) -> Tensor:
        """Return the weight of each task, [T].

        Args:
            losses_T: global losses, on the CPU.
            norms_T: norms of the tasks' unweighted gradients at the last shared layer, if `needs_norms`.
        """
        if self.needs_norms:
            assert norms_T is not None
            assert self.optimizer is not None
            return self.scalarizer.learn(losses_T.detach().float(), norms_T.detach().float(), self.optimizer)
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
        first = {"first": self.scalarizer.first_T.tolist()} if self.kind == "gradnorm" else {}
        moved = {key: value.reshape(-1).tolist() for key, value in moments.items()}
        return {name: values.detach().tolist()} | first | moved

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
            if "first" in state:
                self.scalarizer.first_T.copy_(torch.tensor(state["first"]))
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
        if self.kind == "gradnorm":
            return "task_weights", self.scalarizer.weights_T, self.optimizer
        return None
