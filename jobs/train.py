"""train: data-parallel multi-task training (Ray Train), fed by Ray Data, best epoch by a validation metric.

histories + users -> windows (Ray Data) -> workers: motet.training.loop -> checkpoint each epoch -> best model

With `train.refit` a second network is trained on train and validation, as many epochs as were best for the first;
it stands in `refit/`, and it is the one that is tested and released.
"""

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from jobs.cluster import devices_for
from jobs.fit import Fit, network_trainer, read_labels
from jobs.stages import Result, Run, code_version, run_stage, say
from jobs.warm import REFIT, Warm
from motet.data.moments import Before, first_training
from motet.data.parquet import write_parquet
from motet.data.split import TEST
from motet.errors import TrainingError
from motet.mirror import at_hand, names_in, remove
from motet.recipe import Recipe
from motet.storage import copy_file, read_json, write_atomic
from motet.training.checkpoint import epoch_folder, is_whole, newest_whole

CODE = (
    "platform/motet/kinds", "platform/motet/devices.py",
    "platform/motet/model", "platform/motet/losses", "platform/motet/training", "jobs/train.py", "jobs/train_worker.py",
    "jobs/fit.py", "jobs/windows.py", "jobs/histories.py",
    "platform/motet/data/moments.py", "platform/motet/estimates", "jobs/estimates.py",
    "jobs/estimates_counting.py", "jobs/estimates_latent.py", "jobs/warm.py",
)  # fmt: skip
WHO_TRAINS = {
    "workers", "min_workers", "cpus_per_worker", "threads_per_worker", "use_gpu", "compile", "rows_in_memory",
    "max_failures",
}  # fmt: skip
"""Settings of `train` that change how fast a network is trained, and the order of its batches, but not its targets."""


def train(run: Run, prepared: Result, embedded: Result, warm: Warm | None = None) -> Result:
    """Run the stage; with `warm` go on from another network, with what it has not seen."""
    inputs = {**train_inputs(run.recipe, prepared, embedded), **({"warm": warm.to_dict()} if warm is not None else {})}
    work = partial(_work, run=run, prepared=prepared, embedded=embedded, warm=warm)
    return run_stage(run, "train", "runs", inputs, work)


def train_inputs(recipe: Recipe, prepared: Result, embedded: Result) -> dict[str, Any]:
    """Return all that decides what a network becomes, as JSON types.

    How many workers train it, on what, is not among it: a run that was cut off goes on with those that there are.
    """
    return {
        "model": recipe.model.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json", exclude=WHO_TRAINS),
        "validation": recipe.evaluate.history,
        "tasks": [task.model_dump(mode="json") for task in recipe.tasks],
        "seed": recipe.seed,
        "prepared": prepared.id,
        "embedded": embedded.id,
        "code": code_version(*CODE),
    }


def _work(folder: Path, run: Run, prepared: Result, embedded: Result, warm: Warm | None) -> dict[str, Any]:
    recipe, settings = run.recipe, run.recipe.train
    devices_for(recipe, "train")
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
        remove(again.checkpoints)
    remove(first.checkpoints)
    return summary


def released(trained: Path) -> Path:
    """Return the folder of the network that is tested and released."""
    return trained / REFIT if names_in(trained / REFIT, "model.json") else trained


def _fit(folder: Path, fit: Fit, run: Run, prepared: Result, embedded: Result) -> None:
    """Train a network and write its weights, card, counts and epochs."""
    recipe, settings = run.recipe, run.recipe.train
    labels = read_labels(folder, fit, recipe, prepared)
    write_parquet(folder / "counts.parquet", pa.table({"count": labels.counts_I}))
    done = threading.Event()
    path = fit.checkpoints / "metrics.jsonl"
    reached = _begin_after_the_newest(fit.checkpoints)
    follower = threading.Thread(target=_follow, args=(path, recipe, fit, done, reached), daemon=True)
    follower.start()
    try:
        network_trainer(run, prepared, embedded, labels, fit).fit()
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
        copy_file(best / name, folder / name)
    copy_file(at_hand(path), folder / "metrics.jsonl")
    remove(folder / "folds", ignore_errors=True)


def _summary(epochs: list[dict[str, Any]], recipe: Recipe) -> dict[str, Any]:
    best = max((row for row in epochs if row["best"]), key=lambda row: int(row["epoch"]))
    score = best["validation"][recipe.selection]
    line = f"{len(epochs)} epochs, best {best['epoch']} with {recipe.selection} {score:.4f} on validation"
    spent = epochs[-1].get("privacy")
    if spent is not None:
        line += f"; the user tower: epsilon {spent['epsilon']:.2f} of a window at delta {spent['delta']:g}"
    return {
        "line": line,
        **({} if spent is None else {"privacy": spent}),
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
    return [json.loads(line) for line in at_hand(folder / "metrics.jsonl").read_text().splitlines()]


def _begin_after_the_newest(checkpoints: Path) -> int:
    """Return the epoch that an earlier attempt reached, 0 for none.

    What it lost is put away: lines of epochs whose checkpoint is damaged, and a checkpoint that has no line yet.
    """
    path, newest = checkpoints / "metrics.jsonl", newest_whole(checkpoints)
    rows = read_metrics(checkpoints) if at_hand(path).exists() else []
    while newest is not None and _epoch_of(newest) > len(rows):
        remove(newest)
        newest = newest_whole(checkpoints)
    reached = 0 if newest is None else _epoch_of(newest)
    if rows:
        write_atomic(path, "".join(f"{json.dumps(row)}\n" for row in rows[:reached]))
    if reached:
        say(f"train: goes on after epoch {reached}")
    return reached


def _epoch_of(checkpoint: Path) -> int:
    return int(read_json(checkpoint / "state.json")["epoch"])


def _follow(path: Path, recipe: Recipe, fit: Fit, done: threading.Event, shown: int) -> None:
    """Print one line per epoch while the workers train, but for those that were shown in an earlier attempt."""
    while True:
        last = done.wait(0.5)
        lines = path.read_text().splitlines() if at_hand(path).exists() else []
        for line in lines[shown:]:
            row = json.loads(line)
            losses = ", ".join(f"{name} {value:.3f}" for name, value in row["losses"].items())
            found = f"{recipe.selection} {row['validation'][recipe.selection]:.4f}" if fit.validates else "refit"
            say(f"train: epoch {row['epoch']}/{fit.epochs or recipe.train.epochs} loss {losses}; {found} "
                f"({row['seconds']:.1f} s)")  # fmt: skip
        shown = max(shown, len(lines))
        if last:
            return
