"""A bundle is refused, naming the file, whenever one byte is not as it was published."""

import os
import shutil
from pathlib import Path

import pytest

from motet.errors import MotetError, ReleaseError
from motet.release.bundle import FUSIONS, REQUIRED, assemble, read_report, release_id, verify
from motet.release.publish import Releases
from motet.storage import read_json, write_json, write_manifest
from tests.drafts import write_report

DRAFT = [name for name in REQUIRED if "report" not in name and name != "golden.json"]
DRAFT += [
    "index.faiss",
    "index.json",
    "content.faiss",
    "content.json",
    "neighbours.parquet",
    "met.parquet",
    *FUSIONS["trees"],
]
FILES = (*DRAFT, "report/report.json", "golden.json", "report/report.html")


@pytest.fixture
def release(workspace: Path) -> Path:
    return Releases(workspace).current()


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_release_holds_the_files_that_are_tested_here_and_verifies(release: Path) -> None:
    found = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert found == {*FILES, "manifest.json"}
    manifest = verify(release)
    assert release.name == release_id(manifest) == f"tiny-{manifest['id'][:12]}"
    assert read_report(release)["ranking"]["systems"]["motet"]["ndcg"]["mean"] == 0.2


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_by_the_files_name(release: Path, name: str) -> None:
    _flip(release / name, (release / name).stat().st_size // 2)
    with pytest.raises(ReleaseError, match=f"refused: {name} has another SHA-256 than the manifest; roll back"):
        verify(release)


def test_any_flipped_bit_of_the_manifest_is_refused_by_its_name(release: Path) -> None:
    path = release / "manifest.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 41):
        _flip(path, place)
        with pytest.raises(MotetError, match=r"manifest\.json"):
            verify(release)
        path.write_bytes(whole)
    verify(release)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(release: Path, name: str) -> None:
    (release / name).unlink()
    with pytest.raises(ReleaseError, match=f"refused: {name} is missing"):
        verify(release)


@pytest.mark.parametrize("name", ["model.safetensors", "index.faiss", "golden.json"])
def test_a_truncated_file_is_refused_with_both_sizes(release: Path, name: str) -> None:
    size = (release / name).stat().st_size
    os.truncate(release / name, size - 1)
    with pytest.raises(ReleaseError, match=f"{name} has {size - 1} bytes, the manifest says {size}"):
        verify(release)


@pytest.mark.parametrize("name", ["extra.json", "report/more.html", ".hidden"])
def test_an_extra_file_is_refused_by_name(release: Path, name: str) -> None:
    (release / name).write_text("{}")
    with pytest.raises(ReleaseError, match=f"{name} is not in the manifest"):
        verify(release)


def test_a_symbolic_link_is_refused_even_to_the_same_bytes(release: Path, tmp_path: Path) -> None:
    moved = tmp_path / "users.parquet"
    shutil.move(release / "users.parquet", moved)
    (release / "users.parquet").symlink_to(moved)
    with pytest.raises(ReleaseError, match=r"users\.parquet is a symbolic link"):
        verify(release)


def test_a_linked_folder_is_refused(release: Path, tmp_path: Path) -> None:
    shutil.move(release / "report", tmp_path / "report")
    (release / "report").symlink_to(tmp_path / "report")
    with pytest.raises(ReleaseError, match=r"report/report\.\w+ is missing"):
        verify(release)


def test_a_kind_of_file_that_could_run_code_is_refused_though_listed(release: Path) -> None:
    (release / "model.pkl").write_bytes(b"\x80")
    manifest = read_json(release / "manifest.json")
    (release / "manifest.json").unlink()
    write_manifest(release, {key: manifest[key] for key in manifest if key not in ("files", "id")})
    with pytest.raises(ReleaseError, match=r"model\.pkl is of a kind that a bundle does not hold"):
        verify(release)


def test_another_format_and_no_manifest_are_refused(release: Path) -> None:
    (release / "manifest.json").unlink()
    with pytest.raises(ReleaseError, match=r"is not a release: it has no manifest\.json"):
        verify(release)
    write_manifest(release, {"format": 1, "recipe": "tiny"})
    with pytest.raises(ReleaseError, match="bundle format 1 is not 2; publish it anew"):
        verify(release)


def test_a_changed_manifest_that_lists_the_changed_file_is_refused(release: Path) -> None:
    (release / "trees.json").write_text("{}")
    manifest = read_json(release / "manifest.json")
    manifest["files"]["trees.json"]["size"] = 2
    write_json(release / "manifest.json", manifest)
    with pytest.raises(ReleaseError, match=r"manifest\.json was changed"):
        verify(release)


@pytest.mark.parametrize("name", DRAFT)
def test_a_draft_that_lacks_a_file_is_refused_by_name(draft: Path, report: Path, tmp_path: Path, name: str) -> None:
    broken, target = tmp_path / "draft", tmp_path / "target"
    shutil.copytree(draft, broken)
    (broken / name).unlink()
    (broken / "manifest.json").unlink()
    write_manifest(broken, {"stage": "index"})
    target.mkdir()
    with pytest.raises(ReleaseError, match=f"lacks {name}; run the index stage again"):
        assemble(target, broken, report, {"recipe": "tiny"})
    assert not (target / "manifest.json").exists()


def test_a_damaged_draft_or_report_is_refused_by_name(draft: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(draft, tmp_path / "draft"))
    report = write_report(tmp_path / "report")
    (tmp_path / "target").mkdir()
    _flip(broken / "vectors.safetensors", 999)
    with pytest.raises(ReleaseError, match=r"vectors\.safetensors has another SHA-256.*; run the index stage again"):
        assemble(tmp_path / "target", broken, report, {"recipe": "tiny"})
    _flip(report / "report.html", 9)
    with pytest.raises(ReleaseError, match=r"report\.html has another SHA-256.*; run the evaluate stage again"):
        assemble(tmp_path / "target", draft, report, {"recipe": "tiny"})
