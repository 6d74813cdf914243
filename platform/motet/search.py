"""The search space of a recipe: which settings may be searched, whether their values fit, and draws from it.

A trial is a mapping from dotted settings to values. Values are judged by the recipe itself: what it refuses in every
draw is a mistake of the space, and draws that it refuses are drawn again.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from motet.settings import ModelSettings
from motet.task import Task
from motet.train_settings import TrainSettings
from motet.tune_settings import TuneSettings, Value

Trial = dict[str, Value]
Check = Callable[[dict[str, Any]], str | None]
"""Gives what is wrong with plain settings, or None."""

OF_TASKS = ("weight", "negatives", "loss")
_NOT_LEARNED = "changes how a network is trained, not what it learns"
_OF_TRAIN = {
    **dict.fromkeys(("workers", "cpus_per_worker", "threads_per_worker", "use_gpu", "compile", "rows_in_memory",
                     "max_failures"),
                    _NOT_LEARNED),
    "select_by": "chooses the epoch by what tune.select_by says",
    "refit": "trains once more after the search",
    "held_back": "is for the fusion, after the search",
}  # fmt: skip
_ATTEMPTS = 100


def searchable(tasks: tuple[Task, ...]) -> list[str]:
    """Return the settings that may be searched."""
    found = [f"train.{name}" for name in TrainSettings.model_fields if name not in _OF_TRAIN]
    found += [f"model.{name}" for name in ModelSettings.model_fields]
    return found + [f"tasks.{task.name}.{name}" for task in tasks for name in OF_TASKS]


def why_not(setting: str, tasks: tuple[Task, ...]) -> str | None:
    """Return why a setting may not be searched, with the fix, or None."""
    if setting in (valid := searchable(tasks)):
        return None
    section, _, rest = setting.partition(".")
    if section == "train" and rest in _OF_TRAIN:
        return f"{_OF_TRAIN[rest]}; leave it out"
    if section in ("data", "encoder"):
        return "decides what prepare and embed leave, which all trials share; search train, model or tasks"
    names = [task.name for task in tasks]
    if section == "tasks" and rest.partition(".")[0] in names and rest.partition(".")[2] in Task.model_fields:
        return f"decides what prepare leaves, which all trials share; of a task search {', '.join(OF_TASKS)}"
    if section not in ("train", "model", "tasks"):
        return "is not read by training; search train, model or tasks"
    return f"is not a setting{_near(setting, valid)}"


def _near(setting: str, valid: list[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(setting, valid, 1, 0.5)
    return f"; did you mean {found[0]!r}?" if found else f"; search {', '.join(valid)}"


def assigned(plain: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved recipe with the trial's values.

    Args:
        plain: `Recipe.resolved`.
        trial: values by dotted setting; a task is known by its name.
    """
    changed = copy.deepcopy(dict(plain))
    for setting, value in trial.items():
        section, *parts, last = setting.split(".")
        target = changed[section]
        for part in parts:
            target = next(task for task in target if task["name"] == part)
        target[last] = value
    return changed


def wrong_space(settings: TuneSettings, plain: Mapping[str, Any], tasks: tuple[Task, ...], check: Check) -> Iterator[
    tuple[str, str]
]:  # fmt: skip
    """Yield (setting, what is wrong with it) for each setting of the space that cannot be searched.

    Args:
        settings: the recipe's tune section.
        plain: the resolved recipe, without faults.
        tasks: its tasks.
        check: judges plain settings.
    """
    wrong = {setting: why for setting in settings.space if (why := why_not(setting, tasks))}
    yield from wrong.items()
    if wrong:
        return
    others = [_draw(settings, np.random.default_rng(place)) for place in range(20)]
    for setting, distribution in settings.space.items():
        for value in distribution.tried:
            found = check(assigned(plain, {setting: value}))
            if found and all(check(assigned(plain, {**other, setting: value})) for other in others):
                yield setting, f"{value!r} is refused: {found}"
                break


def draw_trials(settings: TuneSettings, plain: Mapping[str, Any], seed: int, check: Check) -> list[Trial]:
    """Return different draws that the recipe takes; fewer than `settings.trials` if the space holds no more.

    The n-th is the same however many are asked for.
    """
    trials: list[Trial] = []
    for number in range(settings.trials):
        random = np.random.default_rng([seed, number])
        for _ in range(_ATTEMPTS):
            trial = _draw(settings, random)
            if trial not in trials and check(assigned(plain, trial)) is None:
                trials.append(trial)
                break
    return trials


def _draw(settings: TuneSettings, random: np.random.Generator) -> Trial:
    return {setting: distribution.draw(random) for setting, distribution in settings.space.items()}
