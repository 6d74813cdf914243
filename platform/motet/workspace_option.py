"""How commands are told a workspace: its folder, or its address on a store."""

from pathlib import Path
from typing import Annotated

import typer

from motet.errors import DataError
from motet.mirror import workspace_folder


def _folder(text: str | Path) -> Path:
    try:
        return workspace_folder(text)
    except DataError as error:
        raise typer.BadParameter(str(error)) from error


_HELP = "The folder that the pipeline wrote, or its address, s3://bucket/key."
WorkspaceOption = Annotated[Path, typer.Option("--workspace", parser=_folder, metavar="FOLDER", help=_HELP)]
WorkspaceArgument = Annotated[Path, typer.Argument(parser=_folder, metavar="WORKSPACE", help=_HELP)]
HERE = Path("workspace")
