"""The search itself: which trials there are, and Ray Tune over those whose outcome is not known yet."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from jobs.cluster import require
from jobs.fit import Fit, Labels, read_labels
from jobs.stages import Result, Run, code_version, say
from jobs.train import train_inputs
from jobs.trial import EPOCH, SCORE, Planned, run_trial
from motet.data.moments import BEFORE_VALIDATION
from motet.errors import MotetError, TrainingError, user_mistake
from motet.evaluation.tuning import AS_IT_STANDS, larger_is_better, selection, trial_recipe
from motet.mirror import at_hand, remove, storage_of
from motet.recipe import Recipe, refusal
from motet.search import Trial, draw_trials
from motet.storage import fingerprint

CODE = ("jobs/trial.py", "jobs/tune_search.py")


def plan_trials(run: Run, prepared: Result, embedded: Result, folder: Path) -> list[Planned]:
    """Return the recipe as it stands and the draws; `folder` gets what their heads read."""
    recipe, settings = run.recipe, run.recipe.tune
    assert settings is not None
    seed = recipe.seed if settings.seed is None else settings.seed
    drawn = draw_trials(settings, recipe.without_search.resolved(), seed, refusal)
    if len(drawn) < settings.trials:
        say(
            f"tune: {settings.trials} trials are asked for and tune.space holds {len(drawn)} that differ; all are tried"
        )
    read = _LabelsOnce(folder, prepared)
    return [_planned(run, trial, prepared, embedded, read) for trial in ({}, *drawn)]


def _planned(run: Run, trial: Trial, prepared: Result, embedded: Result, read: "_LabelsOnce") -> Planned:
    assert run.recipe.tune is not None
    recipe = trial_recipe(run.recipe, trial)
    early = run.recipe.tune.model_dump(include={"grace_epochs", "reduction"})
    key = fingerprint("trial", {**train_inputs(recipe, prepared, embedded), **early, "search": code_version(*CODE)})
    record = run.workspace / "trials" / f"{key}.json"
    labels = None if at_hand(record).is_file() else read(recipe)
    return Planned(trial, Run(replace(run.loaded, recipe=recipe)), labels, record)


class _LabelsOnce:
    """Reads labels once for all recipes whose heads read the same of them."""

    def __init__(self, folder: Path, prepared: Result) -> None:
        self.folder, self.prepared = folder, prepared
        self.known: dict[tuple[bool, bool, bool], Labels] = {}

    def __call__(self, recipe: Recipe) -> Labels:
        """Return what the heads of a recipe's network read."""
        reads = recipe.reads_estimates
        near = reads and recipe.estimates_near(self.prepared.summary["items"])
        key = (reads, near, reads and recipe.model.estimates == "factors")
        if key not in self.known:
            read = [name for name, one in zip(("priors", "near", "factors"), key, strict=True) if one]
            folder = self.folder / ("-".join(read) or "none")
            self.known[key] = read_labels(folder, Fit(BEFORE_VALIDATION, self.folder), recipe, self.prepared)
        return self.known[key]


def search(plans: list[Planned], run: Run, prepared: Result, embedded: Result) -> None:
    """Give every plan an outcome.

    Raises:
        TrainingError: if a trial fails in another way than that it diverges, or asks for more than there is.
    """
    recipe, settings = run.recipe, run.recipe.tune
    assert settings is not None
    new = [plan for plan in plans if not plan.done]
    known = len(plans) - len(new)
    say(f"tune: {len(plans)} trials by {selection(recipe)}, {known} known; the first is the recipe as it stands")
    if not new:
        return
    cpus = recipe.train.cpus_per_worker
    asked = "tune.concurrent x train.cpus_per_worker, and one for Ray Data,"
    require("CPU", settings.concurrent * cpus + 1, asked)
    require("GPU", settings.concurrent * recipe.train.use_gpu, "tune.concurrent with train.use_gpu")
    longest = max(settings.grace_epochs, *(plan.run.recipe.train.epochs for plan in plans))
    resources = {"CPU": cpus, **({"GPU": 1} if recipe.train.use_gpu else {})}
    given = partial(run_trial, plans=plans, prepared=prepared, embedded=embedded)
    with _own_folder(run.workspace / "trials") as folder:
        tuner = tune.Tuner(
            tune.with_resources(given, resources),
            param_space={"number": tune.grid_search(sorted(range(len(plans)), key=lambda one: not plans[one].done))},
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="max" if larger_is_better(selection(recipe)) else "min",
                max_concurrent_trials=settings.concurrent,
                reuse_actors=True,
                scheduler=_Scheduler(
                    time_attr=EPOCH,
                    grace_period=settings.grace_epochs,
                    reduction_factor=settings.reduction,
                    max_t=longest,
                    stop_last_trials=False,
                ),
            ),
            run_config=tune.RunConfig(
                name="search",
                **storage_of(folder),
                failure_config=tune.FailureConfig(fail_fast=True),
                callbacks=[_Outcomes(plans)],
                verbose=0,
            ),
        )
        _raise_first(tuner.fit(), plans)


@contextmanager
def _own_folder(trials: Path) -> Iterator[Path]:
    """Give Ray Tune a folder for as long as it runs; nothing is read from it afterwards."""
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    folder = trials / "tune"
    remove(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder, ignore_errors=True)


class _Scheduler(ASHAScheduler):
    """ASHA, but the recipe as it stands is trained to its end, so that the others are held against all of it."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether a trial goes on."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if trial.config["number"] == AS_IT_STANDS else decision


class _Outcomes(tune.Callback):
    """Says each epoch, and keeps what came of trials that were stopped."""

    def __init__(self, plans: list[Planned]) -> None:
        self.plans = plans
        self.known = {number for number, plan in enumerate(plans) if plan.done}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Print a line."""
        number = trial.config["number"]
        if number not in self.known:
            recipe = self.plans[number].run.recipe
            words = f"epoch {result[EPOCH]}/{recipe.train.epochs} {recipe.selection} {result[SCORE]:.4f}"
            say(f"tune: {_name(self.plans, number)}: {words}")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Keep the outcome of a trial that did not end by itself."""
        number = trial.config["number"]
        plan = self.plans[number]
        if plan.done:
            return
        last = int(trial.last_result[EPOCH])
        plan.keep("stopped" if last < plan.run.recipe.train.epochs else "finished")
        say(f"tune: {_name(self.plans, number)}: stopped after {last} epochs")


def _name(plans: list[Planned], number: int) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in plans[number].settings.items())
    return f"trial {number} ({settings or 'the recipe as it stands'})"


def _raise_first(results: Any, plans: list[Planned]) -> None:
    for result in results:
        if result.error is not None:
            mistake: BaseException = user_mistake(result.error) or result.error
            said = str(mistake) if isinstance(mistake, MotetError) else str(mistake).strip().splitlines()[-1]
            raise TrainingError(f"{_name(plans, result.config['number'])} failed: {said}") from result.error
