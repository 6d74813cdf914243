"""The groceries recipe over a small shop with the columns of its data: three tasks, repeat purchases."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.pipeline import run_pipeline
from jobs.stages import Run, claim_workspace
from motet.data.parquet import write_parquet
from motet.inputs import check_inputs
from motet.recipe_file import load_recipe
from motet.recommend import Query, Recommender
from motet.storage import read_json

ROOT = Path(__file__).resolve().parents[2]
HOUSEHOLDS, PRODUCTS, BASKETS, DAY_S = 60, 40, 40, 86_400

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_here")]


def write_groceries(folder: Path) -> None:
    """Every household has five products that it buys again and again, and tries others."""
    random, rows = np.random.default_rng(3), []
    for household in range(HOUSEHOLDS):
        own = random.permutation(PRODUCTS)[:5]
        for basket in range(BASKETS):
            moment = 1_483_228_800 + DAY_S * 7 * basket + 60 * household
            bought = set(random.choice(own, 2, replace=False).tolist()) | {int(random.integers(PRODUCTS))}
            for place, product in enumerate(sorted(bought)):
                coupon = int(random.random() < 0.1)
                rows.append((household, product, moment + place, random.poisson(1) + 1.0, 2.0 * product, coupon))
    names = ("user_id", "item_id", "timestamp", "quantity", "sales_value", "coupon_used")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    write_parquet(folder / "interactions.parquet", pa.table(columns))
    ids = list(range(PRODUCTS))
    items = {
        "item_id": ids,
        "title": [f"{'sweet' if n % 2 else 'salty'} snack {n}" for n in ids],
        "product_category": ["sweets" if n % 2 else "crisps" for n in ids],
        "department": ["GROCERY"] * PRODUCTS,
        "brand": ["Private" if n % 3 else "National" for n in ids],
    }
    write_parquet(folder / "items.parquet", pa.table(items))
    some = {name: [str(n % 4) for n in range(HOUSEHOLDS)] for name in ("age", "income", "household_size")}
    people = {"user_id": list(range(HOUSEHOLDS)), **some, "marital_status": [None] * HOUSEHOLDS}
    write_parquet(folder / "users.parquet", pa.table(people))


def test_the_recipe_runs_to_a_release_without_code_of_its_own(tmp_path, minilm, monkeypatch) -> None:
    write_groceries(tmp_path)
    monkeypatch.setenv("MOTET_GROCERIES", str(tmp_path))
    monkeypatch.setenv("MOTET_WORKSPACE", str(tmp_path / "workspace"))
    small = ["model.dim=16", "train.workers=1", "train.epochs=2", "train.negatives=20", "retrieval.moments=1",
             f"encoder.model={minilm}"]  # fmt: skip
    run = Run(load_recipe(ROOT / "recipes" / "complete_journey.yaml", small))
    check_inputs(run.loaded)
    claim_workspace(run)
    results = run_pipeline(run)
    report = read_json(results["evaluate"].folder / "report.json")
    systems = {name: one["ndcg"]["mean"] for name, one in report["ranking"]["systems"].items()}
    assert systems["again"] > systems["popularity_all"]  # what they bought before is what they buy
    assert systems["motet"] > systems["popularity_all"]
    assert {"again", "coupon", "quantity"} <= set(report["tasks"])
    assert report["tasks"]["quantity"]["deviance"] > 0
    assert {"item_knn", "popularity", "again"} <= set(systems)
    recommender = Recommender(results["release"].folder)
    assert recommender.embedder.people.read[-1] == "signal:spent"
    household = next(iter(recommender.embedder.people.rows))
    own = {recommender.retriever.items.ids[place] for place in recommender.embedder.people.find(household).items_S}
    _, shown = recommender.recommend(Query(user=household, k=10))
    assert own & {item.item for item in shown}  # nothing is left out for having been bought
