"""Events a second of training: the bare loop, Ray Train with one and two workers, and other libraries.

`python bench/train.py`: MovieLens-100k, a network of 64 numbers, windows of 50 events in batches of 64, one thread a
worker. Counted are events, each a target of every task. The bare loop is the same step over the same windows in this
process, without Ray. The first epoch, in which the windows are made, is left out. Other libraries train on the same log
at the same sizes: SASRec reads windows too, of which it has one a user, MMoE ratings. Prints one table and writes
bench/results/train.json.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402
import typer  # noqa: E402

from bench.runs import CACHE, peer_python, say  # noqa: E402
from jobs.fit import Fit, Labels, network_trainer, read_labels, worker_config  # noqa: E402
from jobs.histories import shards_of  # noqa: E402
from jobs.pipeline import run_pipeline  # noqa: E402
from jobs.stages import Result, Run, claim_workspace  # noqa: E402
from jobs.train import read_metrics  # noqa: E402
from jobs.train_worker import set_up  # noqa: E402
from jobs.windows import TrainWindows  # noqa: E402
from motet.data.moments import BEFORE_VALIDATION  # noqa: E402
from motet.devices import choose  # noqa: E402
from motet.recipe_file import load_recipe  # noqa: E402
from motet.storage import write_json  # noqa: E402
from motet.training.batches import collate  # noqa: E402
from motet.training.row_cache import RowCache  # noqa: E402

EPOCHS = 4
TASKS = ["like", "rating"]


class Data:
    """What all sides train on.

    Args:
        work: the workspace.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        run = self.run_with(1)
        claim_workspace(run)
        results = run_pipeline(run, "embed")
        self.prepared, self.embedded = results["prepare"], results["embed"]

    def run_with(self, workers: int, windows: int = 64) -> Run:
        """Return the run of so many workers, and windows a step of all together."""
        settings = [f"workspace={self.work}", f"train.workers={workers}", f"train.batch_size={windows}"]
        return Run(load_recipe(str(ROOT / "recipes" / "movielens.yaml"), settings))


def rates(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return events a second over all workers, and the share of the time that steps waited for data."""
    later = rows[1:]
    seconds = sum(row["seconds"] for row in later)
    waited = sum(row["waited"] for row in later) / seconds
    return {"rate": sum(row["rows"] for row in later) / seconds, "waited": waited}


def with_ray(data: Data, workers: int, windows: int, folder: Path) -> dict[str, float]:
    """Train by Ray Train."""
    run = data.run_with(workers, windows)
    fit = Fit(BEFORE_VALIDATION, folder / "checkpoints", last=EPOCHS)
    labels = read_labels(folder, fit, run.recipe, data.prepared)
    network_trainer(run, data.prepared, data.embedded, labels, fit).fit()
    return rates(read_metrics(fit.checkpoints))


def bare(data: Data, folder: Path) -> dict[str, float]:
    """Train by the loop alone, over windows that this process made."""
    run = data.run_with(0)
    fit = Fit(BEFORE_VALIDATION, folder / "checkpoints", last=EPOCHS)
    labels = read_labels(folder, fit, run.recipe, data.prepared)
    config = worker_config(run, data.prepared, data.embedded, labels, fit, choose(run.recipe, {}).train)
    trainer, _ = set_up(config, torch.device("cpu"))
    windows = RowCache(partial(_stream, run, data.prepared, labels, config), run.recipe.train.rows_in_memory)
    rows: list[dict[str, Any]] = []

    def batches(epoch: int) -> Iterator[Any]:
        tables = windows.batches(epoch, run.recipe.train.batch_size, run.recipe.seed)
        return (collate(table, TASKS, run.recipe.model.history) for table in tables)

    trainer.run(batches, None, lambda epoch: rows.append(epoch.metrics()), EPOCHS)
    assert windows.kept is not None
    found = rates(rows)
    return {**found, "windows": found["rate"] * windows.kept.num_rows / rows[0]["rows"]}


def _stream(run: Run, prepared: Result, labels: Labels, config: dict[str, Any], epoch: int) -> Iterator[pa.Table]:
    del epoch
    make = TrainWindows(BEFORE_VALIDATION, 1, run.recipe.model.history, config["texts"], labels.folds)
    table = pa.concat_tables(make(pa.Table.from_pylist(shards_of(prepared.folder))))
    for start in range(0, table.num_rows, run.recipe.train.batch_size):
        yield table.slice(start, run.recipe.train.batch_size)


def peer(library: str, threads: int) -> dict[str, float]:
    """Let another library train; return its samples a second: windows of SASRec, ratings of MMoE."""
    script, log = ROOT / "bench" / "train_peer.py", CACHE / "ml-100k" / "interactions.csv"
    command = [peer_python(library), script, library, log, threads]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"train: {library} failed:\n{done.stderr[-2000:]}")
    return {"rate": float(done.stdout.splitlines()[-1])}


def main(
    rounds: Annotated[int, typer.Option(help="Runs of each side, in turns.")] = 2,
    work: Annotated[Path, typer.Option(help="The workspace.")] = ROOT / "workspace-bench" / "train",
) -> None:
    """Measure all sides."""
    data = Data(work.absolute())
    sides = {
        "bare loop": partial(bare, data),
        "Ray Train, 1 worker": partial(with_ray, data, 1, 64),
        "Ray Train, 2 workers, 64 windows": partial(with_ray, data, 2, 64),
        "Ray Train, 2 workers, 128": partial(with_ray, data, 2, 128),
        "SASRec (RecTools), windows": lambda folder: peer("rectools", 1),
        "MMoE (torch-rechub), ratings": lambda folder: peer("rechub", 1),
    }
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, train in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                found[side].append(train(folder=Path(folder)) if side[0] in "bR" else train(Path(folder)))
    ray.shutdown()
    say(f"\n{'':32}{'events/s':>12}{'least':>10}{'most':>10}{'waited':>9}")
    rows = []
    for side, runs in found.items():
        values = [one["rate"] for one in runs]
        waited = float(np.median([one.get("waited", np.nan) for one in runs]))
        rows.append({"what": side, "rate": float(np.median(values)), "least": min(values), "most": max(values),
                     "waited": None if np.isnan(waited) else waited})  # fmt: skip
        share = "" if np.isnan(waited) else f"{waited:.1%}"
        say(f"{side:32}{np.median(values):>12.1f}{min(values):>10.1f}{max(values):>10.1f}{share:>9}")
    by = {row["what"]: row["rate"] for row in rows}
    say(f"1 worker against the bare loop: {by['Ray Train, 1 worker'] / by['bare loop']:.2f} times (goal 0.95)")
    per_s = float(np.median([one["windows"] for one in found["bare loop"]]))
    say(
        f"bare loop against MMoE: {by['bare loop'] / by['MMoE (torch-rechub), ratings']:.2f} times the events; against "
        f"SASRec: {per_s / by['SASRec (RecTools), windows']:.2f} times the windows, {per_s:.0f} (goals 2)"
    )
    for windows, side in ((64, "Ray Train, 2 workers, 64 windows"), (128, "Ray Train, 2 workers, 128")):
        more = by[side] / by["Ray Train, 1 worker"]
        say(f"2 workers, {windows} windows a step, against 1 with 64: {more:.2f} times (goal 1.7)")
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    write_json(ROOT / "bench" / "results" / "train.json", rows)


if __name__ == "__main__":
    typer.run(main)
