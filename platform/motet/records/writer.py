"""The one thread that writes records, behind a bounded queue that never makes an answer wait.

Files are named by when their writer began, a random word of its own, and a number, so no two writers share a name. Each
is written under a hidden name, synced and renamed.
"""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from motet.recommend.query import Query
from motet.record_settings import RecordSettings
from motet.records.record import Record, fallback_arrays
from motet.records.table import to_table, write_table

_PAUSE_S = 1.0
_OLD_S = 3600.0
_SLICE = 50
"""Records that are made a table at once: while that goes on, other threads wait."""
_log = logging.getLogger(__name__)


class RecordWriter:
    """Writes records into a folder.

    Args:
        folder: of the files; made when the first is written.
        settings: the recipe's.
        ids_of: gives the item ids by place of a release.
        on_drop: is told how many records were dropped, by any thread.
        forgets: says of a user who was forgotten that no record of theirs is written.
    """

    def __init__(
        self,
        folder: Path,
        settings: RecordSettings,
        ids_of: Callable[[str], pa.Array],
        on_drop: Callable[[int], None] = lambda _: None,
        forgets: Callable[[str | None], bool] = lambda _: False,
    ) -> None:
        self.forgets = forgets
        self.folder, self.settings, self.ids_of, self.on_drop = folder, settings, ids_of, on_drop
        self.name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self._number = 0
        self._waiting: deque[Record] = deque()
        self._wake, self._ends = threading.Event(), threading.Event()
        _rehearse()
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> bool:
        """Take a record, or drop it if too many wait; return whether it was taken. Never waits."""
        if len(self._waiting) >= self.settings.waiting or self._ends.is_set():
            self.on_drop(1)
            return False
        self._waiting.append(record)
        if len(self._waiting) >= self.settings.rows:
            self._wake.set()
        return True

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits and end, within so many seconds; nothing if that was done."""
        self._ends.set()
        self._wake.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        self._sweep()
        while not self._ends.is_set():
            self._wake.wait(self.settings.flush_s)
            self._wake.clear()
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.settings.rows))]
            self._write(taken)
            if len(self._waiting) < self.settings.rows and not self._ends.is_set():
                return

    def _write(self, records: list[Record]) -> None:
        """Write a file; what cannot be written is dropped and said, so that later records still are."""
        records = [one for one in records if not self.forgets(one.query.user)]
        if not records:
            return
        self._number += 1
        path = self.folder / f"{self.name}-{self._number:08d}.parquet"
        try:
            slices = [records[start : start + _SLICE] for start in range(0, len(records), _SLICE)]
            write_table(path, pa.concat_tables([to_table(one, self.ids_of) for one in slices]))
        except Exception:
            self.on_drop(len(records))
            _log.exception("%d records are lost, %s cannot be written", len(records), path)
            self._ends.wait(_PAUSE_S)

    def _sweep(self) -> None:
        """Remove what writers that were killed an hour ago or earlier left half written."""
        for path in self.folder.glob(".*.parquet"):
            try:
                if time.time() - path.stat().st_mtime > _OLD_S:
                    path.unlink()
            except FileNotFoundError:
                continue


def _rehearse() -> None:
    """Write a record nowhere: what the first one loads, such as pandas by pyarrow, would hold up requests later."""
    arrays = fallback_arrays(None, np.zeros(0, np.int64), [])
    nothing = Record("", "", 0, Query(), "", "", "", None, **arrays)
    write_table(pa.BufferOutputStream(), to_table([nothing], lambda _: pa.array([], pa.string())))
