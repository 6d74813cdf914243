"""`motet release` and `motet recommend`: what they print, and one line and exit code 2 for a mistake."""

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from motet.cli import main
from motet.data.parquet import read_parquet
from motet.data.split import TEST
from motet.evaluation.held_out import HeldOut, held_out
from motet.evaluation.offline import evaluate_users
from motet.evaluation.per_user import write_rows
from motet.evaluation.report import write_report as write_evaluation
from motet.evaluation.sections import sections
from motet.recommend import Recommender
from motet.release.publish import Releases
from motet.storage import read_json, write_json, write_manifest
from tests.builders import Tiny
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


def _measured(folder: Path, tiny: Tiny, users: list[HeldOut], draft: Path, k: int = 10) -> Path:
    """A report of the draft over some users, with the rows behind it."""
    rows = evaluate_users(Recommender(draft, threads=1), users)
    items = read_parquet(draft / "items.parquet")
    about = {"protocol": "Leave one out.", "recipe": "tiny", **sections(rows, items, tiny.recipe)}
    write_evaluation(folder, about | {"ranking": about["ranking"] | {"k": k}})
    write_rows(folder, rows, tiny.recipe)
    write_manifest(folder, {"stage": "evaluate"})
    return folder


def test_what_the_gate_refuses_is_published_by_force_and_listed(workspace: Path, draft: Path, tmp_path: Path) -> None:
    worse = write_report(tmp_path / "worse", 0.01)
    said = _refused(_run("release", "publish", draft, worse, "--workspace", workspace))
    assert "NDCG 0.0100, the current one has 0.2000" in said
    assert said.endswith("or publish it with --force")
    first = Releases(workspace).current_id()
    shown = _run("release", "publish", draft, worse, "--workspace", workspace, "--force")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.strip() == Releases(workspace).current_id() != first
    assert shown.stderr.startswith("forced: NDCG 0.0100, the current one has 0.2000 and release.max_drop allows")
    assert _run("release", "rollback", "--workspace", workspace).stdout.strip() == first
    rows = " ".join(_run("release", "list", "--workspace", workspace).stdout.split())
    assert "forced; refused: rolled back to" in rows.replace("│ ", "").replace("│", "")


@pytest.mark.slow
def test_compare_says_which_is_better_or_that_it_is_noise(
    workspace: Path, draft: Path, tiny: Tiny, tmp_path: Path
) -> None:
    """The second release orders by nothing but its reversed surface, so the two differ in lists and not in tasks."""
    other = Path(shutil.copytree(draft, tmp_path / "other"))
    recipe = read_json(other / "recipe.json")
    recipe["evaluate"]["surface"] = "ratings"
    write_json(other / "recipe.json", recipe)
    write_manifest(other, {"stage": "index"})
    users = held_out(tiny.histories, TEST, "label:like")
    releases = Releases(workspace)
    settings = tiny.recipe.release.model_copy(update={"max_drop": 1.0})
    names = [
        releases.publish(one, _measured(tmp_path / one.name, tiny, users, one), settings, {"recipe": "tiny"}).id
        for one in (draft, other)
    ]
    shown = _run("release", "compare", *names, "--workspace", workspace)
    assert shown.exit_code == 0, shown.output
    reports = [read_json(releases.find(name) / "report" / "report.json") for name in names]
    means = [f"{one['ranking']['systems']['motet']['ndcg']['mean']:.4f}" for one in reports]
    row = next(line for line in shown.stdout.splitlines() if "ndcg" in line)
    assert all(mean in row for mean in means)
    assert means[0] != means[1]
    last = shown.stdout.splitlines()[-1]
    assert last.startswith(("within noise: NDCG", f"{names[0]} is better: NDCG", f"{names[1]} is better: NDCG"))
    auc = next(line for line in shown.stdout.splitlines() if "like auc" in line)
    assert "+0.0000" in auc
    assert "within noise" in auc
    assert _run("release", "compare", names[0], "--workspace", workspace).stdout == shown.stdout
    fewer = _measured(tmp_path / "fewer", tiny, users[1:], draft)
    third = releases.publish(draft, fewer, settings, {"recipe": "tiny"}).id
    assert "asked about other events of 1 users, such as 'u00'" in _refused(
        _run("release", "compare", names[0], third, "--workspace", workspace)
    )


