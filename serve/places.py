"""Where the logs of a graph lie: what the recipe says, changed by the arguments of `build`, else in the workspace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from motet.data_settings import Section
from motet.errors import ReleaseError

S = TypeVar("S", bound=Section)


def changed(settings: type[S], own: Mapping[str, Any], given: Mapping[str, Any], name: str) -> S:
    """Return a section of a recipe with some of its settings changed.

    Args:
        settings: of the section.
        own: what the recipe says.
        given: what an argument of `build` says.
        name: the argument's.

    Raises:
        ReleaseError: naming the setting that is wrong.
    """
    try:
        return settings.model_validate({**own, **given})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise ReleaseError(f"build's argument {where}: {first['msg']}") from error


def folder_of_log(path: str | None, release: Path, folder: str, name: str) -> str:
    """Return the folder of a log: that of the settings, or one of the release's workspace.

    Args:
        path: of the settings.
        release: the release's folder.
        folder: in the workspace.
        name: of the section of `serve` and of the argument of `build`.

    Raises:
        ReleaseError: without a path beside a release that is in no workspace.
    """
    if path is not None:
        return str(Path(path).expanduser().absolute())
    if release.parent.name == "releases":
        return str(release.parent.parent / folder)
    raise ReleaseError(
        f"{release} is in no workspace, so its {name} have no place; set serve.{name}.path in the recipe, or give "
        f"build the argument {name}: {{path: FOLDER}} or {name}: {{store: none}}"
    )
