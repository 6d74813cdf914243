"""Read a recipe from YAML and say every mistake at once, with file, line, value and fix.

The file's line of every key is kept, so that an error of the schema, and later of the data's
columns, can point at it. `--set a.b=c` overrides are marked as such.
"""

import copy
import difflib
import itertools
import os
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from motet.errors import RecipeError
from motet.recipe import Misfits, Recipe
from motet.recipe_source import Path_, apply_override, read_source

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
_STAND_INS: dict[Path_, Any] = {
    ("name",): "x", ("encoder",): {"model": "x"}, ("encoder", "model"): "x", ("data", "items", "text"): ["x"],
    ("data", "items", "path"): "x", ("data", "users", "path"): "x", ("data", "interactions", "path"): "x",
}  # fmt: skip
_PATH_KEYS = {"path", "model", "workspace"}


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe, and where each of its values was said."""

    recipe: Recipe
    file: str
    origins: dict[Path_, str]

    def where(self, *path: str | int) -> str:
        """Return `file:line` (or the --set) of the deepest key of `path` that was said."""
        return _where(self.origins, self.file, path)


def load_recipe(file: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> LoadedRecipe:
    """Read, override and validate a recipe.

    Args:
        file: a YAML file.
        overrides: `a.b=c` each; c is read as YAML; in a list, a part of the path is a place or an entry's name.

    Raises:
        RecipeError: with one line for each mistake.
    """
    name = str(file)
    source = read_source(file)
    origins, problems = source.origins, source.problems
    for override in overrides:
        try:
            apply_override(source, override)
        except RecipeError as error:
            problems += error.problems
    raw = _expand(source.raw, (), _Expansion(origins, name, problems))
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError([*problems, *_explain(error, raw, origins, name)]) from error
    if problems:
        raise RecipeError(problems)
    return LoadedRecipe(recipe, name, origins)


@dataclass(frozen=True)
class _Expansion:
    origins: dict[Path_, str]
    name: str
    problems: list[str]


def _expand(value: Any, path: Path_, found: _Expansion) -> Any:
    """Expand `${NAME:-default}` and `~` in the settings that are paths."""
    if isinstance(value, dict):
        named = {key: inner for key, inner in value.items() if isinstance(key, str)}  # others are said with their line
        return {key: _expand(inner, (*path, key), found) for key, inner in named.items()}
    if isinstance(value, list):
        return [_expand(inner, (*path, place), found) for place, inner in enumerate(value)]
    if not isinstance(value, str) or not path or path[-1] not in _PATH_KEYS:
        return value
    for variable, default in _VARIABLE.findall(value):
        if variable not in os.environ and f"${{{variable}:-{default}}}" not in value:
            found.problems.append(
                f"{_where(found.origins, found.name, path)}: {_dotted(path)} = {value!r}: the variable {variable} is "
                f"not set; set it, or write ${{{variable}:-default}}"
            )
    expanded = _VARIABLE.sub(lambda match: os.environ.get(match[1]) or match[2] or "", value)
    return os.path.expanduser(expanded) if expanded.startswith("~") else expanded  # noqa: PTH111


def _explain(error: ValidationError, raw: Any, origins: dict[Path_, str], name: str) -> list[str]:
    """Return one line per mistake.

    What concerns several settings is only checked once each of them is right; so the wrong ones are
    left out and the rest is looked at again.
    """
    mistakes = error.errors()
    wrong = {_clean_path(mistake, raw) for mistake in mistakes}
    rest = copy.deepcopy(raw)
    for path in wrong:
        _leave_out(rest, path)
    parts = [part for mistake in mistakes for part in _parts(mistake, raw)]
    try:
        Recipe.model_validate(rest)
    except ValidationError as second:
        misfits = [mistake for mistake in second.errors() if isinstance(_cause(mistake), Misfits)]
        parts += [part for mistake in misfits for part in _parts(mistake, raw) if part[0] not in wrong]
    lines: dict[str, dict[str, None]] = {}  # what each kind of a union says of one value comes in one line
    for path, said, hint in parts:
        head = f"{_where(origins, name, _blamed(path, hint, origins))}: {_dotted(path)}{said}"
        lines.setdefault(head.removesuffix(": "), {})[hint] = None
    return [": ".join(filter(None, [head, ", or ".join(hints)])) for head, hints in lines.items()]


def _parts(mistake: Any, raw: Any) -> list[tuple[Path_, str, str]]:
    """Return (path, what is said of the value, hint), several for settings that don't fit each other."""
    path, cause, kind = _clean_path(mistake, raw), _cause(mistake), mistake["type"]
    if isinstance(cause, Misfits):
        return [(inner, "", what) for inner, what in cause.problems]
    if kind == "extra_forbidden":
        close = _nearest(str(path[-1]), _fields_at(path[:-1]), path[:-1])
        head = f" = {_short(mistake['input'])} is not a setting{close} (motet recipe schema lists them)"
        return [(path, head, "")]
    if kind == "missing":
        return [(path, " is missing; set it (motet recipe schema says how)", "")]
    if cause is not None:
        return [(path, "", str(cause))]
    hint = mistake["msg"][0].lower() + mistake["msg"][1:].replace("tuple", "list").replace("dictionary", "mapping")
    if kind == "literal_error":
        found = difflib.get_close_matches(str(mistake["input"]), re.findall(r"'([^']+)'", hint), 1, 0.5)
        hint += f"; did you mean {found[0]!r}?" if found else ""
    return [(path, f" = {_short(mistake['input'])}", hint)]


