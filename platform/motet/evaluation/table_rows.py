"""What the sections of the report read of the rows of `offline.evaluate_users`."""

from typing import Any

import numpy as np
import pyarrow as pa

from motet.evaluation.bootstrap import ratio_interval
from motet.recipe import Recipe
from motet.task import Score

Rows = list[dict[str, Any]]


def ranked_rows(rows: Rows, recipe: Recipe) -> Rows:
    """Return the rows that the ranking is over: those with a target, under a split by time of users with a history."""
    apart = recipe.data.split.kind == "time"
    return [row for row in rows if row["metrics"] and (row["warm"] or not apart)]


def found_of(name: str, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return [prediction, label, slate] of a score over all events [N, 3], and the row that each comes from [N]."""
    users = [np.array(row["tasks"][name], np.float64).reshape(-1, 3) for row in rows]
    owner_N = np.repeat(np.arange(len(users)), [len(one) for one in users])
    return np.concatenate([np.zeros((0, 3)), *users]), owner_N


def task_report(score: Score, found_N3: np.ndarray, owner_N: np.ndarray) -> dict[str, Any]:
    """Return the report of one score over what `found_of` gives; slates of different users are different slates."""
    slates_N = np.where(found_N3[:, 2] < 0, -1, owner_N * 2**32 + found_N3[:, 2])
    return {"kind": score.task.kind, **score.task.rules.report(found_N3[:, 0], found_N3[:, 1], slates_N)}


def attributes_of(items: pa.Table) -> dict[str, list[list[str]]]:
    """Return by category the values that each item has."""
    names = [name for name in items.column_names if name.startswith("attr:")]
    return {name.removeprefix("attr:"): [row or [] for row in items.column(name).to_pylist()] for name in names}


def interval_of(values_N: np.ndarray, owner_N: np.ndarray, seed: int) -> dict[str, float]:
    """Return the mean over lists with its interval over users, who have one list, or one for each event."""
    found = ratio_interval(values_N, np.ones(len(values_N)), owner_N, seed)
    assert found is not None
    return {"mean": float(values_N.mean()), "low": found[0], "high": found[1]}
