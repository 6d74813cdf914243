"""train: two workers, one that is killed, one that cannot start."""

import contextlib
import json
import os
import signal
import threading
import time
from dataclasses import replace

import psutil
import pytest

from jobs.cluster import devices_for
from jobs.embed import embed
from jobs.prepare import prepare
from jobs.stages import Run, claim_workspace
from jobs.train import read_metrics, released, train, train_inputs
from motet.data.parquet import read_parquet
from motet.errors import TrainingError
from motet.estimates import ESTIMATES, NAMES, Estimates
from motet.model.io import load_model
from motet.recipe_file import load_recipe
from tests.synthetic import write_shop

pytestmark = pytest.mark.usefixtures("ray_here")


def run_train(file, *overrides):
    run = Run(load_recipe(file, list(overrides)))
    claim_workspace(run)
    prepared = prepare(run)
    return train(run, prepared, embed(run, prepared))


def test_the_local_run_keeps_the_best_epoch(shop):
    _, results, _ = shop
    result = results["train"]
    epochs = read_metrics(result.folder)
    assert [row["epoch"] for row in epochs] == list(range(1, 21))
    best = max(epochs, key=lambda row: row["validation"]["watch.ndcg"])
    assert result.summary["best_epoch"] == best["epoch"]
    assert result.summary["validation"] == best["validation"]
    assert epochs[0]["rows"] == 40 * 18
    assert not list((result.folder.parent).glob("*.checkpoints"))
    model, card = load_model(result.folder)
    assert model.scored == ["like", "rating"]
    assert card.scales["rating"].low == 1.0
    assert card.scales["rating"].high == 5.0


@pytest.mark.slow
def test_two_workers_see_every_row_once_and_learn(tmp_path, minilm, shop):
    """720 train events are targets, whoever trains; the loss is that of all workers together."""
    _, results, _ = shop
    result = run_train(write_shop(tmp_path, minilm), "train.workers=2", "train.epochs=3")
    two, one = read_metrics(result.folder), read_metrics(results["train"].folder)
    assert [row["rows"] for row in two] == [720, 720, 720]
    assert two[-1]["losses"]["watch"] < two[0]["losses"]["watch"]
    assert two[0]["losses"]["watch"] == pytest.approx(one[0]["losses"]["watch"], rel=0.15)


@pytest.mark.slow
def test_a_refit_trains_on_validation_too_and_the_first_network_leaves_the_latest_out(tmp_path, minilm):
    """Of 20 events a user has 18 in train; two are held back from the first network, and 19 are the refit's."""
    file = write_shop(tmp_path, minilm)
    result = run_train(file, "train.epochs=2", "train.refit=true", "train.held_back=2", "retrieval.moments=2")
    first, again = read_metrics(result.folder), read_metrics(released(result.folder))
    assert [row["rows"] for row in first] == [40 * 16] * 2
    assert [row["rows"] for row in again] == [40 * 19] * result.summary["best_epoch"]
    assert all(row["validation"] == {} for row in again)
    counts = [read_parquet(folder / "counts.parquet").column("count").to_numpy().sum() for folder in
              (result.folder, released(result.folder))]  # fmt: skip
    assert counts == [640, 760]
    for folder in (result.folder, released(result.folder)):
        model, card = load_model(folder)
        estimates = Estimates.load(folder / ESTIMATES, [card.scales[name] for name in model.scored])
        assert card.shapes.estimates == 2 * len(NAMES)
        assert estimates.near_TII is not None
        assert not (folder / "folds").exists()
    assert not list((result.folder.parent).glob("*.checkpoints"))


def test_a_private_tower_spends_what_it_may_and_no_more(tmp_path, encoder_folder):
    """40 people of 18 events are three windows each; from the length of the log one would think that there are more."""
    overrides = ["train.workers=0", "train.epochs=3", "train.patience=3", "train.batch_size=4", "train.negatives=0"]
    result = run_train(write_shop(tmp_path, encoder_folder), *overrides, "train.private={epsilon: 5, delta: 0.001}")
    privacy = result.summary["privacy"]
    assert privacy["windows"] == 120
    assert 4.5 < privacy["epsilon"] <= 5.0
    assert [row["privacy"]["epsilon"] for row in read_metrics(result.folder)][-1] == privacy["epsilon"]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "read"), [("model.estimates=none", 0), ("model.estimates_limit=1", 2)])
def test_estimates_can_be_left_out_or_be_priors_alone(tmp_path, minilm, change, read):
    result = run_train(write_shop(tmp_path, minilm), "train.epochs=1", change)
    model, card = load_model(result.folder)
    assert card.shapes.estimates == read * len(NAMES)
    assert (result.folder / ESTIMATES).exists() == (read > 0)
    if read:
        scales = [card.scales[name] for name in model.scored]
        assert Estimates.load(result.folder / ESTIMATES, scales).near_TII is None


