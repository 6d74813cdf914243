"""Faults of the jobs: what dies while rows, texts and networks are made, and what the next run finds."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import yaml

from motet.data.parquet import read_parquet, write_parquet
from motet.errors import MotetError
from motet.inputs import check_inputs
from motet.recipe_file import load_recipe
from motet.release.publish import Releases
from motet.storage import read_json, read_manifest
from tests.chaos.rig import ROOT, record, wait_for
from tests.synthetic import events, recipe, users, write_csv, write_recipe, write_shop

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

MANY = 4_000


@pytest.fixture
def apart():
    """The environment of a process with a Ray of its own."""
    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    yield {**own, "RAY_TMPDIR": folder}
    shutil.rmtree(folder, ignore_errors=True)


def start(file: Path, environment, *more: str) -> subprocess.Popen:
    command = [sys.executable, "jobs/pipeline.py", str(file), *more]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True)  # fmt: skip


def finish(process: subprocess.Popen, expected: int = 0) -> str:
    said = process.communicate(timeout=200)[1]
    assert process.returncode == expected, said[-3000:]
    return said


def kill(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    """End a driver, and then what is left of the Ray that it started."""
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.communicate(timeout=60)
    for one in started:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(started, 20)


def write_many(folder: Path, model: Path) -> Path:
    """The shop with 4,000 items, each with a text of its own."""
    write_csv(folder / "events.csv", events())
    write_csv(folder / "users.csv", users())
    rows = [
        {"item_id": f"i{n}", "title": f"item number {n} of many", "genres": "comedy", "year": 1990} for n in range(MANY)
    ]
    write_csv(folder / "items.csv", rows)
    return write_recipe(folder / "shop.yaml", recipe(folder, model))


def vectors(workspace: Path) -> dict[str, np.ndarray]:
    (folder,) = (workspace / "embedded").iterdir()
    table = read_parquet(folder / "items")
    rows = table.column("vector").combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    keys = table.column("key").to_pylist()
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows, strict=True))


def embedded(workspace: Path) -> int:
    (folder,) = (workspace / "embedded").iterdir()
    return int(read_manifest(folder)["summary"]["embedded"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, minilm):
    """The vectors of a run that nothing befell."""
    folder, short = tmp_path_factory.mktemp("undisturbed"), tempfile.mkdtemp(prefix="rt", dir="/tmp")
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    finish(start(write_many(folder, minilm), {**own, "RAY_TMPDIR": short}, "--until", "embed"))
    shutil.rmtree(short, ignore_errors=True)
    return vectors(folder / "workspace")


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, int]:
    """Rows that are lost, and rows that are other ones."""
    other = sum(not np.allclose(found[key], row, atol=1e-5) for key, row in expected.items() if key in found)
    return {"rows": len(expected), "lost": len(expected.keys() - found.keys()), "other vectors": other}


def test_f01_a_worker_is_killed_while_texts_are_embedded(tmp_path, minilm, apart, undisturbed):
    process = start(write_many(tmp_path, minilm), apart, "--until", "embed")
    killed = []

    def found() -> bool:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if "EncoderActor" in " ".join(child.cmdline()):
                    child.kill()
                    killed.append(child.pid)
            except psutil.Error:
                continue
        return bool(killed) or process.poll() is not None

    wait_for(found, 60)
    finish(process)
    assert killed
    figures = same(vectors(tmp_path / "workspace"), undisturbed)
    record("F01", "a worker that embeds is killed", "SIGKILL of an actor of the pool, once", figures)
    assert (figures["lost"], figures["other vectors"]) == (0, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_f08_the_embed_job_is_killed_and_run_again(tmp_path, minilm, apart, undisturbed, share):
    """What was embedded is in the cache, and is not embedded again."""
    file = write_many(tmp_path, minilm)
    process, cache = start(file, apart, "--until", "embed"), tmp_path / "workspace" / "embeddings"
    wait_for(partial(_is_ripe, cache, share * MANY, process), 120)
    assert process.poll() is None, "it was over before it could be killed"
    kill(process)
    had, began = _cached(cache), time.monotonic()
    finish(start(file, apart, "--until", "embed"))
    found = same(vectors(tmp_path / "workspace"), undisturbed)
    figures = {
        "texts embedded before": had, "after": embedded(tmp_path / "workspace"),
        "of these again": had + embedded(tmp_path / "workspace") - _cached(cache),
        **found, "seconds of the second run": round(time.monotonic() - began, 1),
    }  # fmt: skip
    record(
        "F08", f"the embed job killed at {share:.0%}, and run again", f"SIGKILL of the driver, {MANY:,} texts", figures
    )
    assert had >= share * MANY
    assert (figures["of these again"], found["lost"], found["other vectors"]) == (0, 0, 0)


def _is_ripe(cache: Path, texts: float, process: subprocess.Popen) -> bool:
    return _cached(cache) >= texts or process.poll() is not None


def _cached(cache: Path) -> int:
    """Texts in the cache, by the files that are whole."""
    count = 0
    for path in cache.rglob("*.arrow"):
        with contextlib.suppress(OSError, pa.ArrowInvalid), pa.memory_map(str(path)) as file:
            count += pa.ipc.open_file(file).read_all().num_rows
    return count


def test_f04_a_file_of_the_input_is_cut(tmp_path, encoder_folder):
    file = write_shop(tmp_path, encoder_folder)
    write_parquet(tmp_path / "events.parquet", pa.Table.from_pylist(events()))
    content = yaml.safe_load(file.read_text())
    content["data"]["interactions"]["path"] = str(tmp_path / "events.parquet")
    write_recipe(file, content)
    whole, chance, named = (tmp_path / "events.parquet").read_bytes(), random.Random(0), 0
    for _ in range(50):
        (tmp_path / "events.parquet").write_bytes(whole[: chance.randrange(len(whole))])
        with pytest.raises(MotetError) as said:
            check_inputs(load_recipe(file))
        named += "events.parquet" in str(said.value)
    record(
        "F04", "an input file is cut", "at 50 random places", {"refused by name before anything runs": f"{named} of 50"}
    )
    assert named == 50


def test_f05_bits_of_a_stages_files_are_flipped(tmp_path):
    table = pa.table({"user": [f"u{n}" for n in range(5000)], "items": [[n, n + 1] for n in range(5000)]})
    path, chance = tmp_path / "part.parquet", random.Random(0)
    write_parquet(path, table)
    whole, silent, caught = path.read_bytes(), 0, 0
    for _ in range(200):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(broken))
        try:
            silent += not read_parquet(path).equals(table)
        except Exception:  # any refusal is one
            caught += 1
    record(
        "F05", "a bit of a stage's file is flipped", "200 times", {"refused": caught, "other rows unnoticed": silent}
    )
    assert silent == 0


def test_f06_the_columns_are_not_what_they_were(tmp_path, encoder_folder):
    rows = events()
    drifts = {
        "a column is gone": [{k: v for k, v in row.items() if k != "rating"} for row in rows],
        "a column has another name": [{("stars" if k == "rating" else k): v for k, v in row.items()} for row in rows],
        "the time has another name": [{("ts" if k == "timestamp" else k): v for k, v in row.items()} for row in rows],
    }
    named = 0
    for place, drifted in enumerate(drifts.values()):
        file = write_shop(tmp_path / str(place), encoder_folder)
        write_csv(tmp_path / str(place) / "events.csv", drifted)
        with pytest.raises(MotetError) as said:
            check_inputs(load_recipe(file))
        named += "events.csv has no column" in str(said.value)
    record(
        "F06",
        "columns are gone or renamed",
        ", ".join(drifts),
        {"refused by file and column": f"{named} of {len(drifts)}"},
    )
    assert named == len(drifts)


def test_f07_rows_of_every_kind_of_dirt(tmp_path, encoder_folder, apart):
    chance, dirt = (
        random.Random(0),
        ["", "NaN", "inf", "1e400", "-1", "x" * 100_000, "\u202e\u200b", "é\u0301", "0x1", "None", "2e9"],
    )
    good, bad = events(), []
    for row in chance.sample(good, 300):
        bad.append({**row, chance.choice(list(row)): chance.choice(dirt)})
    file = write_shop(tmp_path, encoder_folder)
    write_csv(tmp_path / "events.csv", good + bad)
    finish(start(file, apart, "--until", "prepare"))
    (folder,) = (tmp_path / "workspace" / "prepared").iterdir()
    ledger = read_json(folder / "ledger.json")["interactions"]
    gap = ledger["read"] - ledger["kept"] - ledger["quarantined"] - ledger["merged"]
    held = read_parquet(folder / "quarantine").num_rows
    figures = {name: ledger[name] for name in ("read", "kept", "quarantined", "merged")}
    record(
        "F07",
        "300 rows with dirt in them",
        "missing, huge, infinite, invisible, composed",
        figures | {"unaccounted for": gap},
    )
    assert ledger["read"] == len(good) + len(bad)
    assert gap == 0
    assert held == ledger["quarantined"] > 0


def _first(line: str) -> str:
    """What is said before the first semicolon, without the name of the error."""
    return line.split(": ", 1)[1].split("; ")[0]


def epochs_of(workspace: Path) -> list[Path]:
    return sorted((workspace / "runs").glob("*.checkpoints/epoch-*/manifest.json"))


LONG = ["--until", "train", "--set", "train.epochs=40", "--set", "train.patience=40", "--set", "model.layers=3"]


@pytest.mark.parametrize("how", ["killed", "told to end"])
def test_f16_the_training_job_ends_in_the_middle_and_is_run_again(tmp_path, encoder_folder, apart, how):
    """Before it is run again its newest checkpoint loses a bit, and what Ray knows of checkpoints is torn in two."""
    file = write_shop(tmp_path, encoder_folder)
    process, workspace = start(file, apart, *LONG), tmp_path / "workspace"
    wait_for(lambda: len(epochs_of(workspace)) >= 2 or process.poll() is not None, 120)
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
    said = finish(start(file, apart, *LONG))
    trained = [int(line.split("epoch ")[1].split("/")[0]) for line in said.splitlines() if "train: epoch " in line]
    figures = {"epochs before": reached, "went on with epoch": trained[0], "epochs lost": reached + 1 - trained[0],
               "seconds to the end": round(time.monotonic() - began, 1)}  # fmt: skip
    damage = "; a bit of the newest checkpoint flipped, Ray's snapshot torn" if how == "killed" else ""
    record(
        "F16",
        f"the training job is {how}",
        f"{'SIGKILL' if how == 'killed' else 'SIGTERM'} of the driver{damage}",
        figures,
    )
    assert trained[-1] == 40
    assert figures["epochs lost"] <= (2 if how == "killed" else 1)


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


def test_f21_a_loss_that_is_no_number_ends_the_run(tmp_path, encoder_folder, apart):
    file = write_shop(tmp_path, encoder_folder)
    said = finish(start(file, apart, "--set", "train.learning_rate=1e9", "--set", "train.warmup_steps=0"), 2)
    (line,) = [line for line in said.splitlines() if "is not finite" in line]
    record(
        "F21",
        "a loss that is no number",
        "train.learning_rate=1e9",
        {"published": 0, "said": _first(line)},
    )
    assert "the loss of task" in line
    assert not (tmp_path / "workspace" / "releases").exists()


def test_f25_a_model_that_learned_nonsense_is_not_published(tmp_path, minilm, apart):
    file = write_shop(tmp_path, minilm, release={"max_below_popularity": 1.0})
    finish(start(file, apart))
    releases = Releases(tmp_path / "workspace")
    before, rows = releases.current_id(), events()
    items, ratings = [row["item_id"] for row in rows], [row["rating"] for row in rows]
    random.Random(0).shuffle(items)
    random.Random(1).shuffle(ratings)
    mixed = [{**row, "item_id": item, "rating": rating} for row, item, rating in zip(rows, items, ratings, strict=True)]
    write_csv(tmp_path / "events.csv", mixed)
    said = finish(start(file, apart), 2)
    (line,) = [line for line in said.splitlines() if "the gate refuses" in line]
    record(
        "F25",
        "a model of shuffled labels",
        "items and ratings of all events shuffled",
        {"published": 0, "said": _first(line)},
    )
    assert releases.current_id() == before
    assert len(releases.all()) == 1
    assert "release: forced: NDCG" in finish(start(file, apart, "--force"))
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
    finish(start(some, apart, "--until", "train"))
    said = finish(start(none, apart, "--until", "train"), 2)
    line = said.strip().splitlines()[-1]
    figures = {"of a third": "trained", "of all": _first(line.split(": ", 1)[1])}
    record("F26", "labels of a task are missing", "of a third of the rows, and of all", figures)
    assert "tasks.1.label = 'rating >= 4' gives no label on any training row" in line
