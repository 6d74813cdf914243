"""The house as a whole: which folder may hold what, and who may import whom."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("platform", "jobs", "serve")


def _files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(path: Path) -> Iterator[str]:
    """The full names that a file imports, at any depth; a relative one from the folder the file stands in."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = list(path.relative_to(ROOT).parts[: -node.level]) if node.level else []
            base = ".".join(filter(None, [*here, node.module or ""]))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _importers(name: str, *folders: str) -> list[str]:
    return [
        str(path.relative_to(ROOT))
        for path in _files(*folders)
        if any(found == name or found.startswith(f"{name}.") for found in _imports(path))
    ]


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at() -> None:
    assert all(len(_files(folder)) > 5 for folder in SOURCES)
    assert {"torch", "ray"} <= {name.partition(".")[0] for path in _files(*SOURCES) for name in _imports(path)}


@pytest.mark.parametrize("folder", SOURCES)
def test_source_roots_are_no_packages(folder: str) -> None:
    # platform/__init__.py would shadow the standard library's platform for uuid and asyncio
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("path", _files("jobs", "serve"), ids=_id)
def test_no_module_shadows_the_standard_library(path: Path) -> None:
    parts = [*path.relative_to(ROOT).parts[1:-1], path.stem]
    assert not set(parts) & set(sys.stdlib_module_names)


def test_every_room_of_motet_is_a_package() -> None:
    rooms = {path.parent for path in _files("platform/motet")}
    assert [_id(room) for room in sorted(rooms) if not (room / "__init__.py").exists()] == []


def test_who_imports_whom() -> None:
    assert _importers("ray", "platform/motet") == []
    assert _importers("jobs", "platform/motet", "serve") == []
    assert _importers("serve", "platform/motet", "jobs") == []
    assert _importers("tests", *SOURCES) == []


@pytest.mark.parametrize("path", _files(*SOURCES, "tests", "recipes", "bench"), ids=_id)
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{_id(path)} has {lines} lines; divide it"


def _dangers(path: Path) -> Iterator[str]:
    """Calls and imports that run code out of data."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "compile", "builtins.eval", "builtins.exec", "torch.load", "yaml.load"):
                yield f"{node.lineno}: {called}("
            for keyword in node.keywords:
                safe = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "trust_remote_code" and not safe:
                    yield f"{node.lineno}: trust_remote_code={ast.unparse(keyword.value)}"
                if keyword.arg == "allow_pickle" and not safe:
                    yield f"{node.lineno}: allow_pickle={ast.unparse(keyword.value)}"


@pytest.mark.parametrize("path", _files(*SOURCES), ids=_id)
def test_no_data_is_run(path: Path) -> None:
    assert list(_dangers(path)) == []
    unpicklers = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert {name.partition(".")[0] for name in _imports(path)} & unpicklers == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("eval('1')", "1: eval("),
        ("x = 1\nexec(x)", "2: exec("),
        ("torch.load(f)", "1: torch.load("),
        ("A.from_pretrained(f, trust_remote_code=True)", "1: trust_remote_code=True"),
        ("A.from_pretrained(f, trust_remote_code=flag)", "1: trust_remote_code=flag"),
        ("A.from_pretrained(f, trust_remote_code=False); model.eval(); re.compile('a')", None),
    ],
)
def test_the_search_for_dangers_finds_them(tmp_path: Path, source: str, found: str | None) -> None:
    (tmp_path / "a.py").write_text(source)
    assert list(_dangers(tmp_path / "a.py")) == ([found] if found else [])