def test_compare_refuses_a_release_from_before_rows_were_kept(workspace: Path) -> None:
    name = Releases(workspace).current_id()
    assert "has no rows.parquet" in _refused(_run("release", "compare", name, "--workspace", workspace))
    assert "does not exist; releases" in _refused(_run("release", "compare", "tiny-none", "--workspace", workspace))


@pytest.mark.parametrize("name", ["tiny-none", "../x", "."])
def test_verify_refuses_names_that_are_no_release(workspace: Path, name: str) -> None:
    assert "Error: " in _refused(_run("release", "verify", name, "--workspace", workspace))


def test_a_draft_and_a_report_may_be_named_by_their_paths_in_the_workspace(
    workspace: Path, draft: Path, report: Path
) -> None:
    shutil.copytree(draft, workspace / "drafts" / "d1")
    shutil.copytree(report, workspace / "reports" / "r1")
    said = _run("release", "publish", "drafts/d1", "reports/r1", "--workspace", workspace).stdout.strip()
    assert Releases(workspace).current_id() == said
    assert "drafts/d2" in _refused(_run("release", "publish", "drafts/d2", "reports/r1", "--workspace", workspace))


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


def test_a_release_is_tried_out_promoted_or_given_up(workspace: Path, draft: Path, tmp_path: Path) -> None:
    releases, here = Releases(workspace), ("--workspace", workspace)
    first = releases.current_id()
    report = write_report(tmp_path / "report", 0.3)
    second = _run("release", "publish", draft, report, *here).stdout.strip()
    assert "motet release canary NAME begins it" in _refused(_run("release", "promote", *here))
    assert f"{second} is the current release already" in _refused(_run("release", "canary", second, *here))
    assert _run("release", "canary", first, *here).stdout.strip() == first
    assert (releases.candidate_id(), releases.current_id()) == (first, second)
    assert _run("release", "canary", "--stop", *here).stdout.strip() == first
    assert releases.candidate_id() is None
    assert "is not being tried out" in _refused(_run("release", "canary", "--stop", *here))
    releases.drop_candidate(releases.try_out(first), "it is slow")
    assert f"{first} was refused: it is slow" in _refused(_run("release", "canary", first, *here))
    assert _run("release", "canary", first, "--again", *here).stdout.strip() == first
    releases.drop_candidate()
    assert "either which release to try out, or --stop" in _refused(_run("release", "canary", *here))
    _run("release", "canary", first, *here)
    assert _run("release", "promote", *here).stdout.strip() == first
    assert (releases.candidate_id(), releases.current_id()) == (None, first)


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    here = ("--workspace", tmp_path)
    secret = _run("keys", "add", "me", *here).stdout.strip()
    assert len(secret) == 43
    assert _run("keys", "list", *here).stdout == "me  admin\n"
    assert _run("keys", "add", "shop", "--scope", "feedback", "--scope", "recommend", *here).exit_code == 0
    assert "shop  recommend, feedback\n" in _run("keys", "list", *here).stdout
    assert _run("keys", "add", "acme", "--scope", "recommend", "--users", "acme-", *here).exit_code == 0
    assert "acme  recommend  users acme-*\n" in _run("keys", "list", *here).stdout
    assert _run("keys", "revoke", "acme", *here).exit_code == 0
    assert "--scope root: no such scope; scopes: recommend, feedback, admin" in _refused(
        _run("keys", "add", "other", "--scope", "root", *here)
    )
    assert _run("keys", "revoke", "shop", *here).exit_code == 0
    assert "there is a key 'me' already" in _refused(_run("keys", "add", "me", *here))
    assert _run("keys", "revoke", "me", *here).exit_code == 0
    assert _run("keys", "list", *here).stdout == ""
    assert "there is no key 'me'" in _refused(_run("keys", "revoke", "me", *here))
