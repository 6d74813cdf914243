"""Files that are whole or absent: atomic writes, manifests with checksums, verification.

A folder becomes visible by one rename, after its manifest was written as its last file. A reader
trusts a folder only through its manifest. Input tables may stand on any file system that
pyarrow knows (a path, `file://` or `s3://`); the workspace is a folder that all nodes see, or on a
store that each node's folder follows (`motet.mirror`), where the manifest alone makes a folder whole.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from motet.errors import DataError
from motet.mirror import at_hand, mirror_of, remove, send, send_folder

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with one spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def fingerprint(*parts: Any, length: int = 16) -> str:
    """Return the first `length` hex digits of the SHA-256 over the canonical JSON of `parts`."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fsync_path(path: Path) -> None:
    """Force a file's or folder's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        send(temporary, path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


def write_file_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    For libraries that write to a path by themselves (parquet, FAISS, safetensors).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        write(temporary)
        fsync_path(temporary)
        send(temporary, path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, so that `target` is whole or absent."""
    write_file_atomic(target, lambda path: shutil.copyfile(source, path))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically. NaN and infinity are refused."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(at_hand(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; run the stage that writes it (jobs/pipeline.py)") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}); delete it and run its stage again") from error


def files_under(folder: Path) -> list[Path]:
    """Return every file below `folder`, as relative paths in sorted order."""
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file() or p.is_symlink())


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return {relative path: {sha256, size}} for every file below `folder` but the manifest."""
    return {
        str(name): {"sha256": file_sha256(folder / name), "size": (folder / name).stat().st_size}
        for name in files_under(folder)
        if str(name) != MANIFEST
    }


def write_manifest(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Describe and sync all files of `folder`, write its manifest last, and return it."""
    files = describe_files(at_hand(folder))
    for name in files:
        fsync_path(folder / name)
    manifest = {**about, "files": files, "id": fingerprint(about, files)}
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of `folder`.

    Raises:
        DataError: if there is none: the folder was never finished.
    """
    if not at_hand(folder / MANIFEST).is_file():
        raise DataError(f"{folder} has no {MANIFEST}: its stage never finished; run jobs/pipeline.py again")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise DataError(f"{folder / MANIFEST} lists no files; delete the folder and run its stage again")
    return manifest


def manifest_problems(folder: Path, manifest: dict[str, Any], *, checksums: bool = True) -> list[str]:
    """Return one line for each file that is missing, added, linked, resized or changed."""
    at_hand(folder)
    listed, found = manifest["files"], {str(name) for name in files_under(folder)} - {MANIFEST}
    problems = [f"{MANIFEST} is a symbolic link"] if (folder / MANIFEST).is_symlink() else []
    problems += [f"{name} is missing" for name in sorted(listed.keys() - found)]
    problems += [f"{name} is not in the manifest" for name in sorted(found - listed.keys())]
    for name in sorted(listed.keys() & found):
        path, expected = folder / name, listed[name]
        if path.is_symlink():
            problems.append(f"{name} is a symbolic link")
        elif path.stat().st_size != expected["size"]:
            problems.append(f"{name} has {path.stat().st_size} bytes, the manifest says {expected['size']}")
        elif checksums and file_sha256(path) != expected["sha256"]:
            problems.append(f"{name} has another SHA-256 than the manifest")
    return problems


def has_all(folder: Path, manifest: dict[str, Any]) -> bool:
    """Return whether the files of a manifest are there in their sizes, and no others; nothing is fetched for that."""
    mirror = mirror_of(folder)
    if mirror is None:
        return not manifest_problems(folder, manifest, checksums=False)
    found = {str(path.relative_to(folder)): about.size for path, about in mirror.listed(folder).items()}
    found.pop(MANIFEST, None)
    return found == {name: about["size"] for name, about in manifest["files"].items()}


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` if the block ends well, and vanishes if not.

    On a store it is `target` itself, which is whole by its manifest: the block writes that last.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if mirror_of(target) is not None:
        remove(target)
        target.mkdir()
        try:
            yield target
        except BaseException:
            remove(target)
            raise
        return
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        replace_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; an older `target` is moved away first, then deleted."""
    send_folder(source, target, MANIFEST)
    if target.exists():
        old = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.old")
        target.rename(old)
        source.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        source.rename(target)
    fsync_path(target.parent)


def safe_join(root: Path, name: str) -> Path:
    """Return `root / name`, refusing a name that leaves `root`.

    Raises:
        DataError: if the name is absolute, climbs out, or holds a NUL.
    """
    if "\0" in name or not name:
        raise DataError(f"{name!r} is not a file name; use a relative path below {root}")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise DataError(f"{name!r} leaves {root}; use a relative path below it")
    return path


def open_filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    """Return the pyarrow file system and the path on it for a local path, `file://` or `s3://`.

    Raises:
        DataError: for any other scheme, or if it is not an address.
    """
    scheme, separator, _ = path.partition("://")
    if not separator:
        return pafs.LocalFileSystem(), str(at_hand(Path(os.path.expanduser(path)).absolute()))  # noqa: PTH111
    if scheme not in ("file", "s3"):
        raise DataError(f"{path}: the scheme {scheme!r} is not read; use a local path, file:// or s3://")
    try:
        filesystem, inner = pafs.FileSystem.from_uri(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not an address ({error}); write file:///folder/file or s3://bucket/key") from error
    return filesystem, inner
