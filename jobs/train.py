"""train: data-parallel multi-task training (Ray Train), fed by Ray Data, best epoch by a validation metric.

histories + users -> windows (Ray Data) -> workers: motet.training.loop -> checkpoint each epoch -> best model

With `train.refit` a second network is trained on train and validation, as many epochs as were best for the first;
it stands in `refit/`, and it is the one that is tested and released.
"""

import json
import shutil
import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.train
from ray.train.torch import TorchTrainer

from jobs.cluster import require
from jobs.estimates import Folds, write_estimates
from jobs.histories import Statistics, UserTexts, item_inputs, shapes, shards_of, train_statistics
from jobs.stages import Result, Run, code_version, run_stage, say
from jobs.train_worker import train_worker
from jobs.warm import REFIT, Warm, WarmStart
from jobs.windows import TrainWindows, ValidationWindows
from motet.data.moments import AsOf, Before, first_training
from motet.data.parquet import write_parquet
from motet.data.split import TEST
from motet.errors import DataError, TrainingError
from motet.estimates import NAMES
from motet.kinds import LabelScale
from motet.model.io import ModelCard, load_model
from motet.recipe import Recipe
from motet.storage import read_json
from motet.training.checkpoint import (
    epoch_folder,
    is_whole,
)

CODE = (
    "platform/motet/kinds",
    "platform/motet/model", "platform/motet/losses", "platform/motet/training", "jobs/train.py", "jobs/train_worker.py",
    "jobs/windows.py", "jobs/histories.py",
    "platform/motet/data/moments.py", "platform/motet/estimates.py", "jobs/estimates.py", "jobs/warm.py",
)  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """One network to train.

    Attributes:
        as_of: the events that it is trained on.
        checkpoints: where its epochs are kept until it is done.
        last: the epoch after which it is done, without validation; by validation if None.
        warm: where it goes on from; fresh weights and all windows if None.
    """

    as_of: AsOf
    checkpoints: Path
    last: int | None = None
    warm: WarmStart | None = None

    @property
    def validates(self) -> bool:
        """Whether validation chooses the epoch."""
        return self.last is None

    @property
    def epochs(self) -> int | None:
        """How many epochs there are; the recipe's if None."""
        return self.last if self.last is not None or self.warm is None else self.warm.epochs


def train(run: Run, prepared: Result, embedded: Result, warm: Warm | None = None) -> Result:
    """Run the stage; with `warm` go on from another network, with what it has not seen."""
    recipe = run.recipe
    inputs = {
        "model": recipe.model.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json"),
        "validation": recipe.evaluate.history,
        "tasks": [task.model_dump(mode="json") for task in recipe.tasks],
        "seed": recipe.seed,
        "prepared": prepared.id,
        "embedded": embedded.id,
        "code": code_version(*CODE),
        **({"warm": warm.to_dict()} if warm is not None else {}),
    }
    work = partial(_work, run=run, prepared=prepared, embedded=embedded, warm=warm)
    return run_stage(run, "train", "runs", inputs, work)


def _work(folder: Path, run: Run, prepared: Result, embedded: Result, warm: Warm | None) -> dict[str, Any]:
    recipe, settings = run.recipe, run.recipe.train
    require("CPU", settings.workers * settings.cpus_per_worker, "train.workers x train.cpus_per_worker")
    require("GPU", settings.workers * settings.use_gpu, "train.workers with train.use_gpu")
    percentiles = read_json(prepared.folder / "features.json")["percentiles"]
    name = folder.name.split(".")[0]
    first = Fit(
        first_training(recipe.data.split, percentiles, settings.held_back),
        run.workspace / "runs" / f"{name}.checkpoints",
        warm=warm.start(refit=False) if warm else None,
    )
    _fit(folder, first, run, prepared, embedded)
    summary = _summary(read_metrics(folder), recipe)
    if settings.refit:
        checkpoints = run.workspace / "runs" / f"{name}.{REFIT}.checkpoints"
        start = warm.start(refit=True) if warm else None
        again = Fit(Before(TEST), checkpoints, summary["best_epoch"], start)
        _fit(folder / REFIT, again, run, prepared, embedded)
        shutil.rmtree(again.checkpoints)
    shutil.rmtree(first.checkpoints)
    return summary


def released(trained: Path) -> Path:
    """Return the folder of the network that is tested and released."""
    return trained / REFIT if (trained / REFIT).is_dir() else trained


def _fit(folder: Path, fit: Fit, run: Run, prepared: Result, embedded: Result) -> None:
    """Train a network and write its weights, card, counts and epochs."""
    recipe, settings = run.recipe, run.recipe.train
    statistics = train_statistics(prepared.folder, prepared.summary["items"], fit.as_of)
    write_parquet(folder / "counts.parquet", pa.table({"count": statistics.counts_I}))
    scales = checked_scales(recipe, statistics)
    if fit.warm is not None:
        scales = load_model(fit.warm.network)[1].scales  # the heads speak in these
    folds = _estimates(folder, fit, recipe, prepared, scales)
    config = _worker_config(run, prepared, embedded, statistics, scales, fit)
    done = threading.Event()
    path = fit.checkpoints / "metrics.jsonl"
    follower = threading.Thread(target=_follow, args=(path, recipe, fit, done), daemon=True)
    follower.start()
    try:
        _trainer(recipe, prepared, config, fit, folds).fit()
    except ray.train.v2.api.exceptions.TrainingFailedError as error:
        raise TrainingError(f"training failed after {settings.max_failures} restarts: {_cause(error)}") from error
    finally:
        done.set()
        follower.join()
    best = epoch_folder(fit.checkpoints, max(row["epoch"] for row in read_metrics(fit.checkpoints) if row["best"]))
    if not is_whole(best):
        raise TrainingError(
            f"the checkpoint of the best epoch, {best}, is damaged; delete {fit.checkpoints} and train again"
        )
    for name in ("model.safetensors", "model.json"):
        shutil.copyfile(best / name, folder / name)
    shutil.copyfile(path, folder / "metrics.jsonl")
    shutil.rmtree(folder / "folds", ignore_errors=True)


