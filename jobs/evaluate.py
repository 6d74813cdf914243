"""evaluate: the three steps of serving over all held-out users (Ray Data), beside each source alone; the report."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from jobs.asking import asked_at, held_out_rows, held_out_users, load_recommender
from jobs.stages import Result, Run, code_version, run_stage
from jobs.train import read_metrics
from motet.data.parquet import read_parquet
from motet.data.split import TEST
from motet.errors import EvaluationError
from motet.evaluation.offline import OURS, protocol_in_words
from motet.evaluation.ranking_metrics import (
    METRICS,
    bootstrap_interval,
    coverage,
    diversity,
    novelty,
    paired_bootstrap,
)
from motet.evaluation.report import write_report
from motet.recipe import Recipe
from motet.storage import read_json
from motet.task import Score

CODE = ("platform/motet/evaluation", "platform/motet/kinds", "platform/motet/recommend", "jobs/evaluate.py")
_LISTS_FOR_DIVERSITY = 2_000


def evaluate(run: Run, prepared: Result, trained: Result, draft: Result) -> Result:
    """Run the stage."""
    inputs = {
        "evaluate": run.recipe.evaluate.model_dump(mode="json"),
        "draft": draft.id,
        "code": code_version(*CODE),
    }
    work = partial(_work, run=run, prepared=prepared, trained=trained, draft=draft)
    return run_stage(run, "evaluate", "reports", inputs, work)


def _work(folder: Path, run: Run, prepared: Result, trained: Result, draft: Result) -> dict[str, Any]:
    recipe = run.recipe
    users = held_out_users(prepared.folder / "histories", TEST, recipe.evaluate.max_users, recipe.seed)
    rows = _score(draft.folder, users, asked_at(prepared.folder, TEST))
    items = read_parquet(draft.folder / "items.parquet")
    parts = _parts(rows, items, recipe)
    report = {
        "recipe": recipe.name,
        "protocol": protocol_in_words(recipe),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "ledger": read_json(prepared.folder / "ledger.json"),
        "counts": {
            "users": prepared.summary["users"],
            "items": items.num_rows,
            "interactions": prepared.summary["interactions"],
            "evaluated_users": parts["ranking"]["users"],
        },
        **parts,
        "training": read_metrics(trained.folder),
        "index": {
            "kind": draft.summary["kind"],
            "recall@100": draft.summary["recall"],
            "floor": recipe.index.recall_floor,
        },
        "stages": dict(run.seconds),
    }
    if (draft.folder / "fusion_report.json").is_file():
        report["fusion"] = read_json(draft.folder / "fusion_report.json")
    write_report(folder, report)
    ours = report["ranking"]["systems"]
    shown = ", ".join(f"{name} {ours[name]['ndcg']['mean']:.4f}" for name in ours)
    users_ranked = parts["ranking"]["users"]
    line = f"{users_ranked:,} users, NDCG@{recipe.evaluate.k}: {shown}"
    return {"line": line, "users": users_ranked, "ndcg": ours[OURS]["ndcg"]["mean"]}


def _parts(rows: list[dict[str, Any]], items: pa.Table, recipe: Recipe) -> dict[str, Any]:
    """Return the report's rankings and tasks; under a time split those without a history stand apart."""
    ranked = [row for row in rows if row["metrics"]]
    apart = recipe.data.split.kind == "time"
    warm, new = ([row for row in ranked if row["warm"] is kind] for kind in (True, False))
    if not (warm if apart else ranked):
        raise EvaluationError(
            "evaluate: no user of the test part has a history and a target that is new to them; "
            "enlarge data.split.test or change evaluate.target"
        )
    parts = {"ranking": _ranking(warm if apart else ranked, items, recipe)}
    if apart and new:
        parts["ranking_new_users"] = _ranking(new, items, recipe)
    parts["tasks"] = {score.name: _task(score, rows) for score in recipe.scores}
    if apart:
        with_history = [row for row in rows if row["warm"]]
        for score in recipe.scores:
            parts["tasks"][f"{score.name}, users with a history"] = _task(score, with_history)
    return parts


def _score(draft: Path, users: ray.data.Dataset, asked_ms: int | None) -> list[dict[str, Any]]:
    score = partial(_score_chunk, draft=str(draft), asked_ms=asked_ms)
    rows = users.map_batches(score, batch_size=1, batch_format="pyarrow").iter_rows()
    return sorted((json.loads(row["row"]) for row in rows), key=lambda row: str(row["user"]))


def _score_chunk(batch: pa.Table, draft: str, asked_ms: int | None) -> pa.Table:
    from motet.evaluation.offline import evaluate_users

    recommender = load_recommender(draft)
    recipe = recommender.retriever.recipe
    known, least = recipe.evaluate.history, recipe.evaluate.least_history
    rows = []
    for chunk in batch.to_pylist():
        rows += evaluate_users(
            recommender, held_out_rows(chunk["file"], chunk["users"], TEST, recipe.liked_label, known, asked_ms, least)
        )
    return pa.table({"row": [json.dumps(row) for row in rows]})


def _ranking(rows: list[dict[str, Any]], items: pa.Table, recipe: Recipe) -> dict[str, Any]:
    counts_I = items.column("count").to_numpy()
    attributes = _attributes(items)
    systems, ndcg = {}, {}
    for name in rows[0]["lists"]:
        lists = [row["lists"][name] for row in rows]
        values = {metric: np.array([row["metrics"][name][metric] for row in rows]) for metric in METRICS}
        ndcg[name] = values["ndcg"]
        few = lists[:_LISTS_FOR_DIVERSITY]
        systems[name] = {metric: _interval(values[metric], recipe.seed) for metric in METRICS} | {
            "coverage": coverage(lists, items.num_rows),
            "diversity": _mean(diversity(one, attributes) for one in few),
            "novelty": _mean(novelty(one, counts_I) for one in few),
        }
    names = [name for name in systems if name != OURS]
    pairs = {name: paired_bootstrap(ndcg[OURS], ndcg[name], recipe.seed) for name in names}
    differences = {name: dict(zip(("mean", "low", "high"), pair, strict=True)) for name, pair in pairs.items()}
    return {"k": recipe.evaluate.k, "users": len(rows), "systems": systems, "differences": differences}


def _attributes(items: pa.Table) -> list[frozenset[str]]:
    columns = [name for name in items.column_names if name.startswith("attr:")]
    rows = [items.column(name).to_pylist() for name in columns]
    return [frozenset(value for column in rows for value in column[row] or []) for row in range(items.num_rows)]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _interval(values_U: np.ndarray, seed: int) -> dict[str, float]:
    low, high = bootstrap_interval(values_U, seed)
    return {"mean": float(values_U.mean()), "low": low, "high": high}


def _task(score: Score, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the report of one score; slates of different users are different slates."""
    users = [np.array(row["tasks"][score.name], np.float64).reshape(-1, 3) for row in rows]
    found_N3 = np.concatenate([np.zeros((0, 3)), *users])
    owner_N = np.repeat(np.arange(len(users)), [len(one) for one in users])
    slates_N = np.where(found_N3[:, 2] < 0, -1, owner_N * 2**32 + found_N3[:, 2])
    return {"kind": score.task.kind, **score.task.rules.report(found_N3[:, 0], found_N3[:, 1], slates_N)}
