"""A workspace on an object store: every node has a folder of its own that follows it, and whose paths all code uses.

    s3://bucket/motet   <- a file is on the store before it has its name in the folder (`send`)
                        -> a file is fetched before it is read, if the store's is another (`at_hand`)

The store is what counts. Nothing can be renamed there, so a folder of a stage or a release is whole by its manifest,
which comes last. What has a name that begins with a dot, or that ends in `.tmp` or `.old`, is the node's own and never
on the store: locks, files that are being written. Of a workspace that is a folder all of this does nothing.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from motet.errors import DataError

VARIABLE = "MOTET_MIRROR"
"""Names the mirror of this process and of those that it starts, as JSON: the address, and the folder of a node."""
FOLDERS = "MOTET_MIRRORS"
"""Names the folder of the mirrors of a node; the same on all of them."""
_FIXED = (".parquet", ".arrow", ".safetensors", ".faiss")
"""Files that are not written twice in a second to the same size, so that these two tell another content; all others are
fetched each time."""
_CHUNK = 8 << 20
_THREADS = 8
_FOLLOW_S, _AWAY_S = 0.5, 15.0
"""Pause between two looks of `follow`, and after one at a store that is away."""


def workspace_folder(workspace: str | Path) -> Path:
    """Return the folder of a workspace on this node; for an address of a store, the one that follows it from now on.

    Raises:
        DataError: if it is an address, but not of a store that a workspace can be on, or holds secrets.
    """
    text = str(workspace)
    if "://" not in text:
        return Path(text).expanduser().absolute()
    if not text.startswith("s3://"):
        raise DataError(f"workspace {text!r}: a workspace is a folder that all nodes see, or s3://bucket/key")
    if "@" in text.partition("?")[0]:
        raise DataError(
            "workspace: an address with keys in it would stand in every release; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give the nodes a role"
        )
    place, mark, options = text.partition("?")
    text = place.rstrip("/") + mark + options
    root = _folders() / hashlib.sha256(text.encode()).hexdigest()[:16]
    os.environ[VARIABLE] = json.dumps({"address": text, "root": str(root)})
    _own(root)
    return root


def _folders() -> Path:
    return Path(os.environ.get(FOLDERS) or Path(tempfile.gettempdir()) / f"motet-mirrors-{os.getuid()}").absolute()


def _own(root: Path) -> None:
    """Make the folder, for its owner alone; it is under a name that others could have taken."""
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.parent.is_symlink() or root.parent.stat().st_uid != os.getuid():
        raise DataError(f"{root.parent} belongs to somebody else; set {FOLDERS} to a folder of your own")
    root.mkdir(mode=0o700, exist_ok=True)


def runtime_env() -> dict[str, dict[str, str]]:
    """Return the runtime environment by which Ray tells processes on other nodes of the mirror; empty without one."""
    told = os.environ.get(VARIABLE)
    return {"env_vars": {VARIABLE: told}} if told else {}


@cache
def _mirror(told: str) -> "Mirror":
    about = json.loads(told)
    return Mirror(about["address"], Path(about["root"]))


def mirror_of(path: Path) -> "Mirror | None":
    """Return the mirror that a path is in; None if it is an ordinary file."""
    told = os.environ.get(VARIABLE)
    if not told:
        return None
    mirror = _mirror(told)
    return mirror if path.is_relative_to(mirror.root) else None


def at_hand(path: Path) -> Path:
    """Make a file or folder what it is on the store, and return it.

    Raises:
        DataError: if the store cannot be read.
    """
    if (mirror := mirror_of(path)) is not None:
        mirror.fetch(path)
    return path


def send(source: Path, path: Path) -> None:
    """Put a file on the store under the name that it is about to get.

    Raises:
        DataError: if the store cannot be written.
    """
    if (mirror := mirror_of(path)) is not None:
        mirror.put(source, path)


def send_folder(source: Path, folder: Path, last: str) -> None:
    """Put a folder on the store under the name that it is about to get, in place of what was there.

    Args:
        source: with its files.
        folder: as it will be called.
        last: the file that makes it whole.
    """
    if (mirror := mirror_of(folder)) is not None:
        mirror.delete(folder)
        files = [path for path in source.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: path == source / last):
            mirror.put(path, folder / path.relative_to(source))


def remove(path: Path, ignore_errors: bool = False) -> None:
    """Remove a file or folder, if it is there, from the store too.

    Args:
        path: what is to go.
        ignore_errors: of this node's disk, for a folder that somebody may be writing still.
    """
    if (mirror := mirror_of(path)) is not None:
        mirror.delete(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors)
    else:
        path.unlink(missing_ok=True)


def names_in(folder: Path, pattern: str = "*.parquet") -> list[Path]:
    """Return the files of a folder that match, in sorted order; those on a store are not fetched for that.

    Args:
        folder: of a workspace, or any other.
        pattern: of the path below the folder, such as `*/manifest.json`.
    """
    mirror = mirror_of(folder)
    if mirror is None:
        return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
    depth = len(PurePosixPath(pattern).parts)
    inner = [path.relative_to(folder) for path in mirror.listed(folder)]
    return sorted(folder / name for name in inner if len(name.parts) == depth and name.match(pattern))


def storage_of(path: Path) -> dict[str, Any]:
    """Return where Ray Train and Ray Tune keep what is theirs, as arguments of a RunConfig: in a folder of ours."""
    mirror = mirror_of(path)
    if mirror is None:
        return {"storage_path": str(path)}
    return {"storage_path": mirror.inner(path), "storage_filesystem": mirror.store}


def follow(path: Path) -> None:
    """Keep a small file or folder at hand from now on, twice a second, for those who look at it at every request."""
    if (mirror := mirror_of(path)) is not None:
        mirror.follow(path)


@dataclass(frozen=True)
class _Info:
    """A file on the store: size in bytes, and the second in which it was written."""

    size: int
    second: int

    @classmethod
    def of(cls, info: pafs.FileInfo) -> "_Info":
        return cls(info.size, info.mtime_ns // 10**9)

    @classmethod
    def here(cls, path: Path) -> "_Info | None":
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return cls(found.st_size, found.st_mtime_ns // 10**9)


class Mirror:
    """A folder that follows an address.

    Args:
        address: s3://bucket/key, with what pyarrow takes after a question mark.
        root: the folder.
    """

    def __init__(self, address: str, root: Path) -> None:
        self.address, self.root = address, root
        _own(root)
        try:
            self.store, base = pafs.FileSystem.from_uri(address)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"workspace {address!r} is not an address ({error}); write s3://bucket/key") from error
        self.base = base.rstrip("/")
        self.lost = ""
        """Which lease this process lost while it was away, and with it the right to write."""
        self._followed: set[Path] = set()
        self._following = threading.Lock()

    def inner(self, path: Path) -> str | None:
        """Return where a path stands on the store; None for what is the node's own."""
        parts = path.relative_to(self.root).parts
        if any(part.startswith(".") or part.endswith((".tmp", ".old")) for part in parts):
            return None
        return "/".join((self.base, *parts))

    def said(self, error: OSError) -> DataError:
        """Return what a store's error is to whoever runs a command."""
        said = str(error).splitlines()[0]
        return DataError(f"workspace {self.address}: {said}; is the store there, and may this machine use it?")

    def listed(self, folder: Path) -> dict[Path, _Info]:
        """Return the files below a folder, by their paths in the mirror.

        Hidden ones, as Ray keeps, are not ours, and neither are names that would lead out of the folder.
        """
        if (inner := self.inner(folder)) is None:
            return {}
        try:
            found = self.store.get_file_info(pafs.FileSelector(inner, allow_not_found=True, recursive=True))
        except OSError as error:
            raise self.said(error) from error
        files = {one.path[len(inner) + 1 :]: one for one in found if one.type == pafs.FileType.File}
        return {
            folder / name: _Info.of(one)
            for name, one in files.items()
            if not name.startswith("/") and self.inner(folder / name) is not None
        }

    def fetch(self, path: Path) -> None:
        """Make a file or folder what it is on the store."""
        if (inner := self.inner(path)) is None:
            return
        began = time.time()
        try:
            info = self.store.get_file_info(inner)
        except OSError as error:
            raise self.said(error) from error
        if info.type == pafs.FileType.File:
            about = _Info.of(info)
            if path.suffix not in _FIXED or _Info.here(path) != about:
                self._download(path, about)
            return
        found = self.listed(path) if info.type == pafs.FileType.Directory else {}
        changed = [(file, one) for file, one in found.items() if _Info.here(file) != one]
        self._each(lambda one: self._download(*one), changed)
        self._drop_others(path, found, began)

    def _drop_others(self, path: Path, found: Iterable[Path], began: float) -> None:
        """Remove what the store did not have when it was looked at; what came here since is there by now."""
        here = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
        for file in {path, *here}.difference(found):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if self.inner(file) is not None and file.is_file() and file.stat().st_ctime < began - 1:
                    file.unlink()

    def _each(self, work: Callable[..., None], ones: list[tuple[Path, _Info]]) -> None:
        if len(ones) < 2:
            for one in ones:
                work(one)
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(work, ones))

    def _download(self, path: Path, about: _Info) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with self.store.open_input_stream(self.inner(path)) as source, temporary.open("wb") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
            os.utime(temporary, (about.second, about.second))
            temporary.replace(path)
        except FileNotFoundError:  # it went in the meantime
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self.said(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def put(self, source: Path, path: Path) -> None:
        """Write a file to the store, under the name that `path` has.

        Raises:
            DataError: if it cannot be written, or a lease was lost.
        """
        if (inner := self.inner(path)) is None:
            return
        self._require_lease()
        try:
            with source.open("rb") as file, self.store.open_output_stream(inner) as target:
                while chunk := file.read(_CHUNK):
                    target.write(chunk)
            written = _Info.of(self.store.get_file_info(inner))
        except OSError as error:
            raise self.said(error) from error
        if written.size != (size := source.stat().st_size):
            raise DataError(
                f"workspace {self.address}: {written.size} of {size} bytes of {inner} arrived; run it again"
            )
        os.utime(source, (written.second, written.second))

    def _require_lease(self) -> None:
        if self.lost:
            raise DataError(f"workspace {self.address}: another machine holds {self.lost} by now; run it again")

    def delete(self, path: Path) -> None:
        """Remove a file or folder from the store."""
        if (inner := self.inner(path)) is None:
            return
        self._require_lease()
        try:
            match self.store.get_file_info(inner).type:
                case pafs.FileType.File:
                    self.store.delete_file(inner)
                case pafs.FileType.Directory:
                    self.store.delete_dir(inner)
        except OSError as error:
            raise self.said(error) from error

    def follow(self, path: Path) -> None:
        """Keep a path at hand in the background."""
        self.fetch(path)
        with self._following:
            first = not self._followed
            self._followed.add(path)
        if first:
            threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        while True:
            time.sleep(_FOLLOW_S)
            if json.loads(os.environ.get(VARIABLE) or "{}").get("address") != self.address:
                return  # the process has another workspace by now, or none
            for path in list(self._followed):
                try:
                    self.fetch(path)
                except (DataError, OSError):  # what was at hand goes on to count, until the store is back
                    time.sleep(_AWAY_S)
