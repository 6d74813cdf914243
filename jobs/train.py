"""train: data-parallel multi-task training (Ray Train), fed by Ray Data, best epoch by a validation metric.

histories + users -> windows (Ray Data) -> workers: motet.training.loop -> checkpoint each epoch -> best model

With `train.refit` a second network is trained on train and validation, as many epochs as were best for the first;
it stands in `refit/`, and it is the one that is tested and released.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.train
from ray.train.torch import TorchTrainer

from jobs.cluster import require
from jobs.estimates import Folds, write_estimates
from jobs.histories import Statistics, UserTexts, item_inputs, shapes, shards_of, train_statistics
from jobs.stages import Result, Run, code_version, run_stage, say
from motet.data.moments import AsOf, Before, first_training
from motet.data.parquet import read_parquet, write_parquet
from motet.data.split import TEST
from motet.errors import DataError, TrainingError
from motet.estimates import NAMES
from motet.kinds import LabelScale
from motet.model.io import ModelCard
from motet.recipe import Recipe
from motet.storage import new_folder, read_json, write_atomic
from motet.training.checkpoint import (
    epoch_folder,
    is_whole,
    keep_only,
    load_checkpoint,
    newest_whole,
    save_checkpoint,
)

CODE = (
    "platform/motet/kinds",
    "platform/motet/model", "platform/motet/losses", "platform/motet/training", "jobs/train.py", "jobs/histories.py",
    "platform/motet/data/moments.py", "platform/motet/estimates.py", "jobs/estimates.py",
)  # fmt: skip
REFIT = "refit"


@dataclass(frozen=True)
class Fit:
    """One network to train.

    Attributes:
        as_of: the events that it is trained on.
        checkpoints: where its epochs are kept until it is done.
        last: the epoch after which it is done, without validation; by validation if None.
    """

    as_of: AsOf
    checkpoints: Path
    last: int | None = None

    @property
    def validates(self) -> bool:
        """Whether validation chooses the epoch."""
        return self.last is None


def train(run: Run, prepared: Result, embedded: Result) -> Result:
    """Run the stage."""
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
    }
    work = partial(_work, run=run, prepared=prepared, embedded=embedded)
    return run_stage(run, "train", "runs", inputs, work)


def _work(folder: Path, run: Run, prepared: Result, embedded: Result) -> dict[str, Any]:
    recipe, settings = run.recipe, run.recipe.train
    require("CPU", settings.workers * settings.cpus_per_worker, "train.workers x train.cpus_per_worker")
    require("GPU", settings.workers * settings.use_gpu, "train.workers with train.use_gpu")
    percentiles = read_json(prepared.folder / "features.json")["percentiles"]
    name = folder.name.split(".")[0]
    first = Fit(
        first_training(recipe.data.split, percentiles, settings.held_back),
        run.workspace / "runs" / f"{name}.checkpoints",
    )
    _fit(folder, first, run, prepared, embedded)
    summary = _summary(read_metrics(folder), recipe)
    if settings.refit:
        again = Fit(Before(TEST), run.workspace / "runs" / f"{name}.{REFIT}.checkpoints", summary["best_epoch"])
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
        "last": fit.last,
        "rows": _count_windows(prepared.folder, run.recipe),
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


def _count_windows(prepared: Path, recipe: Recipe) -> int:
    """Estimate the training windows per epoch from the number of interactions, for the learning rate's schedule."""
    events = read_json(prepared / "ledger.json")["interactions"]["kept"]
    users = read_json(prepared / "manifest.json")["summary"]["users"]
    return int(users + events // max(1, recipe.model.history // 2))


def _trainer(recipe: Recipe, prepared: Result, config: dict[str, Any], fit: Fit, folds: Folds | None) -> TorchTrainer:
    settings = recipe.train
    shards = shards_of(prepared.folder)
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    read = {"history": recipe.model.history, "text": config["texts"]}
    workers = max(1, settings.workers)
    windows = TrainWindows(as_of=fit.as_of, multiple_of=workers, folds=folds, **read)
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


class _Windows:
    """Reads a shard's histories and users and makes rows of them."""

    def __init__(self, history: int, text: UserTexts, folds: Folds | None) -> None:
        self.history, self.text, self.folds = history, text, folds

    def tables(self, batch: pa.Table) -> Iterator[tuple[str, pa.Table, pa.Table]]:
        """Yield (file name, histories, users) of each shard that the batch names."""
        for row in batch.to_pylist():
            yield (
                Path(row["histories"]).name,
                read_parquet(Path(row["histories"])),
                read_parquet(Path(row["users"]), ["user", "text", "slots", "numbers"]),
            )


class TrainWindows(_Windows):
    """Training windows of shards, over the events before a moment."""

    def __init__(self, as_of: AsOf, multiple_of: int, history: int, text: UserTexts, folds: Folds | None) -> None:
        super().__init__(history, text, folds)
        self.as_of, self.multiple_of = as_of, multiple_of

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of `motet.training.windows.train_rows`."""
        from motet.training.windows import train_rows

        for name, histories, users in self.tables(batch):
            chosen = self.folds.of(name, histories.column("user").to_pylist()) if self.folds else None
            yield train_rows(
                self.as_of.parts(histories), users, self.history, self.text, self.multiple_of,
                chosen.__getitem__ if chosen is not None else None,
            )  # fmt: skip


class ValidationWindows(_Windows):
    """Validation rows of shards."""

    def __init__(self, known: str, history: int, text: UserTexts, folds: Folds | None) -> None:
        super().__init__(history, text, folds)
        self.known = known

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of `motet.training.windows.validation_rows`."""
        from motet.training.windows import validation_rows

        whole = self.folds.whole() if self.folds else None
        for _, histories, users in self.tables(batch):
            yield validation_rows(histories, users, self.history, self.text, whole, self.known)


def train_worker(config: dict[str, Any]) -> None:
    """One worker: build the model, go on from the last checkpoint, train, report each epoch."""
    import torch
    from ray.train.torch import get_device

    from motet.training.batches import collate
    from motet.training.catalogue import Catalogue
    from motet.training.distributed import world
    from motet.training.loop import Progress, Trainer
    from motet.training.row_cache import RowCache
    from motet.training.step import TrainStep

    recipe = Recipe.model_validate(config["recipe"])
    torch.set_num_threads(recipe.train.threads_per_worker)
    torch.manual_seed(recipe.seed)
    card, device = ModelCard.from_dict(config["card"]), get_device()
    inputs = item_inputs(Path(config["prepared"]), Path(config["embedded"]), config["counts"])
    catalogue = Catalogue(inputs, torch.from_numpy(np.asarray(config["counts"], np.float32)))
    step = TrainStep(card.build(), catalogue, card.tasks, card.scales, recipe.train).to(device)
    trainer = Trainer(step, recipe, device, -(-config["rows"] // recipe.train.batch_size))
    newest = newest_whole(Path(config["checkpoints"]))
    if newest is not None:
        state = load_checkpoint(newest, step.model, trainer.optimizer)
        trainer.restore(Progress(**state["progress"]))
        torch.manual_seed(recipe.seed + trainer.progress.epoch)
    rank, workers = world()
    names = [task.name for task in recipe.scored_tasks]
    batch_size = max(1, recipe.train.batch_size // workers)

    def train_stream(epoch: int) -> Any:
        return ray.train.get_dataset_shard("train").iter_batches(
            batch_size=batch_size,
            batch_format="pyarrow",
            prefetch_batches=2,
            local_shuffle_buffer_size=max(batch_size, 10_000),
            local_shuffle_seed=recipe.seed + epoch,
        )

    def held_stream(epoch: int) -> Any:
        tables = ray.train.get_dataset_shard("validation").iter_batches(batch_size=256, batch_format="pyarrow")
        mine = (table.take(pa.array(range(rank, table.num_rows, workers))) for table in tables)
        return (table for table in mine if table.num_rows)

    limit = recipe.train.rows_in_memory
    windows, held = RowCache(train_stream, limit), RowCache(held_stream, limit)

    def batches(epoch: int) -> Iterator[Any]:
        tables = windows.batches(epoch, batch_size, recipe.seed)
        return (collate(table, names, recipe.model.history) for table in tables)

    def validation() -> Iterator[Any]:
        return (collate(table, names, recipe.model.history) for table in held.batches(0, 256, None))

    report = partial(_report, trainer=trainer, card=card, config=config, rank=rank)
    trainer.run(batches, validation if config["last"] is None else None, report, config["last"])


def _report(epoch: Any, trainer: Any, card: ModelCard, config: dict[str, Any], rank: int) -> None:
    """Report an epoch; rank 0 first writes the checkpoint and the line of metrics.jsonl.

    The latest checkpoint and the best one are kept. Workers that start again take the newest whole one from the
    folder itself, so one that was written just before a crash counts.
    """
    row = epoch.metrics()
    if rank == 0:
        checkpoints = Path(config["checkpoints"])
        state = {"epoch": row["epoch"], "progress": asdict(trainer.progress)}
        with new_folder(epoch_folder(checkpoints, row["epoch"])) as folder:
            save_checkpoint(folder, trainer.step_module.model, card, trainer.optimizer, state)
        keep_only(checkpoints, {row["epoch"], trainer.progress.best_epoch})
        _append_metrics(checkpoints / "metrics.jsonl", row)
    ray.train.report({"epoch": row["epoch"], **row["validation"]})


def _append_metrics(path: Path, row: dict[str, Any]) -> None:
    """Write the line of an epoch after those before it; lines of a lost attempt are dropped."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if json.loads(line)["epoch"] < row["epoch"]]
    write_atomic(path, "\n".join([*kept, json.dumps(row, allow_nan=False)]) + "\n")


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
            say(f"train: epoch {row['epoch']}/{fit.last or recipe.train.epochs} loss {losses}; {found} "
                f"({row['seconds']:.1f} s)")  # fmt: skip
        shown = max(shown, len(lines))
        if last:
            return
