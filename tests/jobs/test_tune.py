"""tune: a search over the synthetic shop, what it leaves, trials that are kept, a killed search, mistakes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.pipeline import run_pipeline
from jobs.stages import Result, Run
from jobs.tune import command, require_layer, tune
from motet.data.parquet import read_parquet, write_parquet
from motet.errors import RecipeError, TrainingError
from motet.recipe_file import load_recipe
from motet.storage import read_json, read_manifest
from tests.synthetic import recipe, write_recipe, write_shop

ROOT = Path(__file__).resolve().parents[2]
SPACE = {
    "train.learning_rate": {"log_uniform": [0.003, 0.03]},
    "tasks.like.weight": {"choice": [0.5, 2.0]},
}


def shop_file(folder, minilm, **tune):
    write_shop(folder, minilm)
    content = recipe(folder, minilm, tune={"space": SPACE, "trials": 2, **tune})
    return write_recipe(folder / "shop.yaml", content)


@pytest.fixture
def searched(shop, tmp_path, minilm):
    """What gives (run, result) of a search over the shop's prepared data, in the shop's workspace."""
    _, results, folder = shop

    def search(overrides=(), **section):
        content = recipe(folder, minilm, tune={"space": SPACE, "trials": 2, **section})
        file = write_recipe(tmp_path / "searched.yaml", content)
        run = Run(load_recipe(file, list(overrides)))
        return run, tune(run, results["prepare"], results["embed"], list(overrides))

    return search


def test_a_search_leaves_a_table_a_page_and_a_recipe_that_is_the_best(searched, capfd):
    run, result = searched(["train.epochs=2"])
    report = read_json(result.folder / "tune.json")
    assert [row["number"] for row in report["trials"]] == [0, 1, 2]
    assert report["trials"][0]["settings"] == {}
    assert all(set(row["metrics"]) == {"watch.ndcg", "like.auc", "rating.rmse"} for row in report["trials"])
    assert all(set(row["settings"]) == set(SPACE) for row in report["trials"][1:])
    best = max(report["trials"], key=lambda row: row["metrics"]["watch.ndcg"])
    assert report["best"] == best["number"]
    assert best["number"] in report["front"]
    assert "<img" in (result.folder / "tune.html").read_text()
    assert set(read_manifest(result.folder)["files"]) == {"tune.json", "tune.html", "best.yaml"}
    found = load_recipe(result.folder / "best.yaml").recipe
    assert found.train.epochs == 2
    assert found.name == "shop"
    if best["number"]:
        assert found.train.learning_rate == best["settings"]["train.learning_rate"]
        assert found.tasks[1].weight == best["settings"]["tasks.like.weight"]
    assert sorted(path.suffix for path in (run.workspace / "trials").iterdir()) == [".json"] * 3
    said = capfd.readouterr()
    assert "trial 0 (the recipe as it stands): epoch 1/2 watch.ndcg" in said.err
    assert said.out == ""


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_a_longer_search_only_what_is_new(searched):
    run, first = searched(["train.epochs=3"])
    kept = {path: path.stat().st_mtime_ns for path in (run.workspace / "trials").iterdir()}
    again, second = searched(["train.epochs=3"])
    assert second.folder == first.folder
    assert again.skipped == ["tune"]
    _, longer = searched(["train.epochs=3"], trials=3)
    old, new = (read_json(one.folder / "tune.json")["trials"] for one in (first, longer))
    assert new[:3] == old
    now = {path: path.stat().st_mtime_ns for path in (run.workspace / "trials").iterdir()}
    assert kept.items() <= now.items()
    assert len(now) == len(kept) + 1


@pytest.mark.slow
def test_hopeless_trials_are_stopped_early_and_those_that_diverge_are_told(searched):
    """The recipe's own rate learns; 1e-9 does not, and is behind after the first epoch."""
    space = {"train.learning_rate": {"choice": [1e-9, 1e30]}, "train.clip_norm": {"choice": [1e30]}}
    section = {"space": space, "trials": 2, "concurrent": 1, "reduction": 2}
    report = read_json(searched(["train.epochs=6"], **section)[1].folder / "tune.json")
    states = {row["settings"].get("train.learning_rate"): row for row in report["trials"]}
    assert (states[None]["state"], states[None]["epochs"]) == ("finished", 6)
    assert states[1e-9]["state"] == "stopped"
    assert states[1e-9]["epochs"] < 6
    assert states[1e30]["state"] == "diverged"
    assert "is not finite" in states[1e30]["said"]
    assert report["best"] == 0


@pytest.mark.slow
def test_a_search_in_which_every_trial_diverges(searched):
    rates = ["train.learning_rate=1.0e+30", "train.clip_norm=1.0e+30"]
    space = {"train.learning_rate": {"choice": [1e29]}}
    with pytest.raises(TrainingError, match=r"every trial diverged; lower the ranges of tune\.space"):
        searched(rates, space=space, trials=1)


