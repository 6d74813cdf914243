"""Pipelines with every source and with other splits, and what the past may know: of one workspace's stages."""

import re
from dataclasses import replace

import numpy as np
import pytest

from jobs.pipeline import run_pipeline
from jobs.stages import Run, claim_workspace
from jobs.train import released
from motet.data.parquet import read_parquet
from motet.data.split import TEST, VALIDATION
from motet.evaluation.fitting import gather_examples
from motet.evaluation.held_out import held_out
from motet.recipe_file import load_recipe
from motet.recommend import Query, Recommender
from motet.storage import file_sha256, read_json
from tests.synthetic import events, recipe, write_csv, write_recipe, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")
QUICK = {"rounds": 10, "rows_per_leaf": 5, "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder_folder):
    """A shop whose events name their part: of ten events eight train, one validation, one test."""
    place = tmp_path_factory.mktemp("fusing")
    write_shop(place, encoder_folder)
    names = ["train"] * 8 + ["validation", "test"]
    rows = [{**row, "part_of": names[number % 10]} for number, row in enumerate(events())]
    write_csv(place / "events.csv", rows)
    claim_workspace(Run(load_recipe(write_recipe(place / "claim.yaml", recipe(place, encoder_folder)))))
    return place


def run(folder, encoder, split, until="release", **sections):
    content = recipe(folder, encoder)
    content["data"]["split"] = split
    content["train"]["epochs"] = 1
    content["retrieval"] |= {"trees": QUICK, "moments": 2} | sections.pop("retrieval", {})
    name = "-".join(map(str, split.values()))
    return run_pipeline(Run(load_recipe(write_recipe(folder / f"{name}.yaml", content | sections))), until)


BY_TIME = {"kind": "time", "validation": 0.15, "test": 0.15}
SLOW = pytest.mark.slow


@SLOW
@pytest.mark.parametrize("split", [BY_TIME, {"kind": "leave_one_out"}])
def test_the_sources_that_help_are_chosen_of_all(folder, encoder_folder, split):
    results = run(
        folder, encoder_folder, split, retrieval={"sources": "auto", "als_factors": 4, "popularity_of_liked": True}
    )
    draft = results["index"].folder
    about = read_json(draft / "fusion_report.json")
    assert len(about["without"]) == 10
    chosen = read_json(draft / "recipe.json")["retrieval"]["sources"]
    assert chosen == about["chosen"]
    assert set(chosen) <= set(about["without"])
    recommender = Recommender(results["release"].folder)
    assert list(recommender.retriever.sources) == chosen
    features = recommender.retriever.features.names
    assert list(recommender.retriever.fusion.names) == features
    _, items = recommender.recommend(Query(user="u1", k=5))
    assert len(items) == 5
    assert not (draft / "moments").exists()


MIXED = [{"kind": "column", "column": "part_of"}, pytest.param({"kind": "random", "test": 0.1}, marks=SLOW)]
BEFORE = {
    "evaluate": {"history": "before"},
    "retrieval": {"similarity": "bm25", "sources": ["item_knn", "ease", "popularity"], "ablate": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("split", MIXED)
def test_parts_mixed_in_time_are_indexed(folder, encoder_folder, split):
    results = run(folder, encoder_folder, split, "index", **BEFORE)
    table = read_parquet(results["prepare"].folder / "histories")
    parts = [part for row in table.column("parts").to_pylist() for part in row]
    shares = [parts.count(part) / len(parts) for part in range(3)]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.04)
    names = {path.name for path in results["index"].folder.iterdir()}
    assert {"ease.safetensors", "neighbours.parquet", "trees.txt"} <= names
    assert not {"met.parquet", "met", "moments"} & names


@pytest.mark.slow
@pytest.mark.parametrize("split", MIXED)
def test_parts_mixed_in_time_know_what_came_before_each_event(folder, encoder_folder, split):
    results = run(folder, encoder_folder, split, **BEFORE)
    report = read_json(results["evaluate"].folder / "report.json")
    assert set(report["ranking"]["systems"]) == {"motet", "item_knn", "ease", "popularity"}
    about = report["fusion"]
    assert about["chosen"] == ["item_knn", "ease", "popularity"]  # ablate judges and leaves the recipe's choice
    assert set(about["without"]) == set(about["chosen"])
    page = (results["evaluate"].folder / "report.html").read_text()
    told = re.sub(r"<[^>]+>", " ", page)
    for name, ndcg in about["without"].items():
        assert re.search(rf"\b{name}\s+{ndcg:.4f}\s+{about['ndcg'] - ndcg:.4f}\b", told), name
    histories = read_parquet(results["prepare"].folder / "histories").column("parts").to_pylist()
    assert report["tasks"]["rating"]["rows"] == sum(parts.count(2) for parts in histories)


@pytest.mark.slow
def test_ratings_around_each_event_by_factors_of_items(folder, encoder_folder):
    """The served scores of a held-out event are those of the estimates with the later events known."""
    model = {**recipe(folder, encoder_folder)["model"], "estimates": "factors"}
    results = run(folder, encoder_folder, MIXED[0], "evaluate", **{**BEFORE, "evaluate": {"history": "around"}},
                  model=model)  # fmt: skip
    draft, prepared = results["index"].folder, results["prepare"].folder
    recommender = Recommender(draft)
    latents = recommender.reranker.estimates.latents
    assert len(latents) == len(recommender.reranker.model.scored)
    assert all(np.abs(one.items_IZ).max() > 0 for one in latents)
    held = held_out(read_parquet(prepared / "histories"), TEST, recommender.retriever.recipe.liked_label, "around")
    assert any(len(one.later.items_S) for one in held)
    one = next(one for one in held if len(one.later.items_S) > 2)
    person = one.person(recommender.embedder.people.find(one.user))
    states = recommender.embedder.states([person, replace(person, later=None)])
    known, unknown = (recommender.reranker.raw_scores(state, one.targets_N) for state in states)
    assert not np.allclose(known, unknown)
    report = read_json(results["evaluate"].folder / "report.json")
    assert report["tasks"]["rating"]["rows"] == sum(len(one.targets_N) for one in held)
    assert "later" in report["protocol"]


@pytest.mark.slow
def test_a_rolling_evaluation_and_a_logit(folder, encoder_folder):
    results = run(folder, encoder_folder, BY_TIME, evaluate={"history": "rolling", "least_history": 3},
                  retrieval={"fusion": "logit"})  # fmt: skip
    names = {path.name for path in results["release"].folder.iterdir()}
    assert "fusion.json" in names
    assert "trees.txt" not in names
    report = read_json(results["evaluate"].folder / "report.json")
    held = held_out(read_parquet(results["prepare"].folder / "histories"), TEST, "label:like")
    assert report["ranking"]["lists"] > report["ranking"]["users"]
    assert report["ranking"]["users"] <= len(held)


@pytest.mark.slow
def test_a_catalogue_too_large_for_ease_is_refused_by_the_index(folder, encoder_folder):
    from motet.errors import RetrievalError

    with pytest.raises(RetrievalError, match=r"30 items are above retrieval\.ease_limit = 20; leave ease out"):
        run(
            folder,
            encoder_folder,
            {"kind": "leave_one_out"},
            "index",
            retrieval={"sources": ["ease"], "ease_limit": 20},
        )


@pytest.mark.slow
def test_the_calibrators_are_those_of_the_network_that_is_released(folder, encoder_folder):
    """The first network left the latest moment out and was asked before; its scores must not be what was fitted on."""
    train = {**recipe(folder, encoder_folder)["train"], "epochs": 2, "refit": True, "held_back": 1}
    results = run(folder, encoder_folder, {"kind": "leave_one_out"}, "index", train=train,
                  ranking={"calibration": "platt"}, retrieval={"moments": 1})  # fmt: skip
    draft = results["index"].folder
    recommender = Recommender(draft)
    trained = results["train"].folder
    assert file_sha256(draft / "model.safetensors") == file_sha256(released(trained) / "model.safetensors")
    assert file_sha256(draft / "model.safetensors") != file_sha256(trained / "model.safetensors")
    held = held_out(
        read_parquet(results["prepare"].folder / "histories"), VALIDATION, recommender.retriever.recipe.liked_label
    )
    examples = gather_examples(recommender, sorted(held, key=lambda one: one.user))
    stored = read_json(draft / "calibrators.json")
    for column, score in enumerate(recommender.retriever.recipe.scores):
        raw_N = np.concatenate([one.raw_NT[:, column] for one in examples])
        labels_N = np.concatenate([one.labels_NT[:, column] for one in examples])
        moments_N = np.concatenate([one.moments_N for one in examples])
        scale = recommender.reranker.card.scales[score.task.name]
        expected = score.task.rules.fit("platt", raw_N, labels_N, scale, moments_N).to_dict()
        assert stored[score.name]["kind"] == expected["kind"]
        assert stored[score.name]["x"] == pytest.approx(expected["x"], rel=1e-3)
