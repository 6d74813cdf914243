"""refresh: the current release goes on learning from what users did since, and becomes the next one.

    python jobs/refresh.py RECIPE [--epochs 2] [--shown] [--set a.b=c ...]

    event log -> feedback -> prepare -> embed -> train on from the release's network, few epochs, fresh windows only
              -> index -> evaluate -> gate -> publish

All of the log is exported anew, since a workspace's own files do not hold it. With `--shown`, or if the recipe's labels
read columns of `motet records export`, what was shown comes with it.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import typer  # noqa: E402

from jobs.stages import Run, claim_workspace, say  # noqa: E402
from motet.errors import DataError, said_in_a_line  # noqa: E402
from motet.events.export import export  # noqa: E402
from motet.events.live import LiveUsers  # noqa: E402
from motet.events.sieve import open_events  # noqa: E402
from motet.inputs import check_inputs  # noqa: E402
from motet.mirror import at_hand, remove  # noqa: E402
from motet.people import People  # noqa: E402
from motet.recipe import Recipe  # noqa: E402
from motet.recipe_file import load_recipe  # noqa: E402
from motet.record_commands import records_folder  # noqa: E402
from motet.records.impressions import GOT, PLACES, Rules, export_impressions  # noqa: E402
from motet.release.publish import Released  # noqa: E402
from motet.retrieval.catalogue import ItemTable  # noqa: E402
from motet.storage import copy_file, file_sha256  # noqa: E402


@dataclass(frozen=True)
class Feedback:
    """What users did since the release."""

    file: Path
    """All of the log, as interactions."""
    events: int
    """Events that the release does not know; of a user the latest only."""
    users: int


def refresh(recipe: str, overrides: list[str], epochs: int = 2, shown: bool = False) -> Released | None:
    """Refresh the current release; return the new one, or None if nothing came since.

    Raises:
        ReleaseError: if there is no release to go on from, or the gate refuses the new one.
        DataError: if the recipe logs no events.
    """
    from jobs.cluster import connect
    from jobs.embed import embed
    from jobs.evaluate import evaluate
    from jobs.index import index
    from jobs.prepare import prepare
    from jobs.release import release
    from jobs.train import train
    from jobs.warm import Warm

    asked = Run(load_recipe(recipe, overrides))
    claim_workspace(asked)
    warm = Warm.of_current(asked.workspace, epochs)
    feedback = take_feedback(asked, warm.release, shown)
    if not feedback.events:
        say(f"refresh: nothing came since release {warm.release.name}; it stays")
        return None
    say(f"refresh: {feedback.events:,} events of {feedback.users:,} users since release {warm.release.name}")
    run = Run(load_recipe(recipe, [*overrides, f"data.interactions.records={feedback.file}"]))
    check_inputs(run.loaded)
    connect(run.recipe.resources)
    prepared = prepare(run)
    embedded = embed(run, prepared)
    trained = train(run, prepared, embedded, warm)
    draft = index(run, prepared, embedded, trained)
    return release(run, draft, evaluate(run, prepared, trained, draft))


def take_feedback(run: Run, release: Path, shown: bool) -> Feedback:
    """Write the log as interactions, into a file that is named by its content."""
    recipe, folder = run.recipe, run.workspace / "feedback"
    store = open_events(recipe.serve.events, run.workspace, recipe.name)
    if store is None:
        raise DataError("serve.events.store is none, so there is nothing to refresh from; run jobs/pipeline.py RECIPE")
    counts = LiveUsers(store, recipe, ItemTable.load_names(release), People.load(release)).counts()
    draft = folder / "draft.parquet"
    if shown or reads_records(recipe):
        rules = Rules(recipe, round(time.time() * 1000))
        export_impressions(records_folder(run.workspace, recipe), store, draft, rules)
    else:
        export(store, draft, recipe)
    file = folder / f"{file_sha256(draft)[:16]}.parquet"
    if not at_hand(file).exists():
        copy_file(draft, file)
    remove(draft)
    return Feedback(file, sum(counts.values()), len(counts))


def reads_records(recipe: Recipe) -> bool:
    """Return whether the recipe reads what only records say."""
    return any(name.startswith(GOT) or name in PLACES for name in recipe.label_columns)


def main(
    recipe: Annotated[str, typer.Argument(help="The recipe's YAML file.")],
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs over what is fresh.")] = 2,
    shown: Annotated[bool, typer.Option("--shown", help="Learn from what was shown as well, liked or not.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c.")] = None,
) -> None:
    """Refresh the current release with what users did since."""
    start = time.monotonic()
    with said_in_a_line():
        refresh(recipe, overrides or [], epochs, shown)
    say(f"refresh: done in {time.monotonic() - start:.1f} s")


command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
command.command()(main)

if __name__ == "__main__":
    command()
