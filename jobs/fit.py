"""One network to train: what labels say before it, what its workers are given, Ray Train fed by Ray Data.

For the train stage and for the trials of a search.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from jobs.estimates import Folds, Wanted, write_estimates
from jobs.histories import Statistics, UserTexts, item_inputs, shapes, shards_of, train_statistics
from jobs.stages import Result, Run, say
from jobs.train_worker import train_worker
from jobs.warm import WarmStart
from jobs.windows import TrainWindows, ValidationWindows, count_windows
from motet.data.moments import AsOf
from motet.devices import TrainDevices, choose
from motet.errors import DataError
from motet.estimates import NAMES
from motet.kinds import LabelScale
from motet.mirror import names_in, storage_of
from motet.model.io import ModelCard, load_model
from motet.recipe import Recipe
from motet.storage import read_json


@dataclass(frozen=True)
class Fit:
    """One network to train.

    Attributes:
        as_of: the events that it is trained on.
        checkpoints: where its epochs are kept until it is done.
        last: the epoch after which it is done, without validation; by validation if None.
        warm: where it goes on from; fresh weights and all windows if None.
        tell: is given the row of each epoch, in the worker, instead of Ray Train.
    """

    as_of: AsOf
    checkpoints: Path
    last: int | None = None
    warm: WarmStart | None = None
    tell: Callable[[dict[str, Any]], None] | None = None

    @property
    def validates(self) -> bool:
        """Whether validation chooses the epoch."""
        return self.last is None

    @property
    def epochs(self) -> int | None:
        """How many epochs there are; the recipe's if None."""
        return self.last if self.last is not None or self.warm is None else self.warm.epochs


@dataclass(frozen=True)
class Labels:
    """What the labels of the training events say before any network.

    Attributes:
        counts_I: events per item.
        scales: of each scored task.
        signals: of each signal.
        folds: the estimates that the heads read, if they do.
    """

    counts_I: np.ndarray
    scales: dict[str, LabelScale]
    signals: dict[str, LabelScale]
    folds: Folds | None


def read_labels(folder: Path, fit: Fit, recipe: Recipe, prepared: Result) -> Labels:
    """Gather counts, scales and estimates; the estimates stand in `folder` afterwards.

    Raises:
        DataError: if the training labels don't fit a task's kind.
    """
    statistics = train_statistics(prepared.folder, prepared.summary["items"], fit.as_of)
    scales = checked_scales(recipe, statistics)
    unknown = LabelScale(0.0, 1.0, 0.0, 0.0)
    signals = {name: statistics.signals.get(name, unknown) for name in recipe.data.interactions.signals}
    if fit.warm is not None:
        card = load_model(fit.warm.network)[1]
        scales, signals = card.scales, card.signals  # the network speaks in these
    return Labels(statistics.counts_I, scales, signals, _estimates(folder, fit, recipe, prepared, scales))


def network_trainer(run: Run, prepared: Result, embedded: Result, labels: Labels, fit: Fit) -> TorchTrainer:
    """Return what trains the network; it leaves its epochs in `fit.checkpoints`."""
    recipe, settings, folds = run.recipe, run.recipe.train, labels.folds
    devices = choose(recipe, ray.cluster_resources()).train
    config = worker_config(run, prepared, embedded, labels, fit, devices)
    shards = shards_of(prepared.folder)
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    read = {"history": recipe.model.history, "text": config["texts"]}
    workers, fresh = max(1, devices.workers), fit.warm.fresh if fit.warm is not None else None
    around = recipe.evaluate.history == "around"
    windows = TrainWindows(as_of=fit.as_of, multiple_of=workers, folds=folds, fresh=fresh, around=around, **read)
    datasets = {"train": rows.map_batches(windows, batch_size=1, batch_format="pyarrow")}
    if fit.validates:
        held = ValidationWindows(known=recipe.evaluate.history, folds=folds, **read)
        datasets["validation"] = rows.map_batches(held, batch_size=1, batch_format="pyarrow")
    resources = None if devices.workers == 0 else {"CPU": devices.cpus}
    return TorchTrainer(
        train_worker,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=devices.workers if devices.least == devices.workers else (devices.least, devices.workers),
            use_gpu=devices.place.gpu,
            resources_per_worker=resources,
        ),
        torch_config=TorchConfig(backend=devices.backend),
        run_config=ray.train.RunConfig(
            name=fit.checkpoints.name,
            **storage_of(fit.checkpoints.parent),
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
        ),
        datasets=datasets,
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
    )


def _estimates(folder: Path, fit: Fit, recipe: Recipe, prepared: Result, scales: dict[str, LabelScale]) -> Folds | None:
    """Write the estimates that the heads read, if they do."""
    if not recipe.reads_estimates:
        return None
    items = prepared.summary["items"]
    near, factors = recipe.estimates_near(items), recipe.model.estimates == "factors"
    and_near, and_factors = ", which items are near" if near else "", ", factors of items" if factors else ""
    say(f"train: offsets and priors of labels{and_near}{and_factors}")
    wanted = Wanted(tuple(scales), tuple(scales.values()), items, near, factors, recipe.seed)
    return write_estimates(folder, prepared.folder, fit.as_of, wanted)


def worker_config(
    run: Run, prepared: Result, embedded: Result, labels: Labels, fit: Fit, devices: TrainDevices
) -> dict[str, Any]:
    """Return what `jobs.train_worker` is told, as types that Ray carries."""
    cache = run.workspace / "embeddings" / read_json(embedded.folder / "encoder.json")["key"]
    counts_I = labels.counts_I
    sizes = shapes(prepared.folder, item_inputs(prepared.folder, embedded.folder, counts_I))
    if run.recipe.reads_estimates:
        sizes = replace(sizes, estimates=len(labels.scales) * len(NAMES))
    card = ModelCard(sizes, run.recipe.tasks, run.recipe.model, labels.scales, labels.signals)
    return {
        "recipe": run.recipe.without_search.resolved(),
        "card": card.to_dict(),
        "prepared": str(prepared.folder),
        "embedded": str(embedded.folder),
        "counts": counts_I,
        "texts": UserTexts(str(cache), str(embedded.folder), embedded.summary["dim"]),
        "checkpoints": str(fit.checkpoints),
        "last": fit.epochs,
        "validates": fit.validates,
        "warm": fit.warm,
        "tell": fit.tell,
        "devices": devices,
        "rows": _windows(prepared.folder, run.recipe, fit),
    }


def checked_scales(recipe: Recipe, statistics: Statistics) -> dict[str, LabelScale]:
    """Return the scale of each scored task's label.

    Raises:
        DataError: if the training labels don't fit a task's kind.
    """
    scales = {task.name: statistics.scales[task.name] for task in recipe.scored_tasks}
    for task in recipe.scored_tasks:
        if problem := task.rules.problem(scales[task.name]):
            raise DataError(f"task {task.name!r}, label {task.label!r}, {problem}")
    return scales


def _windows(prepared: Path, recipe: Recipe, fit: Fit) -> int:
    """Return the training windows per epoch; for the learning rate's schedule alone an estimate is enough."""
    if recipe.train.private is not None:  # the noise goes by their number
        files = names_in(prepared / "histories")
        return count_windows(files, fit.as_of, recipe.model.history, fit.warm.fresh if fit.warm else None)
    warm, events = fit.warm, read_json(prepared / "ledger.json")["interactions"]["kept"]
    if warm is not None:
        return max(1, int(events - warm.known_events))
    users = read_json(prepared / "manifest.json")["summary"]["users"]
    return int(users + events // max(1, recipe.model.history // 2))
