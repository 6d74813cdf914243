"""doctor: a planted conflict and a planted help are found, a second call trains nothing, unknown runs are one line.

The planted shop has one narrow bottom for all tasks, no estimates beside it, and labels that are coins of the item:

    click   a coin, known everywhere, weight 5
    like    another coin, which the bottom can't hold beside the first, weight 0.001: loses to training alone
    rare    the coin of click, known for few training events, weight 0.001: gains from training together
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ray
from typer.testing import CliRunner

from jobs.doctor import NO_LABEL, command, diagnose, train_alone
from jobs.doctor_runs import find_subject
from jobs.doctor_work import _network, held_out_scores
from jobs.train import released
from motet.data.parquet import read_parquet
from motet.errors import DataError, EvaluationError, RecipeError
from motet.storage import read_json, read_manifest, write_json, write_manifest
from tests.builders import COLOURS, THINGS
from tests.synthetic import recipe, write_csv, write_recipe

ROOT = Path(__file__).resolve().parents[2]
USERS, ITEMS = 40, 30
TASKS = [
    {"name": "watch", "kind": "retrieval", "weight": 0.001},
    {"name": "click", "kind": "binary", "label": "clicked >= 1", "weight": 5.0},
    {"name": "like", "kind": "binary", "label": "rating >= 4", "weight": 0.001},
    {"name": "rare", "kind": "binary", "label": "bought >= 1", "weight": 0.001},
]


def planted_events():
    """20 events of each user: 12 to train on (`bought` is known for 1 of 24), 3 for validation, 5 for the test."""
    random = np.random.default_rng(2)
    clicked, liked = (random.permutation(ITEMS) % 2 for _ in range(2))
    rows = []
    for user in range(USERS):
        for step, item in enumerate(random.permutation(ITEMS)[:20]):
            known = step >= 12 or random.random() < 1 / 24
            rows.append(
                {
                    "user_id": f"u{user}",
                    "item_id": f"i{item}",
                    "timestamp": 1_600_000_000 + 86_400 * step + user,
                    "clicked": int(clicked[item]),
                    "rating": 5 if liked[item] else 1,
                    "bought": int(clicked[item]) if known else "",
                    "late": step % 2 if step < 12 else "",
                    "fold": "train" if step < 12 else "validation" if step < 15 else "test",
                }
            )
    return rows


def write_planted(folder, encoder):
    write_csv(folder / "events.csv", planted_events())
    titles = [f"{COLOURS[n % 5]} {THINGS[n % 4]}" for n in range(ITEMS)]
    write_csv(
        folder / "items.csv", [{"item_id": f"i{n}", "title": titles[n], "genres": COLOURS[n % 3]} for n in range(ITEMS)]
    )
    content = recipe(folder, encoder)
    content["data"] = {
        "interactions": {"path": str(folder / "events.csv")},
        "items": {"path": str(folder / "items.csv"), "text": ["title"], "categories": ["genres"]},
        "split": {"kind": "column", "column": "fold"},
    }
    content |= {"tasks": TASKS, "surfaces": {"home": {"weights": {"watch": 1.0}}}}
    content["model"] |= {"experts": "shared_bottom", "dim": 4, "expert_dim": 4, "id_dropout": 0.0, "estimates": "none"}
    content["train"] |= {"epochs": 25, "patience": 25, "batch_size": 8, "select_by": "click.loss"}
    content["encoder"] |= {"max_tokens": 8}
    return write_recipe(folder / "shop.yaml", content)


@pytest.fixture(scope="module")
def planted(tmp_path_factory, encoder_folder, ray_here):
    """(subject, result, recipe's file) of the planted shop."""
    folder = tmp_path_factory.mktemp("planted")
    file = write_planted(folder, encoder_folder)
    subject = find_subject(str(file), [], folder / "nothing")
    return subject, diagnose(subject), file


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_planted_conflict_and_the_planted_help_are_found(planted):
    _, result, _ = planted
    report = read_json(result.folder / "doctor.json")
    readings = {name: entry["verdict"]["reading"] for name, entry in report["tasks"].items()}
    assert readings["like"] == "hurts", readings
    assert readings["rare"] == "helps", readings
    like, rare = report["tasks"]["like"], report["tasks"]["rare"]
    assert like["alone"] > like["together"] + 0.1
    assert rare["together"] > rare["alone"] + 0.1
    assert (like["rows"], like["users"]) == (200, 40)
    advice = {one["rule"]: one["setting"] for one in like["verdict"]["advice"]}
    assert advice["one network for all"] == "model.experts=mmoe"
    assert advice["drowned"] == "tasks.2.weight=0.01"
    assert set(report["gradients"]["pulls"]) == {"watch", "click", "like", "rare"}
    assert report["gradients"]["batches"] == 10  # 80 windows by 8
    assert report["experts"] == {"kind": "shared_bottom", "gates": [], "dead": []}
    assert {"head items", "tail items", "genres = red"} <= set(like["slices"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_report_is_a_folder_of_its_own_with_a_manifest(planted):
    subject, result, _ = planted
    assert result.folder.parent == subject.run.workspace / "reports"
    assert set(read_manifest(result.folder)["files"]) == {"doctor.json", "doctor.html"}
    page = (result.folder / "doctor.html").read_text()
    assert "like loses" in page
    assert "rare gains" in page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_call_trains_nothing_and_a_run_is_known_by_its_id(planted):
    """By recipe, folder and id it is the same run; networks and report are found again."""
    subject, result, file = planted
    runs = sorted(path.name for path in (subject.run.workspace / "runs").iterdir())
    assert len(runs) == 5  # the run, and each of the four tasks alone
    name = subject.trained.folder.name
    for handle in (str(file), str(subject.trained.folder), name[:10]):
        again = find_subject(handle, [], subject.run.workspace)
        assert again.trained.id == subject.trained.id
        assert diagnose(again).folder == result.folder
    assert sorted(path.name for path in (subject.run.workspace / "runs").iterdir()) == runs


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_prints_the_verdict(planted):
    _, _, file = planted
    said = CliRunner().invoke(command, [str(file)])
    assert said.exit_code == 0, said.output
    assert "like loses" in said.stdout
    assert "try --set model.experts=mmoe" in said.stdout
    assert "doctor.html" in said.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_more_seeds_train_more_networks(planted):
    subject, _, _ = planted
    report = read_json(diagnose(subject, seeds=2).folder / "doctor.json")
    assert report["seeds"] == [42, 43]
    assert len(report["tasks"]["like"]["gains"]) == 2
    assert len(list((subject.run.workspace / "runs").iterdir())) == 10


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_networks_that_are_trained_again_and_a_task_that_validation_does_not_know(planted):
    """With `train.refit` the released networks are compared: validation's events are in their counts of items."""
    _, _, file = planted
    subject = find_subject(str(file), ["train.refit=true", "train.epochs=2", "tasks.3.label=late >= 1"], ROOT)
    trained = train_alone(subject, 1)
    assert trained.skipped == {"rare": NO_LABEL}
    assert set(trained.networks) == {"together@42", "watch@42", "click@42", "like@42"}
    report = read_json(diagnose(subject).folder / "doctor.json")
    assert list(report["tasks"]) == ["watch", "click", "like"]
    assert report["skipped"] == {"rare": NO_LABEL}
    counts = read_parquet(released(subject.trained.folder) / "counts.parquet").column("count").to_pylist()
    assert sum(counts) == USERS * 15
    found = released(subject.trained.folder), subject.prepared.folder, subject.embedded.folder
    folders = [str(path) for path in found]
    step = _network(*folders, subject.run.recipe.train.model_dump_json())
    assert step.catalogue.counts_I.tolist() == counts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_test_part_without_an_event_is_refused(planted, monkeypatch):
    subject, _, _ = planted
    monkeypatch.setattr("jobs.doctor_work.held_out_users", lambda *_: ray.data.from_items([]))
    with pytest.raises(EvaluationError, match=r"the test part holds no event; enlarge data\.split\.test"):
        held_out_scores(subject, {"together@42": subject.trained.folder})


@pytest.fixture
def workspace(tmp_path):
    """A workspace with two runs of other code and a folder of another stage."""
    for name in ("aa11", "aa22"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        write_manifest(tmp_path / "runs" / name, {"stage": "train", "inputs": {"code": "old"}})
    (tmp_path / "drafts" / "bb").mkdir(parents=True)
    write_manifest(tmp_path / "drafts" / "bb", {"stage": "index", "inputs": {}})
    return tmp_path


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        ("aa", ["'aa' begins 2 runs: aa11, aa22; give more of it"]),
        ("aa13", ["'aa13' is no recipe and no run of", "did you mean 'aa11'?"]),
        ("zzzz", ["'zzzz' is no recipe and no run of", "valid: aa11, aa22"]),
        ("aa11", ["another version of the code", "give the recipe's file instead"]),
        ("{}/drafts/bb", ["of the stage 'index'; give a folder of runs/"]),
    ],
)
def test_a_run_that_is_not_there_is_one_line_with_the_fix(workspace, handle, words):
    result = CliRunner().invoke(command, [handle.format(workspace), "--workspace", str(workspace)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("DataError: ")
    assert all(word in result.stderr for word in words), result.stderr


def test_an_empty_workspace_and_a_missing_recipe(tmp_path):
    with pytest.raises(DataError, match=r"holds no run; give a recipe's YAML file, or --workspace"):
        find_subject("aa", [], tmp_path)
    with pytest.raises(RecipeError, match=r"no\.yaml: no such recipe"):
        find_subject(str(tmp_path / "no.yaml"), [], tmp_path)


def test_settings_are_for_recipes(workspace):
    with pytest.raises(DataError, match=r"--set train.epochs=2 is for a recipe, and 'aa11' is a run"):
        find_subject("aa11", ["train.epochs=2"], workspace)


def test_a_run_whose_tables_are_gone(workspace):
    from jobs.stages import code_version
    from jobs.train import CODE

    inputs = {"code": code_version(*CODE), "prepared": "gone", "embedded": "gone"}
    write_manifest(workspace / "runs" / "aa11", {"stage": "train", "inputs": inputs})
    with pytest.raises(DataError, match=r"prepared does not hold gone any more.*give the recipe's file"):
        find_subject("aa11", [], workspace)


def test_a_run_of_settings_that_are_no_more(workspace):
    from jobs.stages import code_version
    from jobs.train import CODE

    for kind in ("prepared", "embedded"):
        (workspace / kind / "x").mkdir(parents=True)
    write_json(workspace / "embedded" / "x" / "encoder.json", {"model": "m", "dim": 3, "key": "k"})
    write_json(workspace / "workspace.json", {"recipe": "shop"})
    ids = {
        kind: write_manifest(workspace / kind / "x", {"stage": kind, "inputs": {"data": {}}})["id"]
        for kind in ("prepared", "embedded")
    }
    inputs = {"code": code_version(*CODE), **ids, "tasks": [TASKS[0]], "model": {}, "train": {"no_more": 1}, "seed": 1}
    write_manifest(workspace / "runs" / "aa11", {"stage": "train", "inputs": inputs})
    with pytest.raises(DataError, match=r"written by another version of motet; give the recipe's file"):
        find_subject("aa11", [], workspace)


def test_motet_doctor_calls_the_job(workspace):
    """The command line starts the job as a process of its own and ends with its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "motet.cli", "doctor", "zzzz", "--workspace", str(workspace), "--seeds", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("DataError: 'zzzz' is no recipe and no run of")