def _estimates(folder: Path, fit: Fit, recipe: Recipe, prepared: Result, scales: dict[str, LabelScale]) -> Folds | None:
    """Write the estimates that the heads read, if they do."""
    if not recipe.reads_estimates:
        return None
    items = prepared.summary["items"]
    near = recipe.estimates_near(items)
    say(f"train: offsets and priors of labels{', and which items are near' if near else ''}")
    return write_estimates(folder, prepared.folder, fit.as_of, tuple(scales), tuple(scales.values()), items, near)


def _summary(epochs: list[dict[str, Any]], recipe: Recipe) -> dict[str, Any]:
    best = max((row for row in epochs if row["best"]), key=lambda row: int(row["epoch"]))
    score = best["validation"][recipe.selection]
    line = f"{len(epochs)} epochs, best {best['epoch']} with {recipe.selection} {score:.4f} on validation"
    return {
        "line": line,
        "epochs": len(epochs),
        "best_epoch": best["epoch"],
        "validation": best["validation"],
    }


def _cause(error: BaseException) -> str:
    """Return the innermost message of a failure on one line."""
    failures = getattr(error, "worker_failures", None) or {}
    inner: BaseException = next(iter(failures.values()), error)
    while (cause := getattr(inner, "cause", None) or inner.__cause__) is not None:
        inner = cause
    return str(inner).strip().splitlines()[-1] if str(inner).strip() else type(inner).__name__


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the epochs of a run."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _worker_config(
    run: Run, prepared: Result, embedded: Result, statistics: Statistics, scales: dict[str, LabelScale], fit: Fit
) -> dict[str, Any]:
    cache = run.workspace / "embeddings" / read_json(embedded.folder / "encoder.json")["key"]
    counts_I = statistics.counts_I
    sizes = shapes(prepared.folder, item_inputs(prepared.folder, embedded.folder, counts_I))
    if run.recipe.reads_estimates:
        sizes = replace(sizes, estimates=len(scales) * len(NAMES))
    card = ModelCard(sizes, run.recipe.tasks, run.recipe.model, scales)
    return {
        "recipe": run.recipe.resolved(),
        "card": card.to_dict(),
        "prepared": str(prepared.folder),
        "embedded": str(embedded.folder),
        "counts": counts_I,
        "texts": UserTexts(str(cache), str(embedded.folder), embedded.summary["dim"]),
        "checkpoints": str(fit.checkpoints),
        "last": fit.epochs,
        "validates": fit.validates,
        "warm": fit.warm,
        "rows": _count_windows(prepared.folder, run.recipe, fit.warm),
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


def _count_windows(prepared: Path, recipe: Recipe, warm: WarmStart | None) -> int:
    """Estimate the training windows per epoch from the number of interactions, for the learning rate's schedule."""
    events = read_json(prepared / "ledger.json")["interactions"]["kept"]
    if warm is not None:
        return max(1, int(events - warm.known_events))
    users = read_json(prepared / "manifest.json")["summary"]["users"]
    return int(users + events // max(1, recipe.model.history // 2))


def _trainer(recipe: Recipe, prepared: Result, config: dict[str, Any], fit: Fit, folds: Folds | None) -> TorchTrainer:
    settings = recipe.train
    shards = shards_of(prepared.folder)
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    read = {"history": recipe.model.history, "text": config["texts"]}
    workers, fresh = max(1, settings.workers), fit.warm.fresh if fit.warm is not None else None
    windows = TrainWindows(as_of=fit.as_of, multiple_of=workers, folds=folds, fresh=fresh, **read)
    datasets = {"train": rows.map_batches(windows, batch_size=1, batch_format="pyarrow")}
    if fit.validates:
        held = ValidationWindows(known=recipe.evaluate.history, folds=folds, **read)
        datasets["validation"] = rows.map_batches(held, batch_size=1, batch_format="pyarrow")
    resources = None if settings.workers == 0 else {"CPU": settings.cpus_per_worker}
    return TorchTrainer(
        train_worker,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers, use_gpu=settings.use_gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=fit.checkpoints.name,
            storage_path=str(fit.checkpoints.parent),
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
        ),
        datasets=datasets,
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
    )


def _follow(path: Path, recipe: Recipe, fit: Fit, done: threading.Event) -> None:
    """Print one line per epoch while the workers train."""
    shown = 0
    while True:
        last = done.wait(0.5)
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines[shown:]:
            row = json.loads(line)
            losses = ", ".join(f"{name} {value:.3f}" for name, value in row["losses"].items())
            found = f"{recipe.selection} {row['validation'][recipe.selection]:.4f}" if fit.validates else "refit"
            say(f"train: epoch {row['epoch']}/{fit.epochs or recipe.train.epochs} loss {losses}; {found} "
                f"({row['seconds']:.1f} s)")  # fmt: skip
        shown = max(shown, len(lines))
        if last:
            return
