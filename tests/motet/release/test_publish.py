"""Publish, list, roll back; two at once and killed in the middle are in tests/chaos."""

import shutil
from pathlib import Path

import pytest

from motet.errors import MotetError, ReleaseError
from motet.release.bundle import release_id
from motet.release.publish import CURRENT, Releases
from motet.settings import ReleaseSettings
from tests.drafts import write_report

GATE = ReleaseSettings(max_drop=0.05, golden_requests=3)


def _double(releases: Releases, created: str = "2020-01-01") -> str:
    """Put a second whole release beside the first, as if published at another time; return its id."""
    from motet.storage import read_manifest, write_manifest

    folder = Path(shutil.copytree(releases.current(), releases.folder / "copy"))
    manifest = read_manifest(folder)
    about = {key: manifest[key] for key in manifest if key not in ("files", "id", "created")}
    (folder / "manifest.json").unlink()
    name = release_id(write_manifest(folder, {**about, "created": created}))
    folder.rename(releases.folder / name)
    return name


def test_two_releases_under_each_others_names_are_refused(workspace: Path) -> None:
    releases = Releases(workspace)
    first, second = releases.current_id(), _double(releases)
    (releases.folder / first).rename(releases.folder / "aside")
    (releases.folder / second).rename(releases.folder / first)
    (releases.folder / "aside").rename(releases.folder / second)
    with pytest.raises(ReleaseError, match=f"{first} is refused: its content is that of {second}"):
        releases.current()


def test_the_published_release_is_current_whole_and_listed(workspace: Path) -> None:
    releases = Releases(workspace)
    (only,) = releases.all()
    assert only.current
    assert releases.current() == only.folder == releases.find(only.id)
    assert (releases.folder / CURRENT).read_text() == f"{only.id}\n"
    assert {path.name for path in releases.folder.iterdir()} == {only.id, CURRENT, ".lock"}
    assert only.manifest["recipe"] == "tiny"


def test_a_second_release_becomes_current_and_rollback_goes_back(workspace: Path, draft: Path, report: Path) -> None:
    releases = Releases(workspace)
    first = releases.current_id()
    second = releases.publish(draft, report, GATE, {"recipe": "tiny"})
    assert [one.id for one in releases.all()] == [first, second.id]
    assert releases.current_id() == second.id
    assert releases.rollback() == first == releases.current_id()
    with pytest.raises(ReleaseError, match=f"{first} is the oldest release; there is none to roll back to"):
        releases.rollback()
    assert releases.rollback(second.id) == second.id == releases.current_id()


@pytest.mark.parametrize(("ndcg", "ours"), [(0.1899, "0.1899"), (0.0, "0.0000")])
def test_the_gate_refuses_a_worse_release_and_leaves_nothing(
    workspace: Path, draft: Path, tmp_path: Path, ndcg: float, ours: str
) -> None:
    releases = Releases(workspace)
    before = releases.current_id()
    # The current release has 0.2; a drop of 5 % allows 0.2 x 0.95 = 0.19.
    with pytest.raises(ReleaseError, match=f"NDCG {ours}, the current one has 0.2000 .* allows 0.1900"):
        releases.publish(draft, write_report(tmp_path / "worse", ndcg), GATE, {"recipe": "tiny"})
    assert releases.current_id() == before
    assert {path.name for path in releases.folder.iterdir()} == {before, CURRENT, ".lock"}


@pytest.mark.parametrize(("ndcg", "protocol"), [(0.1901, "Leave one out."), (0.01, "Time.")])
def test_the_gate_lets_a_small_drop_and_another_protocol_pass(
    workspace: Path, draft: Path, tmp_path: Path, ndcg: float, protocol: str
) -> None:
    report = write_report(tmp_path / "report", ndcg, protocol)
    published = Releases(workspace).publish(draft, report, GATE, {"recipe": "tiny"})
    assert Releases(workspace).current_id() == published.id


def test_a_damaged_current_release_is_refused_and_does_not_bar_the_next(
    workspace: Path, draft: Path, report: Path
) -> None:
    releases = Releases(workspace)
    (releases.current() / "report" / "report.json").write_text("{")
    with pytest.raises(ReleaseError, match=r"report/report\.json has 1 bytes"):
        releases.current()
    published = releases.publish(draft, report, GATE, {"recipe": "tiny"})
    assert releases.current() == published.folder


@pytest.mark.parametrize("damage", ["manifest", "folder"])
def test_rollback_works_when_the_current_release_cannot_be_read(workspace: Path, damage: str) -> None:
    releases = Releases(workspace)
    older = _double(releases)
    if damage == "manifest":
        (releases.current() / "manifest.json").write_text("{")
    else:
        shutil.rmtree(releases.current())
    with pytest.raises(MotetError):
        releases.current()
    assert [one.id for one in releases.all()] == [older]
    assert releases.rollback() == older
    assert releases.current().name == older


def test_rollback_refuses_a_damaged_release_and_keeps_the_pointer(workspace: Path) -> None:
    releases = Releases(workspace)
    before, older = releases.current_id(), _double(releases)
    (releases.folder / older / "trees.json").write_text("{}")
    with pytest.raises(ReleaseError, match=rf"{older} is refused: trees\.json"):
        releases.rollback()
    assert releases.current_id() == before


@pytest.mark.parametrize("name", ["tiny-none", "..", "../..", "/etc", "", "abc.tmp", "."])
def test_names_that_are_no_release_are_refused(workspace: Path, name: str) -> None:
    releases = Releases(workspace)
    before = releases.current_id()
    shutil.copytree(releases.current(), releases.folder / "abc.tmp")
    with pytest.raises(MotetError):
        releases.rollback(name)
    assert releases.current_id() == before
    assert [one.id for one in releases.all()] == [before]


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    assert releases.all() == []
    with pytest.raises(ReleaseError, match=r"has no current release; run jobs/pipeline\.py RECIPE first"):
        releases.current()
