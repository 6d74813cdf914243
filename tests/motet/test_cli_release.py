"""`motet release` and `motet recommend`: what they print, and one line and exit code 2 for a mistake."""

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from motet.cli import main
from motet.release.publish import Releases
from motet.storage import read_json, write_json
from tests.drafts import write_report


def _run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def _refused(result: Result) -> str:
    """Return the one line that a mistake gives."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_list_shows_each_release_and_marks_the_current_one(workspace: Path) -> None:
    name = Releases(workspace).current_id()
    shown = _run("release", "list", "--workspace", workspace)
    assert shown.exit_code == 0
    row = next(line for line in shown.stdout.splitlines() if name in line)
    assert "*" in row
    assert "0.2000" in row


def test_list_of_nothing_is_an_empty_table(tmp_path: Path) -> None:
    shown = _run("release", "list", "--workspace", tmp_path)
    assert shown.exit_code == 0
    assert "release" in shown.stdout


def test_list_still_works_when_a_release_is_damaged(workspace: Path) -> None:
    current = Releases(workspace).current()
    (current / "report" / "report.json").write_text("{")
    shown = _run("release", "list", "--workspace", workspace)
    assert shown.exit_code == 0, shown.output
    assert "damaged" in shown.stdout


def test_verify_counts_the_files_and_replays(workspace: Path) -> None:
    name = Releases(workspace).current_id()
    assert _run("release", "verify", "--workspace", workspace).stdout == f"{name}: 23 files as published\n"
    replayed = _run("release", "verify", name, "--workspace", workspace, "--replay")
    assert replayed.stdout == f"{name}: 23 files as published; answers replayed\n"


def test_verify_names_the_damaged_file(workspace: Path) -> None:
    (Releases(workspace).current() / "users.parquet").write_bytes(b"")
    line = _refused(_run("release", "verify", "--workspace", workspace))
    assert line.startswith("ReleaseError: release tiny-")
    assert "users.parquet has 0 bytes" in line


@pytest.mark.parametrize("name", ["tiny-none", "../x", "."])
def test_verify_refuses_names_that_are_no_release(workspace: Path, name: str) -> None:
    assert "Error: " in _refused(_run("release", "verify", name, "--workspace", workspace))


def test_publish_and_rollback_print_the_id(workspace: Path, draft: Path, report: Path) -> None:
    first = Releases(workspace).current_id()
    published = _run("release", "publish", draft, report, "--workspace", workspace)
    assert published.exit_code == 0, published.output
    second = published.stdout.strip()
    assert Releases(workspace).current_id() == second != first
    assert Releases(workspace).all()[1].manifest["draft"] == read_json(draft / "manifest.json")["id"]
    assert _run("release", "rollback", "--workspace", workspace).stdout.strip() == first
    assert "oldest release" in _refused(_run("release", "rollback", "--workspace", workspace))
    assert _run("release", "rollback", second, "--workspace", workspace).stdout.strip() == second


def test_publish_says_why_the_gate_refuses(workspace: Path, draft: Path, tmp_path: Path) -> None:
    worse = write_report(tmp_path / "worse", 0.1)
    line = _refused(_run("release", "publish", draft, worse, "--workspace", workspace))
    assert "the gate refuses this release: NDCG 0.1000" in line


def test_publish_refuses_folders_that_no_stage_finished(workspace: Path, report: Path, tmp_path: Path) -> None:
    assert "recipe.json does not exist" in _refused(
        _run("release", "publish", tmp_path, report, "--workspace", workspace)
    )


def test_recommend_prints_items_with_reasons_as_yaml(workspace: Path) -> None:
    shown = yaml.safe_load(_run("recommend", "--user", "u03", "--k", 3, "--workspace", workspace).stdout)
    assert shown["user"] == "known"
    assert len(shown["items"]) == 3
    assert set(shown["items"][0]) == {"item", "title", "value", "scores", "sources", "reason"}
    history = _run("recommend", "--history", "i01", "--history", "i02", "--workspace", workspace)
    assert yaml.safe_load(history.stdout)["user"] == "history"
    text = _run("recommend", "--text", "red car", "--surface", "ratings", "--workspace", workspace)
    assert yaml.safe_load(text.stdout)["user"] == "text"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--history", "i99"], "RequestError: history: none of these items is in the catalogue"),
        (["--surface", "x"], "RequestError: surface: unknown; this release has ['home', 'ratings', 'reds']"),
    ],
)
def test_recommend_refuses_what_the_release_does_not_have(workspace: Path, words: list[str], line: str) -> None:
    assert _refused(_run("recommend", *words, "--workspace", workspace)) == line


def test_recommend_refuses_a_damaged_release_and_an_empty_workspace(workspace: Path, tmp_path: Path) -> None:
    assert "has no current release" in _refused(_run("recommend", "--workspace", tmp_path / "empty"))
    recipe = Releases(workspace).current() / "recipe.json"
    write_json(recipe, read_json(recipe) | {"seed": 1})
    assert "recipe.json has" in _refused(_run("recommend", "--workspace", workspace))
    shutil.rmtree(recipe.parent)
    assert "does not exist; releases: []" in _refused(_run("recommend", "--workspace", workspace))


@pytest.mark.parametrize("k", ["0", "501", "x"])
def test_recommend_wants_k_from_1_to_500(workspace: Path, k: str) -> None:
    assert _run("recommend", "--k", k, "--workspace", workspace).exit_code == 2
