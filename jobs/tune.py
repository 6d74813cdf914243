"""tune: a search for better settings (Ray Tune, ASHA) over the space in the recipe's `tune` section.

    python jobs/tune.py RECIPE [--set a.b=c ...]

prepare, embed (once) -> the recipe as it stands and draws from the space, each trained in a process of its own,
the worst of them stopped early -> tune.json, tune.html, best.yaml

best.yaml extends RECIPE: `python jobs/pipeline.py best.yaml` builds and releases what was found. Trials are kept in the
workspace by a hash of all that decides them, so an interrupted search goes on where it was.
"""

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import typer  # noqa: E402
import yaml  # noqa: E402

from jobs.stages import Result, Run, claim_workspace, code_version, run_stage, say  # noqa: E402
from motet.errors import RecipeError, TrainingError, said_in_a_line  # noqa: E402
from motet.evaluation.tuning import build, overlay, selection  # noqa: E402
from motet.inputs import check_inputs  # noqa: E402
from motet.mirror import remove  # noqa: E402
from motet.recipe_file import LoadedRecipe, load_recipe  # noqa: E402
from motet.storage import read_json, write_atomic, write_json  # noqa: E402
from motet.tune_settings import TuneSettings  # noqa: E402

CODE = (
    "platform/motet/evaluation/tuning.py", "platform/motet/evaluation/tuning_page.py",
    "platform/motet/evaluation/pareto.py", "platform/motet/search.py", "platform/motet/tune_settings.py",
    "jobs/tune.py", "jobs/tune_search.py", "jobs/trial.py",
)  # fmt: skip


def tune(run: Run, prepared: Result, embedded: Result, overrides: list[str]) -> Result:
    """Run the stage.

    Args:
        run: its recipe has a tune section.
        prepared: the prepare stage's result.
        embedded: the embed stage's result.
        overrides: the recipe's `--set`, which go into best.yaml.
    """
    from jobs.train import train_inputs

    inputs = {
        **train_inputs(run.recipe, prepared, embedded),
        "tune": settings_of(run.loaded).model_dump(mode="json"),
        "file": [run.loaded.file, *overrides],
        "search": code_version(*CODE),
    }
    work = partial(_work, run=run, prepared=prepared, embedded=embedded, overrides=overrides)
    return run_stage(run, "tune", "reports", inputs, work)


def settings_of(loaded: LoadedRecipe) -> TuneSettings:
    """Return the tune section.

    Raises:
        RecipeError: if there is none.
    """
    if loaded.recipe.tune is None:
        raise RecipeError(
            f"{loaded.file}: tune is missing; say what to search, such as "
            "`tune: {space: {train.learning_rate: {log_uniform: [1.0e-4, 1.0e-2]}}}`"
        )
    return loaded.recipe.tune


def _work(folder: Path, run: Run, prepared: Result, embedded: Result, overrides: list[str]) -> dict[str, Any]:
    from jobs.tune_search import plan_trials, search
    from motet.evaluation.tuning_page import render_page

    plans = plan_trials(run, prepared, embedded, folder / "labels")
    search(plans, run, prepared, embedded)
    remove(folder / "labels", ignore_errors=True)
    report = build(run.recipe, [plan.outcome() for plan in plans])
    if report["best"] is None:
        raise TrainingError("every trial diverged; lower the ranges of tune.space, train.learning_rate before all")
    best = report["trials"][report["best"]]
    score = f"{report['select_by']} {best['metrics'][report['select_by']]:.4f}"
    write_json(folder / "tune.json", report)
    write_atomic(folder / "tune.html", render_page(report).encode(errors="xmlcharrefreplace"))
    write_atomic(folder / "best.yaml", _best(run, overrides, report, score).encode())
    ends = [row["state"] for row in report["trials"]]
    line = f"{len(ends)} trials, {ends.count('stopped')} stopped early, {ends.count('diverged')} diverged, best {score}"
    return {"line": line, "trials": len(ends), "best": best["number"], "score": best["metrics"][report["select_by"]]}


def _best(run: Run, overrides: list[str], report: dict[str, Any], score: str) -> str:
    """Return the recipe that extends the one searched, its `--set` included."""
    changes = _said(overrides)
    if selection(run.recipe) != run.recipe.selection:
        changes["train.select_by"] = report["select_by"]
    head = f"trial {report['best']} of {len(report['trials'])} found by jobs/tune.py: {score} on validation"
    return overlay(run.loaded.file, head, changes | report["trials"][report["best"]]["settings"])


def _said(overrides: list[str]) -> dict[str, Any]:
    said = dict(override.split("=", 1) for override in overrides)
    return {name: yaml.safe_load(value) for name, value in said.items() if name.split(".")[0] != "tune"}


def require_layer(loaded: LoadedRecipe, overrides: list[str]) -> None:
    """Refuse what best.yaml could not say: a `--set` of a whole section replaces it, a layer joins it.

    Raises:
        RecipeError: naming the overrides.
    """
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "best.yaml"
        layer.write_text(overlay(loaded.file, "", _said(overrides)), encoding="utf-8")
        same = load_recipe(layer).recipe.without_search == loaded.recipe.without_search
    if not same:
        raise RecipeError(
            f"--set {' --set '.join(overrides)}: best.yaml could not say this, as a section that is set whole "
            "joins the file's; set its settings one by one"
        )


def main(
    recipe: Annotated[str, typer.Argument(help="The recipe's YAML file, with a tune section.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c.")] = None,
) -> None:
    """Search for better settings of a recipe."""
    from jobs.pipeline import run_pipeline
    from motet.evaluation.tuning_page import print_search

    start = time.monotonic()
    with said_in_a_line():
        run = Run(load_recipe(recipe, overrides or []))
        settings_of(run.loaded)
        require_layer(run.loaded, overrides or [])
        check_inputs(run.loaded)
        claim_workspace(run)
        results = run_pipeline(run, until="embed")
        result = tune(run, results["prepare"], results["embed"], overrides or [])
        print_search(read_json(result.folder / "tune.json"))
    best = os.path.relpath(result.folder / "best.yaml")
    say(f"tune: {result.folder / 'tune.html'}, {time.monotonic() - start:.1f} s; next: python jobs/pipeline.py {best}")


command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
command.command()(main)

if __name__ == "__main__":
    command()
