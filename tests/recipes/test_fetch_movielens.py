"""Fetching: whole or absent, and a failed download in one line. Nothing is fetched here."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script, which is in no package."""
    path = Path(__file__).resolve().parents[2] / "recipes" / "fetch_movielens.py"
    spec = importlib.util.spec_from_file_location("fetch_movielens", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_failed_download_is_one_line_and_exit_code_2(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: slow\nERROR: no network\nnotice: new pip\n")
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit) as ended:
        script.fetch_whole(script.fetch_movielens, tmp_path / "cache" / "ml-100k")
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "fetch: pip could not download recbole==1.2.1 (ERROR: no network); check the network and run this again\n"
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_fetch_that_breaks_off_leaves_nothing(script: ModuleType, tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        script.fetch_whole(half, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_who_is_first_stays(script: ModuleType, tmp_path: Path) -> None:
    for text in ("first", "second"):
        script.fetch_whole(lambda folder, text=text: (folder / "a").write_text(text), tmp_path / "x")
    assert (tmp_path / "x" / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
