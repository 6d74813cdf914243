"""What a search found: each trial's figures, the front over the tasks' metrics, and the best as a recipe.

A trial's figures are those of its best epoch by the metric that is searched for. One that diverged, or was stopped
before it gave a metric, has no place on the front.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from motet.evaluation.pareto import front
from motet.kinds import KINDS, LARGER_IS_BETTER
from motet.recipe import Recipe
from motet.recipe_source import EXTENDS
from motet.search import Trial, assigned

AS_IT_STANDS = 0
"""Number of the trial that is the recipe itself."""


@dataclass(frozen=True)
class Outcome:
    """One trial: what it set, how it ended, and its epochs as `training.loop.Epoch.metrics` gives them."""

    settings: Trial
    state: Literal["finished", "stopped", "diverged"]
    epochs: list[dict[str, Any]]
    said: str = ""
    """Why it diverged."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self)

    def best(self, metric: str) -> dict[str, Any] | None:
        """Return the epoch with the best value of a metric, or None."""
        known = [row for row in self.epochs if metric in row["validation"]]
        sign = 1 if larger_is_better(metric) else -1
        return max(known, key=lambda row: sign * row["validation"][metric], default=None)


def larger_is_better(metric: str) -> bool:
    """Return the direction of <task>.<metric>."""
    return LARGER_IS_BETTER[metric.rpartition(".")[2]]


def selection(recipe: Recipe) -> str:
    """Return the metric that is searched for."""
    return (recipe.tune.select_by if recipe.tune else None) or recipe.selection


def shown_metrics(recipe: Recipe) -> list[str]:
    """Return the metrics that are traded off: those of `tune.metrics`, or one a task; the one searched for is there."""
    asked = recipe.tune.metrics if recipe.tune else None
    names = list(asked or (f"{task.name}.{next(iter(KINDS[task.kind].selection))}" for task in recipe.tasks))
    return names if selection(recipe) in names else [selection(recipe), *names]


def trial_recipe(recipe: Recipe, trial: Trial) -> Recipe:
    """Return the recipe that a trial trains by: one process, without a second training, the epoch by `selection`."""
    plain = assigned(recipe.without_search.resolved(), trial)
    plain["train"] |= {"workers": 0, "refit": False, "held_back": 0, "select_by": selection(recipe)}
    return Recipe.model_validate(plain)


def build(recipe: Recipe, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the report as JSON types; `outcomes[AS_IT_STANDS]` is the recipe itself."""
    wanted, metrics = selection(recipe), shown_metrics(recipe)
    trials = [_row(number, one, wanted, metrics) for number, one in enumerate(outcomes)]
    whole = [row for row in trials if all(name in row["metrics"] for name in metrics)]
    points = [[row["metrics"][name] for name in metrics] for row in whole]
    on_front = front(points, [larger_is_better(name) for name in metrics])
    sign = 1 if larger_is_better(wanted) else -1
    judged = [row for row in trials if wanted in row["metrics"]]
    best = max(judged, key=lambda row: sign * row["metrics"][wanted], default=None)
    return {
        "recipe": recipe.name,
        "select_by": wanted,
        "metrics": {name: "larger" if larger_is_better(name) else "smaller" for name in metrics},
        "settings": list(recipe.tune.space) if recipe.tune else [],
        "trials": trials,
        "front": [row["number"] for row, on in zip(whole, on_front, strict=True) if on],
        "best": None if best is None else best["number"],
    }


def _row(number: int, one: Outcome, wanted: str, metrics: Sequence[str]) -> dict[str, Any]:
    epoch = one.best(wanted)
    figures = {} if epoch is None else epoch["validation"]
    return {
        "number": number,
        "settings": one.settings,
        "state": one.state,
        "said": one.said,
        "epochs": len(one.epochs),
        "best_epoch": None if epoch is None else epoch["epoch"],
        "seconds": round(sum(row["seconds"] for row in one.epochs), 2),
        "metrics": {name: figures[name] for name in metrics if name in figures},
    }


def overlay(recipe_file: str, said: str, changes: Mapping[str, Any]) -> str:
    """Return the text of a recipe that extends another.

    Args:
        recipe_file: the file below.
        said: where the changes come from; stands at the top.
        changes: values by dotted setting.
    """
    nested: dict[str, Any] = {}
    for setting, value in changes.items():
        *parts, last = setting.split(".")
        target = nested
        for part in parts:
            target = target.setdefault(part, {})
        target[last] = value
    content = {EXTENDS: os.fspath(Path(recipe_file).absolute()), **nested}
    comment = "".join(f"# {line}\n" for line in said.splitlines())
    return comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
