"""The training loop: plain torch, one process or many.

    for each epoch: steps (loss -> weights -> backward -> clip -> AdamW) -> validate -> report -> stop early?

All workers take the same number of steps: one that has run out of rows goes on with weight zero until all have.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from motet.devices import ON_CPU, Place, ahead
from motet.errors import DivergedError, TrainingError
from motet.losses.balance import Balancer
from motet.recipe import Recipe
from motet.training.averaging import Average
from motet.training.batches import Batch
from motet.training.distributed import sum_over_workers, world
from motet.training.gradients import operate, task_gradients
from motet.training.private import PrivateSteps
from motet.training.step import TrainStep
from motet.training.validation import validate


def divisors(counts_T: Tensor) -> Tensor:
    """Return the global counts by which sums are divided: 1 where there is nothing."""
    return torch.where(counts_T > 0, counts_T, 1.0)


@dataclass
class Epoch:
    """What one epoch did; `metrics()` is what is reported."""

    number: int
    seconds: float
    losses: dict[str, float]
    weights: dict[str, float]
    validation: dict[str, float]
    rows: int
    waited: float = 0.0
    """Seconds that this worker waited for its batches."""
    best: bool = False
    privacy: dict[str, float] | None = None
    """What the user tower has cost by now; None if it is not trained privately."""

    def metrics(self) -> dict[str, Any]:
        """Return the epoch as one flat row of JSON types."""
        return {
            "epoch": self.number,
            "seconds": round(self.seconds, 3),
            "waited": round(self.waited, 3),
            "rows": self.rows,
            "loss": sum(self.losses.values()),
            "losses": self.losses,
            "weights": self.weights,
            "validation": self.validation,
            "best": self.best,
            **({} if self.privacy is None else {"privacy": self.privacy}),
        }


@dataclass
class Progress:
    """Where a run stands; kept in checkpoints."""

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    since_best: int = 0
    balance: dict[str, list[float]] = field(default_factory=dict)


class Trainer:
    """Trains one model.

    Args:
        step: model and catalogue on `device`.
        recipe: the recipe.
        device: CPU or GPU.
        steps_per_epoch: expected steps, for the schedule of the learning rate.
        place: how it computes there.
    """

    def __init__(
        self, step: TrainStep, recipe: Recipe, device: torch.device, steps_per_epoch: int, place: Place = ON_CPU
    ) -> None:
        self.step_module, self.recipe, self.device, self.place = step, recipe, device, place
        self.settings = recipe.train
        self.module: nn.Module = step
        if world()[1] > 1:
            devices = [device] if device.type == "cuda" else None
            self.module = nn.parallel.DistributedDataParallel(
                step, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        self.optimizer = torch.optim.AdamW(
            step.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )  # fmt: skip
        self.balancer = Balancer(recipe.model.balance, step.tasks)
        self._parameters = list(step.parameters())
        self._retrieval = [task.scored for task in step.tasks].index(False)
        self.average: Average | None = None
        self.progress = Progress()
        self.steps_per_epoch, self.epochs = steps_per_epoch, self.settings.epochs
        self.private: PrivateSteps | None = None
        if self.settings.private is not None:
            outputs = recipe.model.history + 1
            self.private = PrivateSteps(
                step.model.users, self.settings.private, self.settings.batch_size, outputs, steps_per_epoch, self.epochs
            )
            inside = {id(one) for one in self.private.parameters}
            self._others = [one for one in self._parameters if id(one) not in inside]

    def restore(self, progress: Progress, stepped: dict[str, Tensor] | None = None) -> None:
        """Go on from a checkpoint's progress (model and optimiser are loaded already).

        Args:
            progress: where the run stood.
            stepped: the weights to go on from, if an average of them was loaded.
        """
        self.progress = progress
        self._begin_average()
        if self.average is not None and stepped:
            self.average.restore(stepped)
        self.balancer.load(progress.balance)

    @property
    def stepped(self) -> dict[str, Tensor]:
        """The weights that training goes on from, by name, while an average of them stands in the network."""
        return {} if self.average is None else self.average.replaced

    def _begin_average(self) -> None:
        """Let the average begin with what is in the network."""
        if self.settings.average and self.average is None:
            self.average = Average(self.step_module.model, self.settings.average)

    def run(
        self,
        train: Callable[[int], Iterable[Batch]],
        validation: Callable[[], Iterable[Batch]] | None,
        report: Callable[[Epoch], None],
        last: int | None = None,
    ) -> None:
        """Train until the epochs are over or the validation metric has not improved for `patience` epochs.

        Args:
            train: gives an epoch's batches of this worker.
            validation: gives the validation batches of this worker; without it the latest epoch is the best.
            report: is called on every worker after each epoch; an average of the weights stands in the network then,
                and `stepped` are those that training goes on from.
            last: how many epochs there are instead of `train.epochs`.
        """
        self.epochs = self.settings.epochs if last is None else last
        self._begin_average()
        while self.progress.epoch < self.epochs and self.progress.since_best < self.settings.patience:
            start = time.monotonic()
            losses, weights, rows, waited = self._epoch(train(self.progress.epoch))
            with self.average.applied() if self.average is not None else nullcontext():
                metrics = self._validate(validation)
                self.progress.epoch += 1
                self.progress.balance = self.balancer.state()
                epoch = Epoch(self.progress.epoch, time.monotonic() - start, losses, weights, metrics, rows, waited)
                epoch.privacy = None if self.private is None else self.private.spent(self.progress.step)
                epoch.best = self._note_best(metrics) if validation is not None else self._note_latest()
                report(epoch)

    def _validate(self, validation: Callable[[], Iterable[Batch]] | None) -> dict[str, float]:
        if validation is None:
            return {}
        return validate(self.step_module, validation(), self.device, self.recipe.excludes_seen)

    def _note_latest(self) -> bool:
        self.progress.best_epoch = self.progress.epoch
        return True

    def _note_best(self, metrics: dict[str, float]) -> bool:
        name = self.recipe.selection
        if name not in metrics:
            raise TrainingError(
                f"train.select_by = {name!r} has no value: validation gave {sorted(metrics)}; "
                "choose one of these, or enlarge data.split.validation"
            )
        value, best = metrics[name], self.progress.best
        better = best is None or (value > best if self.recipe.selection_larger_is_better else value < best)
        if better:
            self.progress.best, self.progress.best_epoch = value, self.progress.epoch
        self.progress.since_best = 0 if better else self.progress.since_best + 1
        return better

    def _epoch(self, batches: Iterable[Batch]) -> tuple[dict[str, float], dict[str, float], int, float]:
        self.module.train()
        names = [task.name for task in self.step_module.tasks]
        sums_T, counts_T, weights_T = (
            torch.zeros(len(names)),
            torch.zeros(len(names)),
            torch.zeros(len(names)),
        )
        steps, last, waited = 0, None, 0.0
        moved = (batch.to(self.device, self.place.pinned) for batch in batches)
        iterator = ahead(moved, self.place.ahead)
        while True:
            start = time.monotonic()
            batch = next(iterator, None)
            waited += time.monotonic() - start
            busy = sum_over_workers(torch.tensor([float(batch is not None)], device=self.device))
            if busy.item() == 0:
                break
            last = batch if batch is not None else last
            if last is None:
                raise TrainingError("a worker has no training row at all; lower train.workers or add data")
            sums, counts, weights = self._step(last, idle=batch is None)
            sums_T, counts_T, weights_T = sums_T + sums, counts_T + counts, weights_T + weights
            steps += 1
        if steps == 0:
            raise TrainingError("there is no training row; check data.split and the event log")
        self.balancer.end_epoch()
        if self.private is not None:
            self.private.end_epoch()
        mean_T = sums_T / divisors(counts_T)
        losses = dict(zip(names, mean_T.tolist(), strict=True))
        return (
            losses,
            dict(zip(names, (weights_T / steps).tolist(), strict=True)),
            round(float(counts_T[self._retrieval])),
            waited,
        )

    def _losses(self, batch: Batch, idle: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return local sums (with gradient), global sums and global counts, [T] each."""
        with self._precision():
            module = self.step_module if self.balancer.operates else self.module
            sums_T, counts_T = module(batch, idle)
        share = 0.0 if idle else 1.0
        both = sum_over_workers(torch.stack([sums_T.detach(), counts_T.to(sums_T.dtype)]) * share)
        return sums_T * share, both[0], both[1]

    def _step(self, batch: Batch, idle: bool) -> tuple[Tensor, Tensor, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.progress.step)
        local_T, sums_T, counts_T = self._losses(batch, idle)
        global_T = sums_T / divisors(counts_T)
        if not torch.isfinite(global_T).all():
            bad = [t.name for t, x in zip(self.step_module.tasks, global_T, strict=True) if not math.isfinite(x)]
            raise DivergedError(
                f"the loss of task {bad[0]!r} is not finite at step {self.progress.step}; "
                "lower train.learning_rate or clip its label by data.clean.outliers"
            )
        share_T = local_T / divisors(counts_T)
        norms_T = self._norms(share_T).cpu() if self.balancer.needs_norms else None
        weights_T = self.balancer.weights(global_T.cpu(), norms_T).to(self.device) * (counts_T > 0)
        self.optimizer.zero_grad(set_to_none=True)
        if self.private is not None:
            total = (local_T * weights_T / self.private.outputs).sum()
            self.private.step(total, self._others, len(batch.items_BS))
        elif self.balancer.operates:
            operate(self.balancer.kind, share_T * weights_T, self._parameters, self.progress.step)
        else:
            ((share_T * weights_T).sum() * world()[1]).backward()
        nn.utils.clip_grad_norm_(self.step_module.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.progress.step)
        if self.balancer.needs_losses_after_step:
            with torch.no_grad():
                _, after_T, _ = self._losses(batch, idle)
            self.balancer.after_step((after_T / divisors(counts_T)).cpu())
        self.progress.step += 1
        return sums_T.cpu(), counts_T.cpu(), weights_T.cpu()

    def _norms(self, share_T: Tensor) -> Tensor:
        """Return the norm of each task's gradient at the last layer that all tasks share, [T]."""
        return task_gradients(share_T, list(self.step_module.model.users.norm.parameters())).norm(dim=1)

    def learning_rate(self, step: int) -> float:
        """Return the rate at a step: linear warm-up, then a cosine down to a tenth."""
        warmup = self.settings.warmup_steps
        if step < warmup:
            return self.settings.learning_rate * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.steps_per_epoch * self.epochs - warmup))
        return self.settings.learning_rate * (0.55 + 0.45 * math.cos(math.pi * done))

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.place.precision == "bfloat16")
