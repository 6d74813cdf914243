"""Faults of training: what dies while a network is made, and what the next run finds."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from motet.release.publish import Releases
from motet.storage import read_manifest
from tests.chaos.rig import record, wait_for
from tests.chaos.runs import embedded_once, finish, first_words, kill, own_environment, start, with_stages
from tests.synthetic import events, write_csv, write_shop

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.fixture
def apart():
    with own_environment() as environment:
        yield environment


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder_folder):
    """(recipe's file, workspace) of the shop, prepared and embedded."""
    return embedded_once(write_shop(tmp_path_factory.mktemp("made"), encoder_folder))


@pytest.fixture
def shop(made, tmp_path):
    """(recipe's file, words by which a run has a workspace of its own to train in)."""
    file, workspace = made
    return file, with_stages(workspace, tmp_path, "prepared", "embedded", "embeddings")


def epochs_of(workspace: Path) -> list[Path]:
    return sorted((workspace / "runs").glob("*.checkpoints/epoch-*/manifest.json"))


EPOCHS = 12
LONG = ["--until", "train", "--set", f"train.epochs={EPOCHS}", "--set", f"train.patience={EPOCHS}",
        "--set", "model.layers=3"]  # fmt: skip


@pytest.mark.parametrize("how", ["killed", "told to end"])
def test_f16_the_training_job_ends_in_the_middle_and_is_run_again(tmp_path, shop, apart, how):
    """Before it is run again its newest checkpoint loses a bit, and what Ray knows of checkpoints is torn in two."""
    file, own = shop
    process, workspace = start(file, apart, *own, *LONG), tmp_path / "workspace"
    wait_for(lambda: len(epochs_of(workspace)) >= 2 or process.poll() is not None, 180)
    assert process.poll() is None
    kill(process, signal.SIGKILL if how == "killed" else signal.SIGTERM)
    newest = epochs_of(workspace)[-1].parent
    reached = int(newest.name.removeprefix("epoch-"))
    if how == "killed":
        weights = newest / "model.safetensors"
        broken = bytearray(weights.read_bytes())
        broken[len(broken) // 2] ^= 1
        weights.write_bytes(bytes(broken))
        for snapshot in workspace.rglob("checkpoint_manager_snapshot.json"):
            os.truncate(snapshot, snapshot.stat().st_size // 2)
    began = time.monotonic()
    said = finish(start(file, apart, *own, *LONG))
    trained = [int(line.split("epoch ")[1].split("/")[0]) for line in said.splitlines() if "train: epoch " in line]
    figures = {"epochs before": reached, "went on with epoch": trained[0], "epochs lost": reached + 1 - trained[0],
               "seconds to the end": round(time.monotonic() - began, 1)}  # fmt: skip
    damage = "; a bit of the newest checkpoint flipped, Ray's snapshot torn" if how == "killed" else ""
    record(
        "F16" if how == "killed" else "F23",
        f"the training job is {how}",
        f"{'SIGKILL' if how == 'killed' else 'SIGTERM'} of the driver{damage}",
        figures,
    )
    assert trained[-1] == EPOCHS
    assert figures["epochs lost"] <= (2 if how == "killed" else 1)


def test_f15_one_of_two_workers_is_killed(tmp_path, shop, apart):
    (file, own), workspace = shop, tmp_path / "workspace"
    process = start(file, apart, *own, *LONG, "--set", "train.workers=2", "--set", f"train.epochs={EPOCHS // 2}")
    wait_for(lambda: len(epochs_of(workspace)) >= 2 or process.poll() is not None, 180)
    assert process.poll() is None
    reached = int(epochs_of(workspace)[-1].parent.name.removeprefix("epoch-"))
    _a_worker_of(process).kill()
    began = time.monotonic()
    wait_for(lambda: len(_lines(workspace)) > reached + 1, 120)
    seconds = time.monotonic() - began
    said = finish(process)
    trained = [int(line.split("epoch ")[1].split("/")[0]) for line in said.splitlines() if "train: epoch " in line]
    figures = {"epochs before": reached, "trained in all": len(trained), "seconds to the next epoch": round(seconds, 1)}
    record("F15", "one of two training workers is killed", "SIGKILL, once", figures)
    assert trained == list(range(1, EPOCHS // 2 + 1))


def _a_worker_of(process: subprocess.Popen) -> psutil.Process:
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                return child
    raise AssertionError("nobody trains")


def _lines(workspace: Path) -> list[str]:
    """The epochs that a run has written down."""
    found = workspace.glob("runs/*.checkpoints/metrics.jsonl")
    return [line for path in found for line in path.read_text().splitlines()]


def test_f17_killed_at_every_step_of_a_checkpoint(tmp_path, tiny):
    """The newest whole checkpoint is used, and it is the one before or the new one."""
    import torch

    from motet.training.checkpoint import epoch_folder, newest_whole, save_checkpoint
    from tests.chaos.test_publishing import WRITES, in_child

    model = tiny.card.build()
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(epoch_folder(tmp_path, 1), model, tiny.card, optimizer, {"epoch": 1})

    def write(at: int) -> None:
        steps = itertools.count()

        def watch(event: str, _: object) -> None:
            if event in WRITES and next(steps) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        folder = epoch_folder(tmp_path, 2)
        folder.mkdir(exist_ok=True)
        save_checkpoint(folder, model, tiny.card, optimizer, {"epoch": 2})

    kills, bad, at = 0, 0, 0
    while True:
        shutil.rmtree(epoch_folder(tmp_path, 2), ignore_errors=True)
        status = in_child(lambda at=at: write(at))
        if not os.WIFSIGNALED(status):
            break
        kills, at = kills + 1, at + 1
        newest = newest_whole(tmp_path)
        bad += newest is None or newest.name not in ("epoch-00001", "epoch-00002")
    record(
        "F17",
        "killed at every step of a checkpoint",
        "SIGKILL at the n-th system call that writes",
        {"kills": kills, "bad loads": bad},
    )
    assert os.WEXITSTATUS(status) == 0
    assert kills > 10
    assert bad == 0


def test_f21_a_loss_that_is_no_number_ends_the_run(tmp_path, shop, apart):
    file, own = shop
    said = finish(start(file, apart, *own, "--set", "train.learning_rate=1e9", "--set", "train.warmup_steps=0"), 2)
    (line,) = [line for line in said.splitlines() if "is not finite" in line]
    record(
        "F21",
        "a loss that is no number",
        "train.learning_rate=1e9",
        {"published": 0, "said": first_words(line)},
    )
    assert "the loss of task" in line
    assert not (tmp_path / "workspace" / "releases").exists()


def test_f25_a_model_that_learned_nonsense_is_not_published(tmp_path, shop, apart):
    file, own = shop
    own += ["--set", "retrieval.moments=1", "--set", "train.epochs=10"]
    finish(start(file, apart, *own))
    releases = Releases(tmp_path / "workspace")
    before, rows = releases.current_id(), events()
    items, ratings = [row["item_id"] for row in rows], [row["rating"] for row in rows]
    random.Random(0).shuffle(items)
    random.Random(1).shuffle(ratings)
    mixed = [{**row, "item_id": item, "rating": rating} for row, item, rating in zip(rows, items, ratings, strict=True)]
    own += ["--set", f"data.interactions.path={write_csv(tmp_path / 'mixed.csv', mixed)}"]
    said = finish(start(file, apart, *own), 2)
    (line,) = [line for line in said.splitlines() if "the gate refuses" in line]
    record(
        "F25",
        "a model of shuffled labels",
        "items and ratings of all events shuffled",
        {"published": 0, "said": first_words(line)},
    )
    assert releases.current_id() == before
    assert len(releases.all()) == 1
    assert "release: forced: NDCG" in finish(start(file, apart, *own, "--force"))
    assert releases.current_id() != before
    assert read_manifest(releases.current())["forced"][0].startswith("NDCG")


def test_f26_a_tasks_labels_are_missing(tmp_path, encoder_folder, apart):
    """Of the last third of the days: the task learns from the others. Of all: the run ends, and says which task."""
    rows = sorted(events(), key=lambda row: row["timestamp"])
    late = [{**row, "rating": "" if place > 2 * len(rows) // 3 else row["rating"]} for place, row in enumerate(rows)]
    (tmp_path / "none").mkdir()
    some, none = write_shop(tmp_path, encoder_folder), write_shop(tmp_path / "none", encoder_folder)
    write_csv(tmp_path / "events.csv", late)
    write_csv(tmp_path / "none" / "events.csv", [{**row, "rating": ""} for row in rows])
    runs = [start(file, apart, "--until", "train") for file in (some, none)]
    finish(runs[0])
    said = finish(runs[1], 2)
    line = said.strip().splitlines()[-1]
    figures = {"of a third": "trained", "of all": first_words(line.split(": ", 1)[1])}
    record("F26", "labels of a task are missing", "of a third of the rows, and of all", figures)
    assert "tasks.1.label = 'rating >= 4' gives no label on any training row" in line
