"""`motet forget`: a user out of a workspace."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from motet.errors import said_in_a_line
from motet.workspace_option import HERE, WorkspaceOption


def forget(
    user: Annotated[str, typer.Argument(help="The user's id, as requests and files spell it.")],
    workspace: WorkspaceOption = HERE,
    grace: Annotated[
        float, typer.Option(min=0.0, help="Seconds that old releases stay for an endpoint that follows.")
    ] = 10.0,
) -> None:
    """Remove a user from logs, stages, releases and running endpoints, and from whatever is prepared from now on."""
    from motet.forgetting.forget import forget as remove

    with said_in_a_line():
        receipt = remove(workspace.absolute(), user, grace)
    table = Table("place", "searched", "removed", "note")
    for one in receipt.places:
        table.add_row(one.place, f"{one.searched:,}", f"{one.removed:,}", one.note)
    Console(width=max(120, Console().width)).print(table)
    for place in receipt.elsewhere:
        typer.echo(f"not touched: {place}")
