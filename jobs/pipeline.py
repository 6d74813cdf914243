"""The whole way from logs to a release, for one recipe.

    python jobs/pipeline.py RECIPE [--set a.b=c ...] [--until STAGE]

Stages that are up to date are skipped. Inside `ray job submit` it runs on that cluster, else on a Ray of its own.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import typer  # noqa: E402

from jobs.stages import Run, claim_workspace, say  # noqa: E402
from motet.errors import RecipeError, said_in_a_line  # noqa: E402
from motet.inputs import check_inputs  # noqa: E402
from motet.recipe_file import load_recipe  # noqa: E402

STAGES = ("prepare", "embed", "train", "index", "evaluate", "release")


def run_pipeline(run: Run, until: str = "release") -> dict[str, Any]:
    """Run the stages in order up to and including one; return their results by name."""
    from jobs.cluster import connect
    from jobs.embed import embed
    from jobs.evaluate import evaluate
    from jobs.index import index
    from jobs.prepare import prepare
    from jobs.release import release
    from jobs.train import train

    connect(run.recipe.resources)
    results: dict[str, Any] = {}
    steps: dict[str, Callable[[], Any]] = {
        "prepare": lambda: prepare(run),
        "embed": lambda: embed(run, results["prepare"]),
        "train": lambda: train(run, results["prepare"], results["embed"]),
        "index": lambda: index(run, results["prepare"], results["embed"], results["train"]),
        "evaluate": lambda: evaluate(run, results["prepare"], results["train"], results["index"]),
        "release": lambda: release(run, results["index"], results["evaluate"]),
    }
    for name in STAGES[: STAGES.index(until) + 1]:
        results[name] = steps[name]()
    return results


def check_stage(name: str) -> None:
    """Refuse what is not a stage."""
    if name not in STAGES:
        raise RecipeError(f"--until {name} is not a stage; stages: {', '.join(STAGES)}")


def main(
    recipe: Annotated[str, typer.Argument(help="The recipe's YAML file.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c.")] = None,
    until: Annotated[str, typer.Option(help=f"Last stage to run: {', '.join(STAGES)}.")] = "release",
    force: Annotated[bool, typer.Option("--force", help="Publish whatever the gate says; the manifest tells.")] = False,
) -> None:
    """Run the pipeline for a recipe."""
    start = time.monotonic()
    with said_in_a_line():
        check_stage(until)
        run = Run(load_recipe(recipe, overrides or []), force=force)
        check_inputs(run.loaded)
        claim_workspace(run)
        results = run_pipeline(run, until)
    say(f"pipeline: {len(results)} stages, {len(run.skipped)} up to date, {time.monotonic() - start:.1f} s")


command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
command.command()(main)

if __name__ == "__main__":
    command()
