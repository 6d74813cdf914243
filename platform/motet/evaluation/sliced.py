"""The report's slices: how lists and tasks do for cold, head and tail items, cold users, and the largest categories.

A target outside of a slice counts as none: the NDCG of a slice of items asks how high those of its items stand that
the user took, in the same list of all items.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from motet.evaluation.offline import OURS
from motet.evaluation.ranking_metrics import rank_metrics
from motet.evaluation.slices import slices_of
from motet.evaluation.table_rows import Rows, attributes_of, found_of, interval_of, ranked_rows, task_report
from motet.recipe import Recipe
from motet.task import Score

POPULARITY = "popularity"


def slices(rows: Rows, items: pa.Table, recipe: Recipe) -> dict[str, Any]:
    """Return for each slice `events`, `lists` (how many of them hold a target of it), `ndcg` by system and `tasks`.

    The systems are ours and popularity, or the best other one if that is not among the sources.

    Args:
        rows: of `offline.evaluate_users`.
        items: items.parquet of the release.
        recipe: its recipe.
    """
    lengths = [len(row["events"]["places"]) for row in rows]
    owner_N = np.repeat(np.arange(len(rows)), lengths)
    places_N = np.array([place for row in rows for place in row["events"]["places"]], np.int64)
    known_N = np.array([row["events"]["known"] for row in rows], np.int64)[owner_N]
    counts_I = items.column("count").to_numpy()
    ranked = {id(row) for row in ranked_rows(rows, recipe)}
    systems = _systems(rows, ranked)
    said = [(score, found_of(score.name, rows)) for score in recipe.scores]
    report = {}
    for name, within_N in slices_of(places_N, known_N, counts_I, attributes_of(items)).items():
        wanted: dict[int, set[int]] = {}
        for row, place in zip(owner_N[within_N], places_N[within_N], strict=True):
            if id(rows[row]) in ranked and place in rows[row]["wanted"]:
                wanted.setdefault(int(row), set()).add(int(place))
        report[name] = {
            "events": int(within_N.sum()),
            "lists": len(wanted),
            "ndcg": {system: _ndcg(rows, wanted, system, recipe) for system in systems} if wanted else {},
            "tasks": {score.name: _figures(score, *found, within_N) for score, found in said},
        }
    return report


def _systems(rows: Rows, ranked: set[int]) -> list[str]:
    """Return ours and the one to compare it with."""
    lists = [row["metrics"] for row in rows if id(row) in ranked]
    others = [name for name in lists[0] if name != OURS]
    if POPULARITY in others or not others:
        return [OURS, *(name for name in others if name == POPULARITY)]
    return [OURS, max(others, key=lambda name: float(np.mean([one[name]["ndcg"] for one in lists])))]


def _ndcg(rows: Rows, wanted: Mapping[int, set[int]], system: str, recipe: Recipe) -> dict[str, float]:
    k = recipe.evaluate.k
    values = [rank_metrics(rows[row]["lists"][system], targets, k)["ndcg"] for row, targets in wanted.items()]
    _, owner_N = np.unique([rows[row]["user"] for row in wanted], return_inverse=True)
    return interval_of(np.array(values), owner_N, recipe.seed)


def _figures(score: Score, found_N3: np.ndarray, owner_N: np.ndarray, within_N: np.ndarray) -> dict[str, Any]:
    """Return the figures by which the score's kind tells two releases apart, and the rows with a known label."""
    report = task_report(score, found_N3[within_N], owner_N[within_N])
    return {name: report[name] for name in (*score.task.rules.figures, "rows")}
