"""Which figures of tasks are shown, in which order."""

from collections.abc import Mapping
from typing import Any

_FIRST = ("auc", "logloss", "accuracy", "base_rate", "ece", "rmse", "mae", "deviance", "kappa", "ndcg")
"""The order of a task's figures; others follow as they come, and the number of rows is the last."""


def task_figures(tasks: Mapping[str, Any]) -> list[str]:
    """Return the names of the figures that the tasks' kinds gave, in the order of columns."""
    given = (name for entry in tasks.values() for name, value in entry.items() if isinstance(value, int | float))
    place = {name: place for place, name in enumerate(_FIRST)}
    return sorted(dict.fromkeys(given), key=lambda name: (name == "rows", place.get(name, len(place))))
