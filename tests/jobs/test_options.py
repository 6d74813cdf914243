"""Whole pipelines with other options than the shop's: each must end in a release that answers."""

import json

import pytest

from jobs.pipeline import run_pipeline
from jobs.stages import Run, claim_workspace
from motet.recipe_file import load_recipe
from motet.recommend import Query, Recommender
from motet.storage import read_json
from tests.synthetic import recipe, write_recipe, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")


def release(folder, minilm, change):
    write_shop(folder, minilm)
    content = recipe(folder, minilm)
    change(content)
    run = Run(load_recipe(write_recipe(folder / "shop.yaml", content)))
    claim_workspace(run)
    results = run_pipeline(run)
    return results, Recommender(results["release"].folder)


@pytest.mark.slow
def test_the_least_recipe(tmp_path, minilm):
    """One task, two sources, items with a title only, no user table."""

    def change(content):
        content["data"]["users"] = None
        content["data"]["items"] = {"path": content["data"]["items"]["path"], "text": ["title"]}
        content["data"]["interactions"].pop("ranges")
        content["tasks"] = [{"name": "next", "kind": "retrieval"}]
        content["train"] |= {"epochs": 2, "select_by": "next.recall"}
        content["encoder"]["whitening"] = False
        content["retrieval"]["sources"] = ["vectors", "popularity"]
        content["surfaces"] = {"home": {"weights": {"next": 1.0}}}

    results, recommender = release(tmp_path, minilm, change)
    people = recommender.embedder.people
    assert people.find("u1").text_X.tolist() == people.stranger.text_X.tolist()
    for query in (Query(user="u1", k=5), Query(k=5), Query(text="even", k=5)):
        _, items = recommender.recommend(query)
        assert len(items) == 5
        assert set(items[0].scores) == {"next"}
        assert set(items[0].sources) <= {"vectors", "popularity"}
    report = read_json(results["evaluate"].folder / "report.json")
    assert set(report["ranking"]["systems"]) == {"motet", "vectors", "popularity"}


@pytest.mark.slow
def test_time_split_liked_targets_and_other_parts(tmp_path, minilm):
    def change(content):
        content["data"]["split"] = {"kind": "time", "validation": 0.15, "test": 0.15}
        content["data"]["clean"] = {
            "missing": {"numbers": "mean", "categories": "most_frequent"},
            "outliers": [0.05, 0.95],
        }
        content["model"] |= {"experts": "ple", "balance": "famo"}
        content["train"] |= {"epochs": 2, "select_by": "like.auc"}
        content["index"] = {"kind": "hnsw", "recall_floor": 0.9}
        content["ranking"] = {"calibration": "isotonic", "diversity": 0.3}
        content["evaluate"] = {"target": "like", "surface": "comedy", "k": 3}
        content["data"]["items"]["text"] = ["title"]
        content["encoder"]["pooling"] = "cls"

    results, recommender = release(tmp_path, minilm, change)
    report = read_json(results["evaluate"].folder / "report.json")
    assert report["protocol"].startswith("Time:")
    assert report["protocol"].endswith("positives of like.")
    assert {"like", "like, users with a history"} <= set(report["tasks"])
    assert report["ranking"]["k"] == 3
    comedies = {row["item"] for row in recommender.embedder.items.table.to_pylist() if "comedy" in row["attr:genres"]}
    _, items = recommender.recommend(Query(user="u1", surface="comedy", k=4))
    assert {item.item for item in items} <= comedies


@pytest.mark.slow
def test_repeats_kept_sampled_softmax_ivf(tmp_path, minilm):
    """With repeats kept, an item of the history may be recommended to whoever asks for it."""

    def change(content):
        content["data"]["interactions"]["repeats"] = "keep"
        content["model"] |= {"experts": "shared_bottom", "balance": "dwa"}
        content["train"] |= {"epochs": 3, "negatives": 8, "label_smoothing": 0.1, "rows_in_memory": 0}
        content["index"] = {"kind": "ivf", "nprobe": 4}
        content["ranking"] = {"calibration": "none"}
        content["retrieval"]["sources"] = ["item_knn", "user_knn", "transitions", "profile"]

    results, recommender = release(tmp_path, minilm, change)
    assert json.loads((results["index"].folder / "index.json").read_text())["kind"] == "ivf"
    seen = recommender.embedder.people.find("u3").items_S
    ids = {recommender.embedder.items.ids[place] for place in seen}
    _, items = recommender.recommend(Query(user="u3", k=10))
    assert {item.item for item in items} & ids
    _, items = recommender.recommend(Query(user="u3", k=10, exclude_seen=True))
    assert not {item.item for item in items} & ids
    report = read_json(results["evaluate"].folder / "report.json")
    assert "Ranked: all items. Targets: any event." in report["protocol"]
