"""The event log as files: `events/events-00000001.log` and so on, each line one event behind its checksum.

    6f1c09aa {"event_id":"e1","user":"u4","item":"i7","timestamp_ms":1700000000000}

Writing: one process holds `.lock` (flock, which the kernel frees however the process dies). `append` writes all its
lines with as few calls as the system takes, syncs once, and only then returns. Lines never change. A writer begins
segments of its own and never writes to those of another; if writing or syncing fails, the segment is cut back to what
was synced and left, since nobody knows what a failed sync has put on the disk.

A crash leaves at most a torn tail: lines after the last whole one whose checksum is wrong or whose end is missing.
None of them was acknowledged. The next writer cuts the tail off. A damaged line with whole ones behind it is no torn
tail but a damaged disk: it is skipped and reported, its neighbours stay.

Reading needs no lock: a reader goes to the last whole line and no further, so a line that is being written is read
whole the next time. It may see a line a moment before it is synced.

A line that begins with `erased` held an event of a user who was forgotten; readers go over it.

Each id counts once for as long as its segment is there: the writer knows all ids (16 bytes each, `IdSet`).
"""

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from motet.errors import EventLogError
from motet.events.codec import Codec
from motet.events.event import EVENTS
from motet.events.ids import IdSet, append_new
from motet.events.store import START, Position
from motet.storage import fsync_path

T = TypeVar("T")
ERASED = b"erased  "
"""What an erased line begins with; the rest is spaces. No checksum is spelled so."""
_CHUNK = 1 << 22
_log = logging.getLogger(__name__)


class Segments(Generic[T]):
    """The log in a folder.

    Args:
        folder: of the segments; made when it is opened for writing.
        segment_bytes: size at which a new segment begins.
        codec: of its entries.
    """

    def __init__(
        self,
        folder: Path,
        segment_bytes: int = 64 << 20,
        codec: Codec[T] = EVENTS,  # type: ignore[assignment]
    ) -> None:
        self.folder, self.segment_bytes, self.codec = folder, segment_bytes, codec
        self._lock: int | None = None
        self._file: int | None = None
        self._number, self._size = 0, 0
        self._ids = IdSet()

    # Writing

    def open(self) -> None:
        """Take the lock, cut off a torn tail, learn the ids; nothing if that was done.

        Raises:
            EventLogError: if another process writes, or the folder cannot be written.
        """
        if self._lock is not None:
            return
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                fsync_path(self.folder.parent)
            self._lock = _locked(self.folder / ".lock")
            self._ids, end = IdSet(), START
            for end, entry in self._read(START):  # noqa: B007
                if entry is not None:
                    self._ids.add(self.codec.id_of(entry))
            self._mend(end)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise EventLogError(f"{self.folder} cannot be written ({error}); set serve.events.path") from error
            raise

    def append(self, entries: Sequence[T]) -> list[bool]:
        """Write and sync the entries whose ids are new; see `Store.append`."""
        self.open()
        return append_new(entries, self.codec.id_of, self._ids, self._write)

    def close(self) -> None:
        """Close the file and free the lock."""
        for handle in (self._file, self._lock):
            if handle is not None:
                os.close(handle)
        self._file, self._lock = None, None

    def _write(self, entries: Sequence[T]) -> None:
        """Append entries to the current segment and sync it.

        Raises:
            EventLogError: if they are not safely there; the segment then ends before them.
        """
        content = b"".join(map(self.codec.frame, entries))
        try:
            file = self._current()
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except OSError as error:
            self._abandon()
            raise EventLogError(f"{self.folder} cannot be written ({error}); nothing was acknowledged") from error
        self._size += len(content)

    def _current(self) -> int:
        """Return the open segment; a new one if there is none or the last one is full."""
        if self._file is not None and self._size >= self.segment_bytes:
            os.close(self._file)
            self._file = None
        if self._file is None:
            self._number += 1
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
            self._file, self._size = os.open(self._path(self._number), flags, 0o644), 0
            fsync_path(self.folder)
        return self._file

    def _abandon(self) -> None:
        """Cut the segment back to what was synced and leave it."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            os.ftruncate(file, self._size)
            os.fsync(file)
        except OSError as error:
            _log.warning("%s keeps lines that were not acknowledged: %s", self._path(self._number), error)
        finally:
            os.close(file)

    def _mend(self, last: Position) -> None:
        """Cut off what follows the last whole line of the last segment, and sync what its writer may have left so."""
        self._number = max(self._numbers(), default=0)
        if self._number == 0:
            return
        number, offset = _place(last)
        path, end = self._path(self._number), offset if number == self._number else 0
        if torn := path.stat().st_size - end:
            _log.warning("%s: a torn tail of %d bytes, never acknowledged, is cut off", path, torn)
            os.truncate(path, end)
        fsync_path(path)

    # Reading

    def read(self, after: Position = START) -> Iterator[tuple[Position, T]]:
        """Yield (position, entry) after a position; see `Store.read`."""
        for position, entry in self._read(after):
            if entry is not None:
                yield position, entry

    def files(self) -> list[Path]:
        """Return the segments, the oldest first."""
        return [self._path(number) for number in self._numbers()]

    def _read(self, after: Position) -> Iterator[tuple[Position, T | None]]:
        """Yield what `read` does, and the places of erased lines with None."""
        number, offset = _place(after)
        numbers = [one for one in self._numbers() if one >= number]  # asked first: all but the last grow no more
        for one in numbers:
            for end, entry in _lines(self._path(one), offset if one == number else 0, self.codec):
                yield f"{one}:{end}", entry

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"{self.codec.name}-*.log"))

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.codec.name}-{number:08d}.log"


def _place(position: Position) -> tuple[int, int]:
    number, _, offset = position.partition(":")
    return (int(number), int(offset)) if position else (0, 0)


def _lines(path: Path, offset: int, codec: Codec[T]) -> Iterator[tuple[int, T | None]]:
    """Yield (end, event) for each whole line of a segment after an offset; None for an erased one."""
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size <= offset:
            return
        file.seek(offset)
        rest, at, damaged = b"", offset, 0
        while chunk := file.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                at += len(line) + 1
                entry = codec.unframe(line)
                if entry is None and not line.startswith(ERASED):
                    damaged += 1
                    continue
                if damaged:
                    _log.error("%s: %d damaged lines before byte %d are skipped", path, damaged, at - len(line) - 1)
                    damaged = 0
                yield at, entry


def _locked(path: Path) -> int:
    """Return the handle of a lock file that this process alone holds; the file names the process."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 200).decode(errors="replace").strip()
        os.close(handle)
        raise EventLogError(
            f"{path.parent} is written by {owner or 'another process'}; only one may write it"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {os.uname().nodename}\n".encode())
    return handle
