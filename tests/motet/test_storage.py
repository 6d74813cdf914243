"""Whole or absent: atomic writes, manifests that notice every change, names that cannot climb out."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import DataError
from motet.storage import (
    canonical_json,
    describe_files,
    file_sha256,
    files_under,
    fingerprint,
    manifest_problems,
    new_folder,
    open_filesystem,
    read_json,
    read_manifest,
    replace_folder,
    safe_join,
    write_atomic,
    write_file_atomic,
    write_json,
    write_manifest,
)


def test_one_spelling_of_json() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None, "é"]}) == '{"a":[1.5,null,"\\u00e9"],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_fingerprint_is_the_start_of_a_known_sha256() -> None:
    assert hashlib.sha256(b'["a",{"x":1}]').hexdigest()[:16] == fingerprint("a", {"x": 1})
    assert fingerprint("a", length=4) == "0eb5"
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})
    assert fingerprint("a", "b") != fingerprint("ab")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1: the message "abc"
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "b").write_bytes(b"x" * ((1 << 20) + 1))
    assert file_sha256(tmp_path / "b") == hashlib.sha256(b"x" * ((1 << 20) + 1)).hexdigest()


def test_a_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "a.txt", "é")
    write_atomic(tmp_path / "new" / "a.txt", b"two")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"two"
    assert files_under(tmp_path) == [Path("new/a.txt")]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_atomic(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(target, "new \ud800")
    assert target.read_text() == "old"
    assert files_under(tmp_path) == [Path("a.txt")]


def test_a_writer_that_raises_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_file_atomic(target, lambda path: path.write_bytes(b"old"))

    def half(path: Path) -> None:
        path.write_bytes(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_file_atomic(target, half)
    assert target.read_bytes() == b"old"
    assert files_under(tmp_path) == [Path("a.bin")]


def test_the_temporary_file_keeps_the_ending(tmp_path: Path) -> None:
    seen: list[str] = []
    write_file_atomic(tmp_path / "t.parquet", lambda path: seen.append(path.suffix) or path.write_bytes(b""))
    assert seen == [".parquet"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x, max_size=3)))
def test_json_comes_back(value: Any) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "a.json", value)
        assert read_json(Path(folder) / "a.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": value})
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1} x'])
def test_what_is_not_json_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json is not JSON .*; delete it and run its stage again"):
        read_json(tmp_path / "a.json")


def test_a_missing_json_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.json does not exist; run the stage that writes it"):
        read_json(tmp_path / "b.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two files with its manifest."""
    made = tmp_path / "made"
    (made / "sub").mkdir(parents=True)
    (made / "a.bin").write_bytes(b"abc")
    (made / "sub" / "b.bin").write_bytes(b"12345")
    write_manifest(made, {"stage": "test"})
    return made


def test_the_manifest_describes_every_file(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert {name: entry["size"] for name, entry in manifest["files"].items()} == {"a.bin": 3, "sub/b.bin": 5}
    assert manifest["files"]["a.bin"]["sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert manifest["id"] == fingerprint({"stage": "test"}, describe_files(folder))
    assert manifest_problems(folder, manifest) == []


def _damage(folder: Path, how: str) -> None:
    target = folder / "a.bin"
    if how == "missing":
        target.unlink()
    elif how == "extra":
        (folder / "sub" / "c").write_bytes(b"")
    elif how == "truncated":
        target.write_bytes(b"ab")
    elif how == "changed":
        target.write_bytes(b"abx")
    elif how == "linked":
        target.rename(folder.parent / "elsewhere")
        target.symlink_to(folder.parent / "elsewhere")
    elif how == "broken link":
        target.unlink()
        target.symlink_to("nowhere")
    elif how == "linked folder":
        (folder / "more").symlink_to(folder.parent, target_is_directory=True)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("missing", "a.bin is missing"),
        ("extra", "sub/c is not in the manifest"),
        ("truncated", "a.bin has 2 bytes, the manifest says 3"),
        ("changed", "a.bin has another SHA-256 than the manifest"),
        ("linked", "a.bin is a symbolic link"),
        ("broken link", "a.bin is a symbolic link"),
        ("linked folder", "more is not in the manifest"),
    ],
)
def test_every_change_is_noticed(folder: Path, how: str, problem: str) -> None:
    _damage(folder, how)
    assert manifest_problems(folder, read_manifest(folder)) == [problem]


def test_all_changes_are_said_at_once(folder: Path) -> None:
    _damage(folder, "extra")
    _damage(folder, "truncated")
    (folder / "sub" / "b.bin").unlink()
    assert len(manifest_problems(folder, read_manifest(folder))) == 3


def test_without_checksums_only_sizes_are_looked_at(folder: Path) -> None:
    _damage(folder, "changed")
    assert manifest_problems(folder, read_manifest(folder), checksums=False) == []


@given(st.integers(0, 4), st.integers(0, 7))
def test_a_flipped_bit_is_noticed(place: int, bit: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "b.bin"
        path.write_bytes(b"12345")
        manifest = write_manifest(Path(name), {})
        flipped = bytearray(b"12345")
        flipped[place] ^= 1 << bit
        path.write_bytes(bytes(flipped))
        assert manifest_problems(Path(name), manifest) == ["b.bin has another SHA-256 than the manifest"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"has no manifest\.json: its stage never finished"),
        ("[]", "lists no files"),
        ('{"files": 3}', "lists no files"),
        ("{", "is not JSON"),
    ],
)
def test_a_folder_without_a_manifest_is_not_read(folder: Path, content: str | None, message: str) -> None:
    (folder / "manifest.json").unlink()
    if content is not None:
        (folder / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_manifest(folder)


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "out") as temporary:
        (temporary / "a").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert [str(path) for path in files_under(tmp_path)] == ["deep/out/a"]


def _make_and_stop(target: Path) -> None:
    with new_folder(target) as temporary:
        (temporary / "a").write_text("new")
        raise RuntimeError("stop")


def test_a_new_folder_vanishes_on_error(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        _make_and_stop(tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_replaced_folder_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("")
    (tmp_path / "in").mkdir()
    replace_folder(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert files_under(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/etc/passwd", "", "a\0b", "link/x", "./../made2/x"])
def test_names_that_leave_the_folder(folder: Path, name: str) -> None:
    (folder / "link").symlink_to(folder.parent.parent, target_is_directory=True)
    with pytest.raises(DataError, match="use a relative path below"):
        safe_join(folder, name)


@pytest.mark.parametrize("name", ["a.bin", "sub/b.bin", "sub/../a.bin", "not/there", "..hidden"])
def test_names_that_stay_inside(folder: Path, name: str) -> None:
    assert safe_join(folder, name) == (folder / name).resolve()


def test_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert open_filesystem("a.csv") == (pafs.LocalFileSystem(), str(tmp_path / "a.csv"))
    assert open_filesystem("~/a.csv")[1] == "/home/someone/a.csv"
    assert open_filesystem("file:///data/a%20b.csv") == (pafs.LocalFileSystem(), "/data/a b.csv")
    assert open_filesystem("~nobody-of-that-name/a")[1] == str(tmp_path / "~nobody-of-that-name/a")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("http://host/a.csv", "the scheme 'http' is not read; use a local path, file:// or s3://"),
        ("file://host/a.csv", "file://host/a.csv is not an address"),
        ("file:///a b.csv", "is not an address .*; write file:///folder/file or s3://bucket/key"),
    ],
)
def test_addresses_that_are_not_read(path: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_filesystem(path)


def test_the_manifest_is_readable(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["stage"] == "test"
