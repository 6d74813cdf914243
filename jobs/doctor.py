"""doctor: does training the tasks together help? Each task trained alone, on the same rows, beside the run itself.

    python jobs/doctor.py RUN [--set a.b=c ...] [--workspace FOLDER] [--seeds N]

the run -> each task alone (train stage, cached) -> scores of the test part -> probes -> doctor.json, doctor.html

RUN is a recipe's file (its run is trained if it is not there), a run's folder, or the beginning of its id in the
workspace. What `alone` means stands in `motet.evaluation.doctor`. `motet doctor` calls this file.
"""

import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import pyarrow as pa  # noqa: E402
import typer  # noqa: E402

from jobs.doctor_runs import Subject, find_subject  # noqa: E402
from jobs.stages import Result, Run, code_version, run_stage, say  # noqa: E402
from motet.data.parquet import read_parquet  # noqa: E402
from motet.errors import said_in_a_line  # noqa: E402
from motet.evaluation.doctor import TOGETHER, Found, alone_recipe, build, network_name, own_metric  # noqa: E402
from motet.evaluation.doctor_text import kept_epoch, render_text  # noqa: E402
from motet.recipe import Recipe  # noqa: E402
from motet.storage import read_json, write_atomic, write_json  # noqa: E402
from motet.workspace_option import HERE, WorkspaceOption  # noqa: E402

CODE = (
    "platform/motet/evaluation", "platform/motet/kinds", "platform/motet/model", "platform/motet/training",
    "jobs/doctor.py", "jobs/doctor_runs.py",
    "jobs/doctor_work.py", "jobs/histories.py",
)  # fmt: skip
NO_LABEL = (
    "validation holds no label of this task, so no epoch of it alone could be chosen; enlarge data.split.validation"
)


@dataclass(frozen=True)
class Trained:
    """The networks that are compared, by `network_name`, and the tasks that were left out, with the reason."""

    networks: dict[str, Result]
    seeds: tuple[int, ...]
    skipped: dict[str, str]


def diagnose(subject: Subject, seeds: int = 1) -> Result:
    """Run the stage; the first seed is the recipe's, the others follow it."""
    trained = train_alone(subject, seeds)
    recipe = subject.run.recipe
    inputs = {
        "networks": {name: one.id for name, one in trained.networks.items()},
        "recipe": [recipe.name, recipe.resolved()["tasks"], recipe.evaluate.max_users, recipe.seed],
        "skipped": trained.skipped,
        "prepared": subject.prepared.id,
        "code": code_version(*CODE),
    }
    return run_stage(subject.run, "doctor", "reports", inputs, partial(_work, subject=subject, trained=trained))


def train_alone(subject: Subject, seeds: int) -> Trained:
    """Train each task alone, and all together with further seeds, unless that was done before."""
    from jobs.train import read_metrics, train

    recipe = subject.run.recipe
    used = tuple(recipe.seed + number for number in range(seeds))
    epochs = [row for row in read_metrics(subject.trained.folder) if row["validation"]]
    metrics = {task.name: own_metric(task, epochs) for task in recipe.tasks}
    networks = {}
    for seed in used:
        wanted = {name: alone_recipe(recipe, name, by, seed) for name, by in metrics.items() if by is not None}
        if seed == recipe.seed:
            networks[network_name(TOGETHER, seed)] = subject.trained
        else:
            wanted = {TOGETHER: recipe.model_copy(update={"seed": seed}), **wanted}
        for name, one in wanted.items():
            say(f"doctor: {name}" + (" alone" if name != TOGETHER else "") + f", seed {seed}")
            networks[network_name(name, seed)] = train(_with(subject.run, one), subject.prepared, subject.embedded)
    return Trained(networks, used, {name: NO_LABEL for name, by in metrics.items() if by is None})


def _with(run: Run, recipe: Recipe) -> Run:
    return Run(replace(run.loaded, recipe=recipe))


def _work(folder: Path, subject: Subject, trained: Trained) -> dict[str, Any]:
    from jobs.doctor_work import held_out_scores, probe
    from jobs.train import read_metrics, released
    from motet.evaluation.doctor_page import render_page

    recipe, run = subject.run.recipe, subject.trained
    epochs = read_metrics(run.folder)
    scores = held_out_scores(subject, {name: one.folder for name, one in trained.networks.items()})
    say(f"doctor: {scores.num_rows:,} held-out events scored by {len(trained.networks)} networks")
    inside = probe(subject, kept_epoch(epochs)["weights"])
    first = trained.seeds[0]
    alone = {task.name: network_name(task.name, first) for task in recipe.tasks if task.name not in trained.skipped}
    items = read_parquet(subject.prepared.folder / "items")
    found = Found(
        scores=scores,
        counts_I=read_parquet(released(run.folder) / "counts.parquet").column("count").to_numpy(),
        categories={name: _values(items, name) for name in recipe.data.items.categories},
        epochs=epochs,
        alone={name: read_metrics(trained.networks[network].folder) for name, network in alone.items()},
        seeds=trained.seeds,
        skipped=trained.skipped,
        **inside,
    )
    words = f"{len(epochs)} epochs, {kept_epoch(epochs)['epoch']} kept by {recipe.selection}; judged on the test part"
    report = {"recipe": recipe.name, "run": run.folder.name, "words": words, **build(recipe, found)}
    write_json(folder / "doctor.json", report)
    write_atomic(folder / "doctor.html", render_page(report).encode(errors="xmlcharrefreplace"))
    readings = {name: entry["verdict"]["reading"] for name, entry in report["tasks"].items()}
    return {"line": ", ".join(f"{name} {said}" for name, said in readings.items()), "readings": readings}


def _values(items: pa.Table, category: str) -> list[list[str]]:
    return [values or [] for values in items.column(f"attr:{category}").to_pylist()]


def main(
    run: Annotated[str, typer.Argument(help="A recipe's YAML file, a run's folder, or the beginning of a run's id.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting of the recipe: a.b=c.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How many seeds each network is trained with.")] = 1,
) -> None:
    """Say for each task whether training together helps it, why, and what to change."""
    start = time.monotonic()
    with said_in_a_line():
        subject = find_subject(run, overrides or [], workspace)
        result = diagnose(subject, seeds)
        report = read_json(result.folder / "doctor.json")
    typer.echo(render_text(report))
    say(f"doctor: {result.folder / 'doctor.html'}, {time.monotonic() - start:.1f} s")


command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
command.command()(main)

if __name__ == "__main__":
    command()