@pytest.mark.slow
def test_what_else_goes_wrong_in_a_trial_ends_the_search(searched, shop, tmp_path):
    run, results, _ = shop
    lacking = shutil.copytree(results["embed"].folder, tmp_path / "embedded")
    for path in (lacking / "items").iterdir():
        rows = read_parquet(path)
        write_parquet(path, rows.slice(1))
    content = {**run.recipe.resolved(), "tune": {"space": SPACE, "trials": 1}}
    file = write_recipe(tmp_path / "r.yaml", content)
    embedded = Result(lacking, {**results["embed"].manifest, "id": "lacking"})
    with pytest.raises(TrainingError, match=r"trial 0 \(the recipe as it stands\) failed: .* one vector per item"):
        tune(Run(load_recipe(file)), results["prepare"], embedded, [])


@pytest.mark.slow
def test_the_best_is_built_by_the_pipeline_on_what_was_prepared(searched):
    """A task's weight decides nothing of prepare; the same network as in the trial comes out."""
    space = {"tasks.like.weight": {"choice": [3.0]}, "model.dropout": {"uniform": [0.0, 0.1]}}
    _, result = searched(["train.epochs=3"], space=space, trials=1, select_by="like.auc")
    found = load_recipe(result.folder / "best.yaml")
    assert found.recipe.train.select_by == "like.auc"
    run = Run(found)
    trained = run_pipeline(run, until="train")["train"]
    assert run.skipped == ["prepare", "embed"]
    assert trained.summary["validation"]["like.auc"] == pytest.approx(result.summary["score"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_killed_search_goes_on_where_it_was(tmp_path, minilm):
    file = shop_file(tmp_path, minilm, trials=3)
    arguments = [sys.executable, "jobs/tune.py", str(file), "--set", "train.epochs=3"]
    trials = tmp_path / "workspace" / "trials"
    with tempfile.TemporaryDirectory(prefix="rt", dir="/tmp") as folder:
        own = {**os.environ, "RAY_TMPDIR": folder}
        killed = subprocess.Popen(arguments, cwd=ROOT, env=own, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 200
        while not list(trials.glob("*.json")) and time.monotonic() < end:
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        kept = {path: path.stat().st_mtime_ns for path in trials.glob("*.json")}
        assert 0 < len(kept) < 4
        done = subprocess.run(arguments, cwd=ROOT, env=own, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert f"tune: 4 trials by watch.ndcg, {len(kept)} known" in done.stderr
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in trials.iterdir()}.items()
    assert len(list(trials.glob("*.json"))) == 4
    assert sorted(path.suffix for path in trials.iterdir()) == [".json"] * 4
    assert "Pareto front" in done.stdout
    assert "next: python jobs/pipeline.py" in done.stderr


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "RecipeError: {}: tune is missing; say what to search, such as"),
        ({"space": {"train.epoch": {"int": [1, 2]}}}, "tune.space.train.epoch: train.epoch is not a setting; did you"),
        (
            {"space": {"model.heads": {"choice": [3]}}},
            "tune.space.model.heads: model.heads 3 is refused: heads = 3 does",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line(tmp_path, encoder_folder, section, words):
    write_shop(tmp_path, encoder_folder)
    file = write_recipe(
        tmp_path / "shop.yaml", recipe(tmp_path, encoder_folder, **({"tune": section} if section else {}))
    )
    result = CliRunner().invoke(command, [str(file)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert words.format(file) in result.stderr
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        (["train.epochs=3", "tasks.1.weight=2", "workspace=w", "tune.trials=3"], True),
        (["model={dim: 8, heads: 1, history: 10, layers: 1, num_experts: 2, expert_dim: 16, dropout: 0.0}"], True),
        (["train={workers: 0}"], False),
    ],
)
def test_what_best_yaml_could_not_say_is_refused(tmp_path, encoder_folder, overrides, fits):
    """The recipe's train section has more than `workers`; set whole, the rest of it is gone."""
    loaded = load_recipe(shop_file(tmp_path, encoder_folder), overrides)
    if fits:
        require_layer(loaded, overrides)
    else:
        with pytest.raises(RecipeError, match=r"--set train=.workers: 0.: best.yaml could not say this"):
            require_layer(loaded, overrides)


def test_more_trials_at_once_than_there_are_cpus_for(searched):
    with pytest.raises(
        TrainingError, match=r"tune.concurrent x train.cpus_per_worker, and one for Ray Data, asks for 3 "
    ):
        searched(["train.cpus_per_worker=0.5", "train.epochs=1"], concurrent=4)