def _cause(mistake: Any) -> Any:
    return mistake.get("ctx", {}).get("error")


def _leave_out(raw: Any, path: Path_) -> None:
    """Delete the setting at `path`, or put a right one there if it must be there; of a list, the whole list."""
    names = tuple(itertools.takewhile(lambda part: isinstance(part, str), path))
    for part in names[:-1]:
        raw = raw.get(part) if isinstance(raw, dict) else None
    if names and isinstance(raw, dict):
        raw.pop(names[-1], None)
        if names in _STAND_INS:
            raw[names[-1]] = _STAND_INS[names]


def _blamed(path: Path_, hint: str, origins: dict[Path_, str]) -> Path_:
    """Return the path of the setting that a section's own check names first, such as `heads = 7 ...`."""
    first = re.match(r"\w+", hint)
    return (*path, first[0]) if first and (*path, first[0]) in origins else path


def _clean_path(mistake: Any, raw: Any) -> Path_:
    """Return a mistake's path without the names of union members that pydantic puts into it."""
    cleaned: list[str | int] = []
    for part in mistake["loc"]:
        if (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and part in range(len(raw))):
            raw = raw[part]
            cleaned.append(part)
    if mistake["type"] == "missing":
        cleaned.append(mistake["loc"][-1])
    return tuple(cleaned)


def _where(origins: dict[Path_, str], name: str, path: Path_) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return f"{name}:1"


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(word: str, options: list[str], parent: Path_) -> str:
    near = difflib.get_close_matches(word, options, 1, 0.5)
    if near:
        return f"; did you mean {_dotted((*parent, near[0]))}?"
    return f"; settings here: {', '.join(options)}" if options else ""


def _fields_at(path: Path_) -> list[str]:
    model = _annotation_at(path)
    return sorted(model.model_fields) if model is not None else []


def _annotation_at(path: Path_) -> type[BaseModel] | None:
    """Return the section that stands at `path`, or None if a plain value does."""
    annotation: Any = Recipe
    for part in path:
        section = _section_inside(annotation)
        if section is annotation:
            field = section.model_fields.get(str(part))
            annotation = _not_none(field.annotation) if field else None
        else:  # a place of a list, or a key of a mapping
            annotation = section
        if section is None:
            return None
    return annotation if annotation is _section_inside(annotation) else None


def _not_none(annotation: Any) -> Any:
    """Return X for `X | None`."""
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    return options[0] if isinstance(annotation, types.UnionType) and len(options) == 1 else annotation


def _section_inside(annotation: Any) -> Any:
    """Return the section inside tuple[...] or dict[str, ...]."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    found = [_section_inside(argument) for argument in typing.get_args(annotation)]
    return next((section for section in found if section is not None), None)


def describe_recipe(loaded: LoadedRecipe) -> list[tuple[str, Any, str]]:
    """Return (dotted setting, value, origin or "default") for every setting of a recipe."""
    rows: list[tuple[str, Any, str]] = []
    _describe(loaded.recipe.resolved(), (), loaded, rows)
    return rows


def _describe(value: Any, path: Path_, loaded: LoadedRecipe, rows: list[tuple[str, Any, str]]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _describe(inner, (*path, key), loaded, rows)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for position, inner in enumerate(value):
            _describe(inner, (*path, position), loaded, rows)
    else:
        said = path in loaded.origins
        rows.append((_dotted(path), value, loaded.origins[path] if said else "default"))