def train_workers():
    """Return the pids of the Ray Train workers among the processes that this one started."""
    pids = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                pids.append(process.pid)
    return pids


def kill_after_first_checkpoint(workspace, refit, killed, over):
    """Kill a worker once the first network, or the one that is refitted, has a checkpoint."""
    while not over.is_set() and not killed:
        found = workspace.glob("runs/*.checkpoints/epoch-*/manifest.json")
        if any((".refit." in str(path)) == refit for path in found):
            for pid in train_workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "refit", [pytest.param(False, marks=pytest.mark.timeout(300)), pytest.param(True, marks=pytest.mark.timeout(450))]
)
def test_a_killed_worker_costs_at_most_the_epoch_it_was_in(tmp_path, minilm, refit):
    killed, over = [], threading.Event()
    watcher = threading.Thread(target=kill_after_first_checkpoint, args=(tmp_path / "workspace", refit, killed, over))
    watcher.start()
    options = ["train.workers=2", "train.epochs=15", "train.patience=15", "model.layers=3"]
    if refit:  # this loss falls for long, so there are epochs after the kill
        options += ["train.refit=true", "train.select_by=watch.loss", "train.learning_rate=0.0005"]
    try:
        result = run_train(write_shop(tmp_path, minilm), *options)
    finally:
        over.set()
        watcher.join()
    assert len(killed) == 1
    epochs = [row["epoch"] for row in read_metrics(result.folder)]
    assert epochs == list(range(1, 16))
    if refit:
        assert result.summary["best_epoch"] > 5
        again = [row["epoch"] for row in read_metrics(released(result.folder))]
        assert again == list(range(1, result.summary["best_epoch"] + 1))


def test_who_trains_is_no_part_of_what_is_trained(shop):
    run, results, _ = shop
    asked = {}
    free = ("workers=1", "workers=4", "min_workers=2", "use_gpu=true", "rows_in_memory=5")
    for change in (*free, "learning_rate=0.5", "epochs=3"):
        name, value = change.split("=")
        settings = run.recipe.train.model_copy(update={name: json.loads(value)})
        recipe = run.recipe.model_copy(update={"train": settings})
        asked[name] = train_inputs(recipe, results["prepare"], results["embed"])
    own = train_inputs(run.recipe, results["prepare"], results["embed"])
    assert {name for name, one in asked.items() if one != own} == {"learning_rate", "epochs"}


@pytest.mark.slow
def test_a_request_for_more_than_there_is_is_refused_at_once(tmp_path, minilm):
    start = time.monotonic()
    with pytest.raises(TrainingError, match=r"train.workers x train.cpus_per_worker asks for 8 CPUs, this Ray has 2"):
        run_train(write_shop(tmp_path, minilm), "train.workers=8", "train.cpus_per_worker=1")
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("change", "stage", "words"),
    [
        ("train.use_gpu=true", "train", "train.workers with train.use_gpu asks for 1 GPUs, this Ray has 0; lower it"),
        ("encoder.num_gpus=0.5", "embed", "encoder.num_gpus asks for 0.5 GPUs, this Ray has 0; lower it"),
        ("index.gpu=true", "index", "index.gpu asks for 1 GPUs, this Ray has 0; lower it"),
    ],
)
def test_gpus_that_are_not_there_are_refused_by_each_stage(tmp_path, encoder_folder, change, stage, words):
    recipe = load_recipe(write_shop(tmp_path, encoder_folder), [change]).recipe
    for name in ("embed", "train", "index"):
        if name == stage:
            with pytest.raises(TrainingError, match=words):
                devices_for(recipe, name)
        else:
            devices_for(recipe, name)


def test_compilation_without_a_compiler_is_refused_in_the_worker(shop, tmp_path, monkeypatch):
    run, results, _ = shop
    settings = run.recipe.train.model_copy(update={"compile": True, "learning_rate": 0.5})  # not trained yet
    compiled = run.recipe.model_copy(update={"train": settings})
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match=r"train.compile = true needs a C\+\+ compiler"):
        train(Run(replace(run.loaded, recipe=compiled)), results["prepare"], results["embed"])


@pytest.mark.slow
@pytest.mark.parametrize("change", ["model.experts=ple", "model.experts=shared_bottom", "model.balance=uncertainty"])
def test_options_of_the_model_train(tmp_path, minilm, change):
    result = run_train(write_shop(tmp_path, minilm), change, "train.epochs=2", "train.negatives=10")
    assert len(read_metrics(result.folder)) == 2


@pytest.mark.slow
def test_a_failure_inside_a_worker_is_said_in_one_line(tmp_path, minilm):
    with pytest.raises(TrainingError, match=r"loss of task '\w+' is not finite.*lower train.learning_rate"):
        run_train(
            write_shop(tmp_path, minilm),
            "train.learning_rate=1.0e+30",
            "train.clip_norm=1.0e+30",
            "train.max_failures=0",
        )
