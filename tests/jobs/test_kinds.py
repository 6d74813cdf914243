"""A pipeline with every kind of task and their options: each score is trained, calibrated, served and reported."""

import pytest

from jobs.pipeline import run_pipeline
from jobs.stages import Run, claim_workspace
from motet.errors import DataError
from motet.recipe_file import load_recipe
from motet.recommend import Query, Recommender
from motet.storage import read_json
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
SURFACES = {"home": {"weights": {"watch": 1.0, "like_given_met": 0.1, "best": 0.1}}}


def write(folder, minilm, sections, tasks=TASKS):
    write_shop(folder, minilm)
    rows = [{**row, "page": f"p{place // 4}"} for place, row in enumerate(events())]
    write_csv(folder / "events.csv", rows)
    surfaces = {"home": {"weights": {task["name"]: 1.0 for task in tasks}}}
    content = recipe(folder, minilm) | {"tasks": tasks, "surfaces": surfaces} | sections
    return write_recipe(folder / "shop.yaml", content)


@pytest.mark.slow
def test_every_kind_is_served_and_reported(tmp_path, minilm):
    model = {"dim": 16, "history": 10, "layers": 1, "num_experts": 2, "expert_dim": 16, "experts": "ple",
             "expert_layers": 2, "task_embeddings": True, "sequence": "hstu", "balance": "pcgrad"}  # fmt: skip
    train = {"workers": 2, "epochs": 2, "batch_size": 16, "negatives": 10, "select_by": "like_given_met.auc"}
    run = Run(load_recipe(write(tmp_path, minilm, {"model": model, "train": train, "surfaces": SURFACES})))
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
    tasks = read_json(results["evaluate"].folder / "report.json")["tasks"]
    assert set(tasks) == names - {"watch"}
    assert {"deviance", "mae"} < set(tasks["plays"])
    assert tasks["like_given_met"]["rows"] <= tasks["like"]["rows"]


@pytest.mark.slow
def test_labels_that_a_kind_cannot_learn_are_said_before_training(tmp_path, minilm):
    tasks = [TASKS[0], TASKS[2] | {"given": None}, {"name": "half", "kind": "ordinal", "label": "rating / 2"}, TASKS[5]]
    run = Run(load_recipe(write(tmp_path, minilm, {}, tasks)))
    claim_workspace(run)
    with pytest.raises(DataError, match=r"task 'half', label 'rating / 2', has labels that are no whole numbers; use"):
        run_pipeline(run, "train")
