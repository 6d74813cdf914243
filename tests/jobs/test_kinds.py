"""A pipeline with every kind of task and their options: each score is trained, calibrated, served and reported."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from jobs.pipeline import run_pipeline
from jobs.stages import Run, claim_workspace
from motet.errors import DataError
from motet.recipe_file import load_recipe
from motet.recommend import Query, Recommender
from motet.storage import read_json
from motet.task import Task
from tests.synthetic import events, recipe, write_csv, write_recipe, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")

TASKS = [
    {"name": "watch", "kind": "retrieval"},
    {"name": "met", "kind": "binary", "label": "rating >= 2", "negatives": 2, "delay_days": 1},
    {"name": "like", "kind": "binary", "label": "rating >= 4", "given": "met", "sample_weight": "rating"},
    {"name": "stars", "kind": "ordinal", "label": "rating"},
    {"name": "plays", "kind": "count", "label": "rating * 2"},
    {"name": "best", "kind": "ranking", "label": "rating >= 4", "slate": "page"},
    {"name": "pairs", "kind": "ranking", "label": "rating", "slate": "page", "loss": "pairwise"},
]
ACTIONS = ("view", "cart", "buy")
SIGNALS = {"bought": "action == 'buy'", "carted": "action == 'cart'", "half": "rating / 2"}
SURFACES = {"home": {"weights": {"watch": 1.0, "like_given_met": 0.1, "best": 0.1}}}


def write(folder, minilm, sections, tasks=TASKS):
    write_shop(folder, minilm)
    rows = [{**row, "page": f"p{place // 4}", "action": ACTIONS[place % 3]} for place, row in enumerate(events())]
    write_csv(folder / "events.csv", rows)
    surfaces = {"home": {"weights": {task["name"]: 1.0 for task in tasks}}}
    content = recipe(folder, minilm) | {"tasks": tasks, "surfaces": surfaces} | sections
    return write_recipe(folder / "shop.yaml", content)


@pytest.mark.slow
def test_every_kind_is_served_and_reported(tmp_path, minilm):
    model = {"dim": 16, "history": 10, "layers": 1, "num_experts": 2, "expert_dim": 16, "experts": "ple",
             "expert_layers": 2, "task_embeddings": True, "sequence": "hstu", "balance": "pcgrad"}  # fmt: skip
    train = {"workers": 2, "epochs": 2, "batch_size": 16, "negatives": 10, "select_by": "like_given_met.auc"}
    file = write(tmp_path, minilm, {"model": model, "train": train, "surfaces": SURFACES})
    content = yaml.safe_load(file.read_text())
    content["data"]["interactions"]["signals"] = SIGNALS
    run = Run(load_recipe(write_recipe(file, content)))
    claim_workspace(run)
    results = run_pipeline(run)
    latest = max(row["timestamp"] for row in events())
    assert read_json(results["prepare"].folder / "features.json")["latest_ms"] == 1000 * latest
    names = {"watch", "met", "like", "stars", "plays", "best", "pairs", "like_given_met"}
    recommender = Recommender(results["release"].folder)
    for query in (Query(user="u1", k=5), Query(history=("i1", "i3"), k=5), Query(k=5)):
        _, items = recommender.recommend(query)
        assert len(items) == 5
        for item in items:
            assert set(item.scores) == names
            assert 0 <= item.scores["like"] <= 1
            assert 1 <= item.scores["stars"] <= 5
            assert item.scores["plays"] > 0
    _signals_are_read(recommender)
    tasks = read_json(results["evaluate"].folder / "report.json")["tasks"]
    assert set(tasks) == names - {"watch"}
    assert {"deviance", "mae"} < set(tasks["plays"])
    assert tasks["like_given_met"]["rows"] <= tasks["like"]["rows"]


def _signals_are_read(recommender):
    """They are stored beside the labels, and what a user did is not the same as if it were unknown."""
    people, model = recommender.embedder.people, recommender.embedder.model
    assert people.read[-3:] == ("signal:bought", "signal:carted", "signal:half")
    assert model.users.labels.in_features == 2 * len(people.read)
    known = people.find("u1")
    bought_S, carted_S, half_S = known.labels_ST[:, -3:].T
    assert set(bought_S) == set(carted_S) == {0.0, 1.0}
    assert not (bought_S * carted_S).any()
    np.testing.assert_allclose(half_S, known.labels_ST[:, people.read.index("label:stars")] / 2)
    labels_ST = known.labels_ST.copy()
    labels_ST[:, -3] = np.nan
    states = recommender.embedder.states([known, replace(known, labels_ST=labels_ST)])
    assert np.abs(states[0].raw_D - states[1].raw_D).max() > 1e-4


@pytest.mark.slow
def test_labels_that_a_kind_cannot_learn_are_said_before_training(tmp_path, minilm):
    tasks = [TASKS[0], TASKS[2] | {"given": None}, {"name": "half", "kind": "ordinal", "label": "rating / 2"}, TASKS[5]]
    run = Run(load_recipe(write(tmp_path, minilm, {}, tasks)))
    claim_workspace(run)
    with pytest.raises(DataError, match=r"task 'half', label 'rating / 2', has labels that are no whole numbers; use"):
        run_pipeline(run, "train")


ROOT = Path(__file__).resolve().parents[2]
TOLD = """
import json, sys
from pathlib import Path
from motet.recommend import Query, Recommender
from motet.evaluation.doctor_metrics import metric_of
_, items = Recommender(Path(sys.argv[1])).recommend(Query(user="u1", k=5))
print(json.dumps([metric_of("quantile"), [item.scores["most"] for item in items]]))
"""


@pytest.fixture
def installed(tmp_path):
    """The environment of a process that has a package with a kind of its own, as pip would install it."""
    site = tmp_path / "site"
    (site / "quantile-1.0.dist-info").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "quantile.py", site)
    (site / "quantile-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: quantile\nVersion: 1.0\n")
    named = "[motet.kinds]\nquantile = quantile:Quantile\n"
    (site / "quantile-1.0.dist-info" / "entry_points.txt").write_text(named)
    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
    apart = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    yield {**apart, "PYTHONPATH": f"{site}{os.pathsep}{os.environ['PYTHONPATH']}", "RAY_TMPDIR": folder}
    shutil.rmtree(folder, ignore_errors=True)


def run(arguments, environment):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_a_kind_of_another_package_is_trained_reported_judged_and_served(tmp_path, minilm, installed):
    tasks = [TASKS[0], {"name": "most", "kind": "quantile", "label": "rating"}]
    train = {"workers": 0, "epochs": 12, "batch_size": 16, "select_by": "most.pinball", "learning_rate": 0.01}
    file = write(tmp_path, minilm, {"train": train}, tasks)
    run(["jobs/pipeline.py", file], installed)
    report = next((tmp_path / "workspace" / "reports").glob("*/report.json"))
    found = read_json(report)["tasks"]["most"]
    assert found["kind"] == "quantile"
    assert found["below"] > 0.6  # of the test's ratings, half are 4 or 5: the median would leave half of them above
    assert 0 < found["pinball"] < 0.5
    assert ">pinball<" in report.with_name("report.html").read_text()
    (release,) = (path for path in (tmp_path / "workspace" / "releases").iterdir() if path.is_dir())
    metric, scores = json.loads(run(["-c", TOLD, release], installed).splitlines()[-1])
    assert metric == ["pinball", False]
    assert all(1 <= score <= 5 for score in scores)


def test_a_kind_that_is_not_installed_is_refused_by_name():
    with pytest.raises(ValueError, match="'retrieval', 'binary'"):
        Task(name="most", kind="quantile", label="rating")


def test_a_kind_with_the_name_of_another_is_refused(installed, tmp_path):
    named = tmp_path / "site" / "quantile-1.0.dist-info" / "entry_points.txt"
    named.write_text("[motet.kinds]\nbinary = motet.kinds.binary:Binary\n")
    done = subprocess.run([sys.executable, "-c", "import motet.kinds"], env=installed, capture_output=True, text=True,
                          timeout=100, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "motet.kinds.binary:Binary brings the kind 'binary', which is there already" in done.stderr
