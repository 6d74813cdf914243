"""Does training the tasks together help? The report of `motet doctor`, put together from scores, epochs and probes.

**Alone** is this: the same network with all its heads and inputs, the same seed, rows and settings, but only one
task's loss counts. The other losses, that of retrieval too, get the weight 1e-12, which AdamW's epsilon leaves
without effect on what is shared; `model.balance` is static, as one task has nothing to balance, and the epoch is
chosen by this task's own metric on validation. So a task alone still reads the labels of all tasks in a user's
history, as it does together: the difference is that of the losses. A binary task with `given` trains all the heads of
its chain through its own loss over all events; P(task | given) alone is not judged.

Held out is the test part; the figures are those of the network's own outputs, before fusion and calibration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from motet.evaluation.doctor_metrics import Rows, compare, metric_of
from motet.evaluation.doctor_verdict import Choice, Conflict, Facts, verdict
from motet.evaluation.slices import slices_of
from motet.kinds import KINDS
from motet.recipe import Recipe
from motet.task import Task

WITHOUT = 1e-12
"""Weight of a loss that is to have no effect."""
LEAST_USERS = 20
"""Users of whom a slice must hold events before the verdict speaks of it."""
TOGETHER = "together"
_SLICE_RESAMPLES = 200

Epochs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Found:
    """What the networks left."""

    scores: pa.Table
    """Of `doctor_scores.score_rows`; networks are called `network_name`."""
    counts_I: np.ndarray
    """Training events of each item."""
    categories: Mapping[str, Sequence[Sequence[str]]]
    """By name, of each item its values."""
    epochs: Epochs
    """Of the run itself."""
    alone: Mapping[str, Epochs]
    """Of each task's first run alone."""
    gradients: Mapping[str, Any]
    experts: Mapping[str, Any]
    seeds: Sequence[int] = (42,)
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Tasks that could not be trained alone, and why."""


def network_name(task: str, seed: int) -> str:
    """Return the name of the network of a task alone, or of `TOGETHER`, by its seed."""
    return f"{task}@{seed}"


def own_metric(task: Task, epochs: Epochs) -> str | None:
    """Return the metric that chooses the epoch of a task alone: the first of its kind that every epoch has.

    None if there is none: validation has no label of the task.
    """
    names = [f"{task.name}.{metric}" for metric in KINDS[task.kind].selection]
    return next((name for name in names if all(name in one["validation"] for one in epochs)), None)


def alone_recipe(recipe: Recipe, task: str, metric: str, seed: int) -> Recipe:
    """Return the recipe that trains one task alone; see the top of this module.

    Args:
        recipe: that of the run.
        task: any task of it.
        metric: that chooses the epoch: <task>.<metric>.
        seed: of the training.
    """
    plain = recipe.resolved()
    plain["tasks"] = [one | {"weight": 1.0 if one["name"] == task else WITHOUT} for one in plain["tasks"]]
    plain["model"] |= {"balance": "static"}
    plain["train"] |= {"select_by": metric}
    return Recipe.model_validate(plain | {"seed": seed})


def build(recipe: Recipe, found: Found) -> dict[str, Any]:
    """Return the report, but for what says which run it is.

    Returns:
        `settings` (those that the rules look at), `seeds`, `gradients`, `experts`, `training` (the epochs `together`
        and `alone` by task), `skipped`, and `tasks`: for each its `kind`, `metric`, the figures of `compare`, its
        `slices` and its `verdict`.
    """
    tasks = {task.name: _task(recipe, task, found) for task in recipe.tasks if task.name not in found.skipped}
    return {
        "settings": _settings(recipe),
        "seeds": list(found.seeds),
        "tasks": tasks,
        "skipped": dict(found.skipped),
        "gradients": dict(found.gradients),
        "experts": dict(found.experts),
        "training": {"together": list(found.epochs), "alone": {name: list(one) for name, one in found.alone.items()}},
    }


def _settings(recipe: Recipe) -> dict[str, Any]:
    model, train = recipe.model, recipe.train
    return {
        "model.balance": model.balance,
        "model.experts": model.experts,
        "model.num_experts": model.num_experts,
        "model.dim": model.dim,
        "model.id_dropout": model.id_dropout,
        "train.epochs": train.epochs,
        "train.select_by": recipe.selection,
    }


def _task(recipe: Recipe, task: Task, found: Found) -> dict[str, Any]:
    table = found.scores
    users_N = np.unique(table.column("user").to_numpy(zero_copy_only=False), return_inverse=True)[1]
    rows = Rows(users_N, table.column(f"label:{task.name}").to_numpy(), _slates(table, task, users_N))
    together, alone = (
        [table.column(f"{network_name(name, seed)}:{task.name}").to_numpy() for seed in found.seeds]
        for name in (TOGETHER, task.name)
    )
    entry = compare(task.kind, rows, together, alone, recipe.seed)
    items_N, met_N = table.column("item").to_numpy(), table.column("met").to_numpy()
    slices = {
        name: compare(task.kind, rows, together, alone, recipe.seed, _SLICE_RESAMPLES, within_N)
        for name, within_N in slices_of(items_N, met_N, found.counts_I, found.categories).items()
    }
    metric, larger = metric_of(task.kind)
    about = {"kind": task.kind, "metric": metric, "larger_is_better": larger, "weight": task.weight}
    facts = facts_of(recipe, task, entry, slices, found)
    return {**about, **entry, "slices": slices, "verdict": verdict(facts)}


def _slates(table: pa.Table, task: Task, users_N: np.ndarray) -> np.ndarray:
    """Return slates that no two users share."""
    if task.slate is None:
        return np.full(len(users_N), -1)
    slates_N = table.column(f"slate:{task.name}").to_numpy()
    return np.where(slates_N < 0, -1, users_N.astype(np.int64) * 2**32 + slates_N)


def facts_of(
    recipe: Recipe, task: Task, entry: Mapping[str, Any], slices: Mapping[str, Mapping[str, Any]], found: Found
) -> Facts:
    """Return what the rules of the verdict look at."""
    pulls = found.gradients["pulls"]
    strongest = max(pulls, key=lambda name: pulls[name]) if any(pulls.values()) else None
    gates = [one for one in found.experts["gates"] if one["task"] == task.name]
    metric, larger = metric_of(task.kind)
    judged = [row for row in found.epochs if row["validation"]]
    return Facts(
        task=task.name,
        place=[one.name for one in recipe.tasks].index(task.name),
        scored=task.scored,
        metric=metric,
        gain=entry["gain"],
        low=entry["low"],
        high=entry["high"],
        gains=entry["gains"],
        users=entry["users"],
        settings=_settings(recipe) | {"weight": task.weight},
        conflict=_worst(task.name, found.gradients["pairs"]),
        strongest=strongest,
        pull=pulls[task.name] / pulls[strongest] if strongest else None,
        choice=_choice(f"{task.name}.{metric}", larger, judged),
        rising=bool(judged) and len(judged) == recipe.train.epochs and bool(judged[-1]["best"]),
        dead=_dead(task.name, found.experts["dead"]),
        state=gates[-1]["state"] if gates else None,
        weak=weak_slices(slices),
    )


def weak_slices(slices: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the gains of the slices whose interval is below 0; draws of a handful of users say nothing."""
    sure = {name: one for name, one in slices.items() if one["users"] >= LEAST_USERS and one["high"] is not None}
    return {name: one["gain"] for name, one in sure.items() if one["high"] < 0}


def _dead(task: str, dead: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the experts that no gate uses, without other tasks' own."""
    names = dict.fromkeys(str(one["expert"]) for one in dead)
    return [name for name in names if not name.startswith("own of ") or name == f"own of {task}"]


def _worst(task: str, pairs: Sequence[Mapping[str, Any]]) -> Conflict | None:
    mine = [pair for pair in pairs if task in pair["tasks"] and pair["cosine"] is not None]
    if not mine:
        return None
    pair = min(mine, key=lambda one: float(one["cosine"]))
    other = next(name for name in pair["tasks"] if name != task)
    return Conflict(other, pair["cosine"], pair["negative"], pair["lowest"])


def _choice(name: str, larger: bool, epochs: Epochs) -> Choice | None:
    """Return the epoch that is best by a metric beside the one that was kept, None if it wasn't measured."""
    values = {row["epoch"]: row["validation"][name] for row in epochs if name in row["validation"]}
    kept = max((row["epoch"] for row in epochs if row["best"]), default=0)
    if kept not in values:
        return None
    best = (max if larger else min)(values, key=lambda epoch: values[epoch])
    return Choice(best, values[best], kept, values[kept])
