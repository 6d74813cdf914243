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

import yaml
from pydantic import BaseModel, ValidationError

from motet.errors import RecipeError
from motet.recipe import Misfits, Recipe

Path_ = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
_MERGE = "tag:yaml.org,2002:merge"
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
    raw, origins, problems = _parse_yaml(text, name)
    for override in overrides:
        try:
            _apply_override(raw, override, origins)
        except RecipeError as error:
            problems += error.problems
    raw = _expand(raw, (), _Expansion(origins, name, problems))
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError([*problems, *_explain(error, raw, origins, name)]) from error
    if problems:
        raise RecipeError(problems)
    return LoadedRecipe(recipe, name, origins)


def _parse_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[Path_, str], list[str]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", "cannot be read")
        raise RecipeError(f"{name}:{line}: this is not YAML: {problem}; check indentation and colons") from error
    except (ValueError, RecursionError) as error:  # such as 2024-99-99, which looks like a date
        raise RecipeError(f"{name}:1: a value cannot be read: {error}; write it in quotes") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{name}:1: a recipe is a mapping of settings such as `name: shop`, not {type(raw).__name__}")
    lines = _Lines(name, {}, [])
    try:
        lines.collect(node, ())
    except RecursionError as error:
        raise RecipeError(f"{name}:1: a value holds itself or is nested too deeply; write it out flat") from error
    return raw, lines.origins, lines.problems


@dataclass(frozen=True)
class _Lines:
    """Collects the line of each key, and the keys that are wrong by themselves."""

    name: str
    origins: dict[Path_, str]
    problems: list[str]

    def collect(self, node: Any, path: Path_) -> None:
        """Walk down a YAML node that stands at `path`."""
        if isinstance(node, yaml.MappingNode):
            merged = [value for key, value in node.value if key.tag == _MERGE]
            for one in [inner for value in merged for inner in (value.value if value.id == "sequence" else [value])]:
                self.collect(one, path)
            seen: set[str] = set()
            for key, value in node.value:
                if key.tag != _MERGE:
                    self._key(key, path, seen)
                    self.collect(value, (*path, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                self.origins[(*path, position)] = f"{self.name}:{value.start_mark.line + 1}"
                self.collect(value, (*path, position))

    def _key(self, key: Any, path: Path_, seen: set[str]) -> None:
        where, dotted = f"{self.name}:{key.start_mark.line + 1}", _dotted((*path, key.value))
        if key.value in seen:
            self.problems.append(f"{where}: {dotted} is set twice; keep one")
        if key.tag != "tag:yaml.org,2002:str":
            self.problems.append(f"{where}: {dotted}: the key {key.value} is not read as text; write it in quotes")
        seen.add(key.value)
        self.origins[(*path, key.value)] = where


def _apply_override(raw: dict[str, Any], override: str, origins: dict[Path_, str]) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not all(dotted.split(".")):
        raise RecipeError(f"--set {override}: write --set section.key=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"--set {override}: {text!r} is not a YAML value; quote it") from error
    parts = dotted.split(".")
    path: list[str | int] = []
    target: Any = raw
    for part in parts[:-1]:
        path.append(_step(target, part, override))
        if isinstance(target, dict):
            target.setdefault(path[-1], {})
        target = target[path[-1]]
    path.append(_step(target, parts[-1], override))
    target[path[-1]] = value
    for old in [one for one in origins if one[: len(path)] == tuple(path)]:
        del origins[old]
    _mark(value, tuple(path), f"--set {override}", origins)


def _step(target: Any, part: str, override: str) -> str | int:
    """Return the key or place that `part` names inside `target`."""
    if isinstance(target, list):
        if not (part.isdecimal() and int(part) < len(target)):
            raise RecipeError(f"--set {override}: {part!r} is not a place of a list of {len(target)}")
        return int(part)
    if not isinstance(target, dict):
        raise RecipeError(f"--set {override}: {part!r} is inside a value, not a section; see motet recipe show")
    return part


def _mark(value: Any, path: Path_, where: str, origins: dict[Path_, str]) -> None:
    origins[path] = where
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        _mark(one, (*path, key), where, origins)


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
