"""Read a recipe from YAML and say every mistake at once, with file, line, value and fix.

The file's line of every key is kept, so that an error of the schema, and later of the data's
columns, can point at it. `--set a.b=c` overrides are marked as such.
"""

import difflib
import os
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from motet.errors import RecipeError
from motet.recipe import Recipe

Path_ = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
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
        overrides: `a.b=c` each; c is read as YAML; a number in the path is a place in a list.

    Raises:
        RecipeError: with one line for each mistake.
    """
    name = str(file)
    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"{name}: no such recipe; the repository's are in recipes/") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name}: cannot be read as UTF-8 text ({error})") from error
    raw, origins = _parse_yaml(text, name)
    for override in overrides:
        _apply_override(raw, override, origins)
    raw = _expand(raw)
    try:
        return LoadedRecipe(Recipe.model_validate(raw), name, origins)
    except ValidationError as error:
        raise RecipeError([_explain(mistake, origins, name) for mistake in error.errors()]) from error


def _parse_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[Path_, str]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "cannot be read"
        raise RecipeError(f"{name}:{line}: this is not YAML: {problem}; check indentation and colons") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{name}:1: a recipe is a mapping of settings such as `name: shop`, not {type(raw).__name__}")
    origins: dict[Path_, str] = {}
    _collect_lines(node, (), origins, name)
    return raw, origins


def _collect_lines(node: Any, path: Path_, origins: dict[Path_, str], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            where = f"{name}:{key.start_mark.line + 1}"
            if key.value in seen:
                raise RecipeError(f"{where}: {_dotted((*path, key.value))} is set twice; keep one")
            seen.add(key.value)
            origins[(*path, key.value)] = where
            _collect_lines(value, (*path, key.value), origins, name)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            origins[(*path, position)] = f"{name}:{value.start_mark.line + 1}"
            _collect_lines(value, (*path, position), origins, name)


def _apply_override(raw: dict[str, Any], override: str, origins: dict[Path_, str]) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise RecipeError(f"--set {override}: write --set section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: {text!r} is not a YAML value; quote it") from error
    keys: list[str | int] = [int(part) if part.isdigit() else part for part in dotted.split(".")]
    parents, last = keys[:-1], keys[-1]
    target: Any = raw
    for part in parents:
        if isinstance(target, list) and isinstance(part, int) and part < len(target):
            target = target[part]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            raise RecipeError(f"--set {override}: {part!r} is not inside {dotted!r}; see motet recipe show")
    if isinstance(target, list) and not (isinstance(last, int) and last < len(target)):
        raise RecipeError(f"--set {override}: {last!r} is not a place of a list of {len(target)}")
    if not isinstance(target, (dict, list)):
        raise RecipeError(f"--set {override}: {dotted.rpartition('.')[0]} is a value, not a section")
    target[last] = value  # type: ignore[index]
    origins[(*parents, last)] = f"--set {override}"


def _expand(value: Any, key: str | int = "") -> Any:
    """Expand `${NAME:-default}` and `~` in the settings that are paths."""
    if isinstance(value, dict):
        return {name: _expand(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner) for inner in value]
    if isinstance(value, str) and key in _PATH_KEYS:
        expanded = _VARIABLE.sub(lambda m: os.environ.get(m[1], m[2] or ""), value)
        return str(Path(expanded).expanduser()) if expanded.startswith("~") else expanded
    return value


def _explain(mistake: Any, origins: dict[Path_, str], name: str) -> str:
    path = _clean_path(tuple(mistake["loc"]), origins)
    where, dotted, value = _where(origins, name, path), _dotted(path), mistake["input"]
    kind = mistake["type"]
    if kind == "extra_forbidden":
        near = _nearest(str(path[-1]), _fields_at(path[:-1]), path[:-1])
        return f"{where}: {dotted} = {_short(value)} is not a setting{near} (motet recipe schema lists them)"
    if kind == "missing":
        return f"{where}: {dotted} is missing; set it (motet recipe schema says how)"
    if kind == "value_error":
        message = str(mistake["ctx"]["error"])
        return f"{where}: {dotted + ': ' if dotted else ''}{message}"
    hint = mistake["msg"][0].lower() + mistake["msg"][1:]
    if kind == "literal_error":
        options = re.findall(r"'([^']+)'", mistake["msg"])
        near = difflib.get_close_matches(str(value), options, 1, 0.5)
        hint += f"; did you mean {near[0]!r}?" if near else ""
    return f"{where}: {dotted} = {_short(value)}: {hint}"


def _clean_path(path: Path_, origins: dict[Path_, str]) -> Path_:
    """Drop the names of union members that pydantic adds to a location."""
    while path and path not in origins and path[:-1] in origins and isinstance(_annotation_at(path), type(None)):
        path = path[:-1]
    return path


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
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            annotation = field.annotation if field else None
        annotation = _section_inside(annotation)
        if annotation is None:
            return None
    return typing.cast("type[BaseModel]", annotation)


def _section_inside(annotation: Any) -> Any:
    """Return the section inside Optional, tuple[...] or dict[str, ...]."""
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
