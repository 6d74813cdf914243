"""From the rows of `offline.evaluate_users` to sections of the report: rankings, tasks, off-policy, experts."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from motet.errors import EvaluationError
from motet.evaluation.off_policy import Logged, estimates
from motet.evaluation.offline import OURS
from motet.evaluation.ranking_metrics import (
    EMPTY,
    METRICS,
    coverage,
    diversity,
    novelty,
)
from motet.evaluation.sliced import slices
from motet.evaluation.table_rows import Rows, attributes_of, found_of, interval_of, ranked_rows, task_report
from motet.recipe import Recipe

_LISTS_FOR_DIVERSITY = 2_000
_MOST_EXPOSED = 200


def sections(rows: Rows, items: pa.Table, recipe: Recipe) -> dict[str, Any]:
    """Return the report's rankings and tasks; under a time split those without a history stand apart.

    Raises:
        EvaluationError: if there is nobody to rank for.
    """
    apart, ranked = recipe.data.split.kind == "time", ranked_rows(rows, recipe)
    if not ranked:
        raise EvaluationError(
            "evaluate: no user of the test part has a history and a target that is new to them; "
            "enlarge data.split.test or change evaluate.target"
        )
    parts: dict[str, Any] = {"ranking": _ranking(ranked, items, recipe)}
    new = [row for row in rows if row["metrics"] and not row["warm"]]
    if apart and new:
        parts["ranking_new_users"] = _ranking(new, items, recipe)
    if (cold := _cold(rows, items, recipe)) is not None:
        parts["ranking_cold_items"] = cold
    parts["slices"] = slices(rows, items, recipe)
    parts["exposure"] = exposure(ranked, items)
    parts["tasks"] = {score.name: task_report(score, *found_of(score.name, rows)) for score in recipe.scores}
    if apart:
        with_history = [row for row in rows if row["warm"]]
        for score in recipe.scores:
            parts["tasks"][f"{score.name}, users with a history"] = task_report(
                score, *found_of(score.name, with_history)
            )
    return parts | {"off_policy": off_policy(rows, recipe), "experts": experts(rows, recipe)}


def exposure(rows: Rows, items: pa.Table) -> dict[str, Any]:
    """Return how many items there are, and by id the share of our lists that the 200 are in that are in most."""
    places = np.concatenate([np.unique(row["lists"][OURS]) for row in rows])
    counts_I = np.bincount(places[places != EMPTY], minlength=items.num_rows)
    most = np.argsort(-counts_I, kind="stable")[:_MOST_EXPOSED]
    ids = items.column("item")
    shares = {ids[int(place)].as_py(): float(counts_I[place] / len(rows)) for place in most if counts_I[place]}
    return {"items": items.num_rows, "shares": shares}


def _cold(rows: Rows, items: pa.Table, recipe: Recipe) -> dict[str, Any] | None:
    """Return the ranking among cold items, of which each share is one of the whole; None if nobody took one."""
    asked = [{"user": row["user"], **row["cold"]} for row in rows if row.get("cold")]
    if not asked:
        return None
    most = recipe.evaluate.cold_events
    count = int((items.column("count").to_numpy() <= most).sum())
    shares = {"items": count, "share": count / items.num_rows, "most_events": most}
    return shares | _ranking(asked, items, recipe)


def _ranking(rows: Rows, items: pa.Table, recipe: Recipe) -> dict[str, Any]:
    counts_I = items.column("count").to_numpy()
    attributes = _attributes(items)
    systems, ndcg, owner_N = {}, {}, np.unique([row["user"] for row in rows], return_inverse=True)[1]
    for name in rows[0]["lists"]:
        lists = [row["lists"][name] for row in rows]
        values = {metric: np.array([row["metrics"][name][metric] for row in rows]) for metric in METRICS}
        ndcg[name] = values["ndcg"]
        few = lists[:_LISTS_FOR_DIVERSITY]
        systems[name] = {metric: interval_of(values[metric], owner_N, recipe.seed) for metric in METRICS} | {
            "coverage": coverage(lists, items.num_rows),
            "diversity": _mean(diversity(one, attributes) for one in few),
            "novelty": _mean(novelty(one, counts_I) for one in few),
        }
    names = [name for name in systems if name != OURS]
    differences = {name: interval_of(ndcg[OURS] - ndcg[name], owner_N, recipe.seed) for name in names}
    counts = {"k": recipe.evaluate.k, "users": int(owner_N.max()) + 1, "lists": len(rows)}
    return counts | {"systems": systems, "differences": differences}


def _attributes(items: pa.Table) -> list[frozenset[str]]:
    columns = attributes_of(items).values()
    return [frozenset(value for column in columns for value in column[row]) for row in range(items.num_rows)]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def off_policy(rows: Rows, recipe: Recipe) -> dict[str, Any] | None:
    """Return for each binary task what the release's choice would be worth; None if no propensity is known.

    The target policy shows one item, drawn evenly from the release's list of `evaluate.k` for the evaluated surface.
    Its list for an event is made of what `evaluate.history` says is known of the user; the reward is the task's label,
    and events whose label is unknown are left out. The reward model of DR is the release's own task head.
    """
    if not any(row["policy"] for row in rows):
        return None
    tasks = {}
    for score in recipe.scores:
        if score.is_binary_task and (log := _logged(score.name, rows)) is not None:
            tasks[score.name] = estimates(log, recipe.seed)
    return {"k": recipe.evaluate.k, "tasks": tasks}


def _logged(name: str, rows: Rows) -> Logged | None:
    logged = [row for row in rows if row["policy"]]
    found_N3, owner_N = found_of(name, logged)
    propensity_N, target_N = (
        np.concatenate([np.array(row["policy"][key], np.float64) for row in logged]) for key in ("propensity", "target")
    )
    expected_N = np.array([row["policy"]["expected"][name] for row in logged])[owner_N]
    _, cluster_U = np.unique([row["user"] for row in logged], return_inverse=True)
    kept_N = ~np.isnan(propensity_N) & ~np.isnan(found_N3[:, 1])
    columns = (found_N3[:, 1], propensity_N, target_N, found_N3[:, 0], expected_N, cluster_U[owner_N])
    return Logged(*(one[kept_N] for one in columns)) if kept_N.any() else None


def experts(rows: Rows, recipe: Recipe) -> dict[str, list[float]] | None:
    """Return the mean weight of each expert by task over all held-out events; None without gates."""
    gated = [row for row in rows if row["gates"]]
    if not gated:
        return None
    names = [task.name for task in recipe.scored_tasks]
    events_U = [len(row["tasks"][names[0]]) for row in gated]
    mean_TE = np.average([np.array(row["gates"]) for row in gated], axis=0, weights=events_U)
    return dict(zip(names, mean_TE.tolist(), strict=True))
