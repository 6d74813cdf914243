"""`motet events` and `motet items`: what the endpoint was told, as files to prepare from."""

from pathlib import Path
from typing import Annotated

import typer

from motet.errors import DataError, said_in_a_line
from motet.workspace_option import WorkspaceArgument

event_commands = typer.Typer(help="Take events out of the log.")
item_commands = typer.Typer(help="Take items out of the log of what was added and removed.")


@event_commands.callback()
def _events() -> None:
    """Take events out of the log."""


@event_commands.command()
def export(
    workspace: WorkspaceArgument,
    target: Annotated[Path, typer.Argument(help="The parquet file to write.")],
) -> None:
    """Write all events of a workspace's log to a parquet file that can stand among the interactions of a recipe."""
    from motet.event_settings import EventSettings
    from motet.events.export import export as write
    from motet.events.sieve import open_events
    from motet.mirror import at_hand
    from motet.recommend import read_recipe
    from motet.release.publish import CURRENT, Releases

    with said_in_a_line():
        releases = Releases(workspace)
        recipe = read_recipe(releases.current()) if at_hand(releases.folder / CURRENT).is_file() else None
        settings = recipe.serve.events if recipe else EventSettings()
        store = open_events(settings, workspace, recipe.name if recipe else "")
        if store is None:
            raise DataError(f"{workspace}: its release records no events (serve.events.store is none)")
        typer.echo(f"{write(store, target, recipe):,} events in {target}")


@item_commands.callback()
def _items() -> None:
    """Take items out of the log of what was added and removed."""


@item_commands.command("export")
def export_log(
    workspace: WorkspaceArgument,
    target: Annotated[Path, typer.Argument(help="The parquet file to write.")],
) -> None:
    """Write the latest of each item of a workspace's log to a parquet file that can stand among a recipe's items."""
    from motet.itemlog.export import export_items
    from motet.itemlog.place import open_items
    from motet.recommend import read_recipe
    from motet.release.publish import Releases

    with said_in_a_line():
        recipe = read_recipe(Releases(workspace).current())
        store = open_items(recipe.serve.events, workspace, recipe.name)
        if store is None:
            raise DataError(f"{workspace}: its release takes no items (serve.events.store is none)")
        items, removed = export_items(store, target, recipe)
        typer.echo(f"{items:,} items in {target}; {removed:,} removed ones are left out")
