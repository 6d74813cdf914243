"""Differentially private steps of the user tower (DP-SGD, Abadi et al., CCS 2016), by Opacus.

The unit is a window: at most `model.history` events of one user with what comes next. The gradient of each window's own
loss is cut to the norm `clip`; to their sum comes normal noise, whose size Opacus's accountant finds for the epsilon
that the recipe asks for. The rest of the network, which knows items and not users, is trained as ever; so is what the
index stage counts (neighbours, popularity). So epsilon is of the user tower alone, and of one network: a refit is
another one. A user of w windows has w times the epsilon. Batches are drawn by shuffling, which the accountant takes for
draws of each window at random.

Letters: B windows of a batch, X numbers of a parameter.
"""

import math
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from motet.errors import TrainingError
from motet.train_settings import PrivateSettings


def _bag_gradients(layer: nn.EmbeddingBag, activations: list[Tensor], backprops: Tensor) -> dict[Tensor, Tensor]:
    """Return each row's gradient of a bag of means [B, rows, D]; Opacus's own wants offsets."""
    slots_BL = activations[0]
    padding = -1 if layer.padding_idx is None else layer.padding_idx
    counts_BL = torch.ne(slots_BL, padding).to(backprops.dtype)
    share_BL = counts_BL / counts_BL.sum(1, keepdim=True).clamp(min=1)
    found = backprops.new_zeros(len(slots_BL), *layer.weight.shape)
    found.scatter_add_(
        1, slots_BL.unsqueeze(2).expand(-1, -1, layer.weight.shape[1]), share_BL.unsqueeze(2) * backprops.unsqueeze(1)
    )
    return {layer.weight: found}


class PrivateSteps:
    """Makes the gradients of a step private.

    Args:
        tower: of users; its submodules are asked for gradients by window from now on.
        settings: the recipe's.
        batch_size: windows of a step.
        outputs: of a window, by which its losses are divided.
        steps_per_epoch: at least.
        epochs: at most.
    """

    def __init__(
        self,
        tower: nn.Module,
        settings: PrivateSettings,
        batch_size: int,
        outputs: int,
        steps_per_epoch: int,
        epochs: int,
    ) -> None:
        from opacus.accountants.utils import get_noise_multiplier
        from opacus.grad_sample import GradSampleModule, register_grad_sampler

        register_grad_sampler(nn.EmbeddingBag)(_bag_gradients)
        self._hooked: Any = GradSampleModule(tower, loss_reduction="sum", strict=False)
        self.parameters: list[Any] = list(tower.parameters())
        self.settings, self.batch_size, self.outputs = settings, batch_size, outputs
        self.steps_per_epoch = steps_per_epoch
        with _without("Optimal order is the"):
            self.noise = get_noise_multiplier(
                target_epsilon=settings.epsilon, target_delta=settings.delta, accountant="prv",
                sample_rate=min(1.0, 1 / steps_per_epoch), steps=steps_per_epoch * epochs,
            )  # fmt: skip
        self._chance = torch.Generator().manual_seed(secrets.randbits(63))  # whoever knew it could take the noise off
        self.windows = 0
        """Of the last whole epoch."""
        self._of_epoch, self._seen, self._steps = 0, 0, 0

    def step(self, total: Tensor, others: list[nn.Parameter], windows: int) -> None:
        """Set the gradients of a step: of the tower private ones, of all their mean over windows.

        Args:
            total: the sum of the losses of the windows.
            others: the network's parameters outside the tower.
            windows: of this batch.

        Raises:
            TrainingError: if a parameter of the tower was used where no gradient by window can be had.
        """
        with _without("Full backward hook is firing"):  # where the input of a layer is data, as it should be
            total.backward()
        own = [one for one in self.parameters if getattr(one, "grad_sample", None) is not None]
        if len(own) < sum(one.grad is not None for one in self.parameters):
            raise TrainingError("train.private: a part of the user tower has no gradient by window; leave private out")
        by_window = [_as_one(one.grad_sample) for one in own]
        norms_B = torch.stack([one.flatten(1).norm(dim=1) for one in by_window]).norm(dim=0)
        share_B = (self.settings.clip / norms_B.clamp(min=1e-12)).clamp(max=1.0)
        for one, gradients_BX in zip(own, by_window, strict=True):
            total_X = torch.einsum("b,b...->...", share_B, gradients_BX)
            drawn_X = torch.randn(total_X.shape, generator=self._chance).to(total_X)
            one.grad = (total_X + self.noise * self.settings.clip * drawn_X) / self.batch_size
            one.grad_sample = None
        for one in others:
            if one.grad is not None:
                one.grad /= self.batch_size
        self._seen, self._steps = self._seen + windows, self._steps + 1

    def end_epoch(self) -> None:
        """Know how many windows there are, and in how many steps they are taken.

        Raises:
            TrainingError: if in fewer than the noise was made for, which would tell more than was promised.
        """
        self.windows, self._of_epoch = self._seen, self._steps
        self._seen = self._steps = 0
        if self._of_epoch < self.steps_per_epoch:
            raise TrainingError(
                f"train.private: an epoch had {self._of_epoch} steps, the noise is made for {self.steps_per_epoch}; it "
                "would spend more than train.private.epsilon; run the stage again, or raise that"
            )

    def spent(self, steps: int) -> dict[str, float]:
        """Return what so many steps have cost."""
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = [(self.noise, 1 / max(1, self._of_epoch), steps)]
        with _without("Optimal order is the"):
            epsilon = float(accountant.get_epsilon(self.settings.delta)) if steps else 0.0
        if not math.isfinite(epsilon):
            epsilon = math.inf
        return {
            "epsilon": round(epsilon, 4), "delta": self.settings.delta, "noise": round(float(self.noise), 4),
            "clip": self.settings.clip, "windows": self.windows,
        }  # fmt: skip


@contextmanager
def _without(warning: str) -> Iterator[None]:
    """Run a block without a warning of Opacus or torch that is none here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", warning, UserWarning)
        yield


def _as_one(found: Tensor | list[Tensor]) -> Tensor:
    """Return gradients by window of a parameter that was used once or several times."""
    return sum(found[1:], found[0]) if isinstance(found, list) else found
