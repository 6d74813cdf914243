"""What a recipe's files say, before it is checked: YAML with the line of every key, layers, overrides.

A file with `extends: base.yaml` is laid over that recipe: mappings join, everything else replaces. A mapping over a
list changes the entries that it names, by their `name` or their place:

    extends: movielens.yaml
    train: {learning_rate: 0.002}
    tasks: {like: {weight: 0.3}}
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from motet.errors import RecipeError
from motet.recipe import near

Path_ = tuple[str | int, ...]
EXTENDS = "extends"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Source:
    """Plain settings of a file, where each was said (`file:line` by path), and what is wrong by itself."""

    name: str
    raw: dict[str, Any]
    origins: dict[Path_, str]
    problems: list[str]


def read_source(file: str | Path) -> Source:
    """Read a recipe's file and those that it extends.

    Raises:
        RecipeError: if a file is missing or no YAML mapping, or files extend each other in a circle.
    """
    return _read(str(file), f"{file}", ())


def _read(name: str, said_by: str, above: tuple[Path, ...]) -> Source:
    """Read a file that `said_by` asks for, and those below it; `above` are the files that led here."""
    path = Path(name).resolve()
    if path in above:
        raise RecipeError(f"{said_by}: {EXTENDS} = {name!r} leads back to itself; let one of the files extend nothing")
    source = parse_yaml(_text(name, said_by), name)
    base = source.raw.pop(EXTENDS, None)
    where = source.origins.pop((EXTENDS,), name)
    if base is None:
        return source
    if not isinstance(base, str):
        raise RecipeError(f"{where}: {EXTENDS} = {base!r} is not a file; give a recipe's path, seen from this file")
    below = _read(str(Path(name).parent / os.path.expanduser(base)), where, (*above, path))  # noqa: PTH111
    return Source(name, _Layers(below, source).laid(), below.origins, [*below.problems, *source.problems])


def _text(name: str, said_by: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        asked = "" if said_by == name else f"{said_by}: {EXTENDS}: "
        raise RecipeError(f"{asked}{name}: no such recipe; the repository's are in recipes/") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name}: cannot be read as UTF-8 text ({error})") from error


@dataclass(frozen=True)
class _Layers:
    """Lays one source over another, whose settings and origins it changes."""

    below: Source
    above: Source

    def laid(self) -> dict[str, Any]:
        self._lay(self.below.raw, self.above.raw, (), ())
        return self.below.raw

    def _lay(self, target: Any, changes: dict[str, Any], path: Path_, said: Path_) -> None:
        """Change `target`, which stands at `path` below and at `said` in the layer above."""
        for key, value in changes.items():
            place: Any = entry_place(target, key) if isinstance(target, list) else key
            if place is None:
                hint = near(str(key), entry_names(target))
                problem = f"{_dotted((*said, key))}: {key!r} names no entry of the list{hint}"
                self.above.problems.append(f"{self._where((*said, key))}: {problem}")
                continue
            old = target[place] if isinstance(target, list) else target.get(place)
            if isinstance(value, dict) and isinstance(old, dict | list) and old:
                self.below.origins[(*path, place)] = self._where((*said, key))
                self._lay(old, value, (*path, place), (*said, key))
            else:
                target[place] = value
                self._take_origins((*path, place), (*said, key))

    def _where(self, said: Path_) -> str:
        return self.above.origins.get(said, f"{self.above.name}:1")

    def _take_origins(self, path: Path_, said: Path_) -> None:
        forget(self.below.origins, path)
        for one, where in self.above.origins.items():
            if one[: len(said)] == said:
                self.below.origins[(*path, *one[len(said) :])] = where


def entry_names(entries: list[Any]) -> list[str]:
    """Return the names of a list's entries."""
    return [entry["name"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)]


def entry_place(entries: list[Any], key: Any) -> int | None:
    """Return the place of the entry with a name, or the place that a number is; None if there is none."""
    named = [place for place, entry in enumerate(entries) if isinstance(entry, dict) and entry.get("name") == key]
    if named:
        return named[0]
    return int(key) if str(key).isdecimal() and int(key) < len(entries) else None


def forget(origins: dict[Path_, str], path: Path_) -> None:
    """Delete what is known of a setting and all inside it."""
    for old in [one for one in origins if one[: len(path)] == path]:
        del origins[old]


def parse_yaml(text: str, name: str) -> Source:
    """Return what a YAML text says; `name` is the file's, for messages."""
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
    return Source(name, raw, lines.origins, lines.problems)


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


def apply_override(source: Source, override: str) -> None:
    """Set `a.b=c`; what stood there before is forgotten.

    Raises:
        RecipeError: if it is not `a.b=c`, or `a.b` is no place of a setting.
    """
    dotted, separator, text = override.partition("=")
    if not separator or not all(dotted.split(".")):
        raise RecipeError(f"--set {override}: write --set section.key=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"--set {override}: {text!r} is not a YAML value; quote it") from error
    parts = dotted.split(".")
    path: list[str | int] = []
    target: Any = source.raw
    for part in parts[:-1]:
        path.append(_step(target, part, override))
        if isinstance(target, dict):
            target.setdefault(path[-1], {})
        target = target[path[-1]]
    path.append(_step(target, parts[-1], override))
    target[path[-1]] = value
    forget(source.origins, tuple(path))
    _mark(value, tuple(path), f"--set {override}", source.origins)


def _step(target: Any, part: str, override: str) -> str | int:
    """Return the key or place that `part` names inside `target`."""
    if isinstance(target, list):
        if (place := entry_place(target, part)) is None:
            names = entry_names(target)
            hint = near(part, names) if names else ""
            raise RecipeError(f"--set {override}: {part!r} is not a place of a list of {len(target)}{hint}")
        return place
    if not isinstance(target, dict):
        raise RecipeError(f"--set {override}: {part!r} is inside a value, not a section; see motet recipe show")
    return part


def _mark(value: Any, path: Path_, where: str, origins: dict[Path_, str]) -> None:
    origins[path] = where
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        _mark(one, (*path, key), where, origins)


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)
