"""`motet whatif`, `motet skew` and `motet records export`: what the log of answers is good for."""

import sys
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from motet.errors import RequestError, said_in_a_line
from motet.recipe import Recipe
from motet.workspace_option import WorkspaceArgument

record_commands = typer.Typer(help="Take records of answers out of their log.")

Surface = Annotated[str | None, typer.Option(help="A surface of the recipe; its first by default.")]
Sample = Annotated[int, typer.Option(min=1, help="Most requests that are asked again, chosen by a hash of their ids.")]


def records_folder(workspace: Path, recipe: Recipe) -> Path:
    """Return where the answers of a workspace are logged."""
    path = recipe.serve.records.path
    return Path(path).expanduser().absolute() if path is not None else workspace / "recommendations"


def whatif(
    workspace: WorkspaceArgument,
    surface: Surface = None,
    weights: Annotated[
        list[str] | None, typer.Option("--set", help="A weight in place of the surface's, as like=2; repeat.")
    ] = None,
    sample: Sample = 2000,
) -> None:
    """Say what other weights would have changed in the lists that were shown."""
    from motet.errors import ReleaseError
    from motet.itemlog.place import open_items
    from motet.recommend import Reranker, find_surface, read_recipe
    from motet.records.reader import sample_rows
    from motet.records.what_if import what_if
    from motet.release.publish import Releases

    with said_in_a_line():
        releases = Releases(workspace)
        recipe = read_recipe(releases.current())
        name, asked = find_surface(recipe, surface), read_weights(weights or [])

        items = open_items(recipe.serve.events, workspace, recipe.name)

        @cache
        def reranker_of(release: str) -> Reranker | None:
            try:
                reranker = Reranker(releases.verified(release))
            except ReleaseError:
                return None
            if items is not None:
                reranker.follow_items(items)
            return reranker

        rows = sample_rows(records_folder(workspace, recipe), sample, name)
        found = what_if(rows, reranker_of, asked, recipe.seed)
    table = Table("mean score of the lists", "before", "after", "difference", "95 % interval")
    for score, one in found.scores.items():
        difference = f"{one.after - one.before:+.4f}"
        table.add_row(score, f"{one.before:.4f}", f"{one.after:.4f}", difference, f"{one.low:+.4f} to {one.high:+.4f}")
    said = ", ".join(f"{key} {value:g}" for key, value in asked.items()) or "its own weights"
    typer.echo(f"surface {name} with {said}: {found.requests:,} requests, lists of {found.length:.1f}")
    correlation = "none" if found.rank_correlation is None else f"{found.rank_correlation:.3f}"
    typer.echo(
        f"{found.items_changed:.1%} of the items leave their list ({found.overlap:.1f} are in both), "
        f"{found.lists_changed:.1%} of the lists change; rank correlation of the candidates {correlation}"
    )
    _print(table, found.left_out)


def read_weights(asked: list[str]) -> dict[str, float]:
    """Return the weights of `name=number` options.

    Raises:
        RequestError: for one that is not of that form.
    """
    found = {}
    for one in asked:
        name, mark, number = one.partition("=")
        try:
            found[name.strip()] = float(number) if mark else float("nan")
        except ValueError:
            found[name.strip()] = float("nan")
        if not abs(found[name.strip()]) < float("inf"):
            raise RequestError(f"--set {one}: not a weight; write the score's name and a number, as like=2")
    return found


def skew(
    workspace: WorkspaceArgument,
    sample: Sample = 200,
    surface: Annotated[str | None, typer.Option(help="Only requests of this surface.")] = None,
) -> None:
    """Ask logged requests again in one process, and list what differs from what the endpoint did."""
    from motet.errors import ReleaseError
    from motet.events.sieve import open_events
    from motet.itemlog.place import open_items
    from motet.recommend import Recommender, read_recipe
    from motet.records.reader import sample_rows
    from motet.records.replay import Logs
    from motet.records.skew import TOLERANCE
    from motet.records.skew import skew as compare
    from motet.release.publish import Releases

    with said_in_a_line():
        releases = Releases(workspace)
        recipe = read_recipe(releases.current())
        logs = Logs(
            open_events(recipe.serve.events, workspace, recipe.name),
            open_items(recipe.serve.events, workspace, recipe.name),
        )

        def recommender_of(release: str) -> Recommender | None:
            try:
                return Recommender(releases.verified(release))
            except ReleaseError:
                return None

        rows = sample_rows(records_folder(workspace, recipe), sample, surface)
        found = compare(rows, recommender_of, logs)
    table = Table("field", "compared", "differing", "largest difference", "first request")
    for name, one in found.fields.items():
        far = "" if not one.differing else f"{one.largest:.3g}"
        table.add_row(name, f"{one.compared:,}", f"{one.differing:,}", far, one.first or "")
    typer.echo(
        f"{found.requests:,} requests asked again, {found.with_events:,} with events of the log, "
        f"{found.with_items:,} with items of the log; tolerance {TOLERANCE:g}"
    )
    _print(table, found.left_out)
    differing = [name for name, one in found.fields.items() if one.differing]
    typer.echo(f"differing: {', '.join(differing)}" if differing else "nothing differs")
    sys.exit(1 if found.differs else 0)


@record_commands.callback()
def _records() -> None:
    """Take records of answers out of their log."""


@record_commands.command()
def export(
    workspace: WorkspaceArgument,
    target: Annotated[Path, typer.Argument(help="The parquet file to write.")],
    window_days: Annotated[
        float, typer.Option(min=0.0, help="Days within which an event counts for what was shown; delay_days first.")
    ] = 1.0,
    answered: Annotated[bool, typer.Option("--answered", help="Leave out what no event came of.")] = False,
) -> None:
    """Write what was shown, joined with the events that came of it, as interactions for data.interactions.records."""
    import time

    from motet.events.sieve import open_events
    from motet.recommend import read_recipe
    from motet.records.impressions import Rules, export_impressions
    from motet.release.publish import Releases

    with said_in_a_line():
        recipe = read_recipe(Releases(workspace).current())
        store = open_events(recipe.serve.events, workspace, recipe.name)
        rules = Rules(recipe, round(time.time() * 1000), window_days, answered)
        found = export_impressions(records_folder(workspace, recipe), store, target, rules)
    said = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.kinds.items())) or "none"
    counted = f"{found.shown:,} items shown, {found.answered:,} with an event ({said}), {found.alone:,} other events"
    typer.echo(f"{counted} in {target}")
    if found.without_user:
        typer.echo(f"left out: {found.without_user:,} items shown to nobody in particular")


def _print(table: Table, left_out: dict[str, int]) -> None:
    Console(width=max(100, Console().width)).print(table)
    for reason, count in left_out.items():
        typer.echo(f"left out: {count:,} {reason}")
