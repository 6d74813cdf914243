"""Shards of histories and users to the rows that training and validation read, on Ray Data's workers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from jobs.estimates import Folds
from jobs.histories import UserTexts
from jobs.tables import over_files
from motet.data.moments import AsOf
from motet.data.parquet import read_parquet
from motet.data.split import TRAIN


class _Windows:
    """Reads a shard's histories and users and makes rows of them."""

    def __init__(self, history: int, text: UserTexts, folds: Folds | None) -> None:
        self.history, self.text, self.folds = history, text, folds

    def tables(self, batch: pa.Table) -> Iterator[tuple[str, pa.Table, pa.Table]]:
        """Yield (file name, histories, users) of each shard that the batch names."""
        for row in batch.to_pylist():
            yield (
                Path(row["histories"]).name,
                read_parquet(Path(row["histories"])),
                read_parquet(Path(row["users"]), ["user", "text", "slots", "numbers"]),
            )


@dataclass(frozen=True)
class Fresh:
    """What a network has not been trained on yet."""

    users_ms: int
    """Only users with an event later than this."""
    window_ms: int | None
    """Of these only windows with a target later than this; all if None."""

    def users(self, histories: pa.Table) -> pa.Table:
        """Return the histories of these users."""
        latest = [max(moments, default=0) for moments in histories.column("timestamps").to_pylist()]
        return histories.filter(pa.array([one > self.users_ms for one in latest], pa.bool_()))


class TrainWindows(_Windows):
    """Training windows of shards, over the events before a moment; of a warm start only what is fresh."""

    def __init__(
        self,
        as_of: AsOf,
        multiple_of: int,
        history: int,
        text: UserTexts,
        folds: Folds | None,
        fresh: Fresh | None = None,
        around: bool = False,
    ) -> None:
        super().__init__(history, text, folds)
        self.as_of, self.multiple_of, self.fresh, self.around = as_of, multiple_of, fresh, around

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of `motet.training.windows.train_rows`."""
        from motet.training.windows import train_rows

        for name, histories, users in self.tables(batch):
            chosen = self.folds.of(name, histories.column("user").to_pylist()) if self.folds else None
            if self.fresh is not None:
                histories = self.fresh.users(histories)
            yield train_rows(
                self.as_of.parts(histories), users, self.history, self.text, self.multiple_of,
                chosen.__getitem__ if chosen is not None else None, self.fresh.window_ms if self.fresh else None,
                self.around,
            )  # fmt: skip


def count_windows(files: list[Path], as_of: AsOf, history: int, fresh: Fresh | None) -> int:
    """Return how many windows `TrainWindows` makes of shards of histories (Ray Data)."""
    return sum(int(row["windows"]) for row in over_files(files, partial(_count, as_of, history, fresh)))


def _count(as_of: AsOf, history: int, fresh: Fresh | None, histories: pa.Table) -> pa.Table:
    from motet.training.windows import windows_since

    histories, since_ms = (histories, None) if fresh is None else (fresh.users(histories), fresh.window_ms)
    count = 0
    for row in as_of.parts(histories).select(["parts", "timestamps"]).to_pylist():
        moments = [when for when, part in zip(row["timestamps"], row["parts"], strict=True) if part == TRAIN]
        count += sum(1 for _ in windows_since(moments, history, since_ms))
    return pa.table({"windows": [count]})


class ValidationWindows(_Windows):
    """Validation rows of shards."""

    def __init__(self, known: str, history: int, text: UserTexts, folds: Folds | None) -> None:
        super().__init__(history, text, folds)
        self.known = known

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of `motet.training.windows.validation_rows`."""
        from motet.training.windows import validation_rows

        whole = self.folds.whole() if self.folds else None
        for _, histories, users in self.tables(batch):
            yield validation_rows(histories, users, self.history, self.text, whole, self.known)
