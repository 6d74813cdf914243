"""train: data-parallel multi-task training (Ray Train), fed by Ray Data, best epoch by a validation metric.

histories + users -> windows (Ray Data) -> workers: motet.training.loop -> checkpoint each epoch -> best model
"""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.train
from ray.train.torch import TorchTrainer

from jobs.cluster import require
from jobs.histories import Statistics, UserTexts, item_inputs, shapes, shards_of, train_statistics
from jobs.stages import Result, Run, code_version, run_stage, say
from motet.data.parquet import read_parquet, write_parquet
from motet.errors import DataError, TrainingError
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
)  # fmt: skip


def train(run: Run, prepared: Result, embedded: Result) -> Result:
    """Run the stage."""
    recipe = run.recipe
    inputs = {
        "model": recipe.model.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json"),
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
    statistics = train_statistics(prepared.folder, prepared.summary["items"])
    write_parquet(folder / "counts.parquet", pa.table({"count": statistics.counts_I}))
    checkpoints = run.workspace / "runs" / f"{folder.name.split('.')[0]}.checkpoints"
    config = _worker_config(run, prepared, embedded, statistics, checkpoints)
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(checkpoints / "metrics.jsonl", recipe, done), daemon=True)
    follower.start()
    try:
        _trainer(recipe, prepared, config, checkpoints).fit()
    except ray.train.v2.api.exceptions.TrainingFailedError as error:
        raise TrainingError(f"training failed after {settings.max_failures} restarts: {_cause(error)}") from error
    finally:
        done.set()
        follower.join()
    best = epoch_folder(checkpoints, max(row["epoch"] for row in read_metrics(checkpoints) if row["best"]))
    if not is_whole(best):
        raise TrainingError(
            f"the checkpoint of the best epoch, {best}, is damaged; delete {checkpoints} and train again"
        )
    for name in ("model.safetensors", "model.json"):
        shutil.copyfile(best / name, folder / name)
    shutil.copyfile(checkpoints / "metrics.jsonl", folder / "metrics.jsonl")
    shutil.rmtree(checkpoints)
    return _summary(read_metrics(folder), recipe)


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
    run: Run, prepared: Result, embedded: Result, statistics: Statistics, checkpoints: Path
) -> dict[str, Any]:
    cache = run.workspace / "embeddings" / read_json(embedded.folder / "encoder.json")["key"]
    counts_I = statistics.counts_I
    card = ModelCard(
        shapes(prepared.folder, item_inputs(prepared.folder, embedded.folder, counts_I)),
        run.recipe.tasks,
        run.recipe.model,
        checked_scales(run.recipe, statistics),
    )
    return {
        "recipe": run.recipe.resolved(),
        "card": card.to_dict(),
        "prepared": str(prepared.folder),
        "embedded": str(embedded.folder),
        "counts": counts_I,
        "texts": UserTexts(str(cache), str(embedded.folder), embedded.summary["dim"]),
        "checkpoints": str(checkpoints),
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


def _trainer(recipe: Recipe, prepared: Result, config: dict[str, Any], checkpoints: Path) -> TorchTrainer:
    settings = recipe.train
    shards = shards_of(prepared.folder)
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    read = {"history": recipe.model.history, "text": config["texts"]}
    workers = max(1, settings.workers)
    windows = rows.map_batches(TrainWindows(multiple_of=workers, **read), batch_size=1, batch_format="pyarrow")
    held = rows.map_batches(ValidationWindows(**read), batch_size=1, batch_format="pyarrow")
    resources = None if settings.workers == 0 else {"CPU": settings.cpus_per_worker}
    return TorchTrainer(
        train_worker,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers, use_gpu=settings.use_gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=checkpoints.name,
            storage_path=str(checkpoints.parent),
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
        ),
        datasets={"train": windows, "validation": held},
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
    )


class _Windows:
    """Reads a shard's histories and users and makes rows of them."""

    def __init__(self, history: int, text: UserTexts, multiple_of: int = 1) -> None:
        self.history, self.text, self.multiple_of = history, text, multiple_of

    def tables(self, batch: pa.Table) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Yield (histories, users) of each shard that the batch names."""
        for row in batch.to_pylist():
            yield (
                read_parquet(Path(row["histories"])),
                read_parquet(Path(row["users"]), ["user", "text", "slots", "numbers"]),
            )


class TrainWindows(_Windows):
    """Training windows of shards."""

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of `motet.training.windows.train_rows`."""
        from motet.training.windows import train_rows

        for histories, users in self.tables(batch):
            yield train_rows(histories, users, self.history, self.text, self.multiple_of)


class ValidationWindows(_Windows):
    """Validation rows of shards."""

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of `motet.training.windows.validation_rows`."""
        from motet.training.windows import validation_rows

        for histories, users in self.tables(batch):
            yield validation_rows(histories, users, self.history, self.text)


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

    trainer.run(batches, validation, partial(_report, trainer=trainer, card=card, config=config, rank=rank))


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
    ray.train.report({"score": row["validation"][trainer.recipe.selection], "epoch": row["epoch"]})


def _append_metrics(path: Path, row: dict[str, Any]) -> None:
    """Write the line of an epoch after those before it; lines of a lost attempt are dropped."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if json.loads(line)["epoch"] < row["epoch"]]
    write_atomic(path, "\n".join([*kept, json.dumps(row, allow_nan=False)]) + "\n")


def _follow(path: Path, recipe: Recipe, done: threading.Event) -> None:
    """Print one line per epoch while the workers train."""
    shown = 0
    while True:
        last = done.wait(0.5)
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines[shown:]:
            row = json.loads(line)
            losses = ", ".join(f"{name} {value:.3f}" for name, value in row["losses"].items())
            score = row["validation"][recipe.selection]
            say(
                f"train: epoch {row['epoch']}/{recipe.train.epochs} loss {losses}; "
                f"{recipe.selection} {score:.4f} ({row['seconds']:.1f} s)"
            )
        shown = max(shown, len(lines))
        if last:
            return
