"""Where the logs of a graph lie and who may ask it: what the recipe says, changed by the arguments of `build`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from motet.data_settings import Section
from motet.errors import ReleaseError
from motet.guard_settings import LimitSettings
from motet.recipe import Recipe
from motet.serve_settings import ServeSettings

S = TypeVar("S", bound=Section)


def workspace_of(release: Path) -> Path | None:
    """Return the workspace that a release lies in, if it does."""
    return release.parent.parent if release.parent.name == "releases" else None


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


def guard_of(args: Mapping[str, Any], recipe: Recipe, release: Path) -> tuple[str, dict[str, Any]]:
    """Return `serve.keys` and `serve.limits`, changed by `keys` and `limits` of the arguments, as plain types.

    Args:
        args: of `build`.
        recipe: of the release.
        release: the release's folder.

    Raises:
        ReleaseError: for wrong arguments, or if keys are required of a release that is in no workspace.
    """
    own = {name: getattr(recipe.serve, name) for name in ("keys", "limits")}
    limits = changed(LimitSettings, own["limits"].model_dump(), args.get("limits", {}), "limits")
    given = {"keys": args.get("keys", own["keys"]), "limits": limits}
    settings = changed(ServeSettings, {}, given, "serve")
    if settings.keys == "required" and release.parent.name != "releases":
        raise ReleaseError(
            f"{release} is in no workspace, where its keys would be; serve it from one, or set keys: none"
        )
    return settings.keys, settings.limits.model_dump()
