"""What the crowd did lately with each item, as of any moment: counts by item and stretch of time.

An item's events are counted in bins of equal length, all and liked ones apart, so that popularity, trend and age can be
told for the moment at which somebody asks, whether it is now or, in training, in the past. Nothing of the bin that
holds the moment, or of a later one, is read; from the latest event on, everything is.

    popularity    log of 1 + counts that halve every 1, 3, 7, 30 and 90 days
    liked         the same of liked events
    trend         log ratio of the last week's pace to that of two months
    age, idle     days since the item's first and latest event
    liking        share of liked events, drawn towards the share of all items by five events
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from motet.data.histories import DAY_MS
from motet.data.parquet import read_parquet, write_parquet
from motet.storage import read_json, write_json

BINS = 512
HALF_LIVES = (1.0, 3.0, 7.0, 30.0, 90.0)
_PRIOR_EVENTS = 5.0
_NEVER_DAYS = 3650.0
_KEPT_ITEMS = 1_000_000
"""Rows of answers that are kept, over all moments."""


def bin_length(first_ms: int, last_ms: int) -> int:
    """Return the length of a bin in milliseconds: a 512th of the span, at least a minute."""
    return max(60_000, -(-(last_ms + 1 - first_ms) // BINS))


def count_bins(
    items_N: np.ndarray, moments_N: np.ndarray, liked_N: np.ndarray, items: int, first_ms: int, length_ms: int,
    weights_N: np.ndarray | None = None,
) -> pa.Table:  # fmt: skip
    """Return item, bin, events, liked: one row per item and bin with events, ordered by both.

    Args:
        items_N: places of events.
        moments_N: their milliseconds; what is before `first_ms`, the first of a sample, counts in bin 0.
        liked_N: 1 liked, 0 not, NaN unknown (counts as not liked).
        items: size of the catalogue.
        first_ms: start of bin 0.
        length_ms: length of a bin.
        weights_N: what each event counts; 1 if not given.
    """
    weights_N = np.ones(len(items_N)) if weights_N is None else weights_N
    bins_N = np.maximum((moments_N - first_ms) // length_ms, 0)
    shape = (items, int(bins_N.max(initial=0)) + 1)
    places = (items_N.astype(np.int64), bins_N.astype(np.int64))
    events = sp.coo_matrix((weights_N, places), shape=shape).tocsr()
    liked = sp.coo_matrix((weights_N * np.nan_to_num(liked_N, nan=0.0), places), shape=shape).tocsr()
    rows, columns = events.nonzero()
    values = np.asarray(liked[rows, columns]).ravel() if len(rows) else np.zeros(0)
    return pa.table(
        {
            "item": pa.array(rows.astype(np.int32)),
            "bin": pa.array(columns.astype(np.int32)),
            "events": pa.array(events.data.astype(np.float32)),
            "liked": pa.array(values.astype(np.float32)),
        }
    )


class Trends:
    """Counts of a catalogue by bin.

    Args:
        tables: what `count_bins` gave for parts of the log.
        items: size of the catalogue.
        first_ms: start of bin 0.
        length_ms: length of a bin.
        last_ms: the latest event.
    """

    names = (
        *(f"popularity {days:g} d" for days in HALF_LIVES), "popularity ever",
        *(f"liked {days:g} d" for days in HALF_LIVES), "liked ever", "trend", "age", "idle", "liking",
    )  # fmt: skip

    def __init__(self, tables: Sequence[pa.Table], items: int, first_ms: int, length_ms: int, last_ms: int) -> None:
        table = pa.concat_tables(tables)
        self.items, self.first_ms, self.length_ms, self.last_ms = items, first_ms, length_ms, last_ms
        rows, bins = (table.column(name).to_numpy().astype(np.int64) for name in ("item", "bin"))
        self.bins = int(bins.max(initial=0)) + 1
        shape = (items, self.bins)
        self.events, self.liked = (
            sp.coo_matrix((table.column(name).to_numpy(), (rows, bins)), shape=shape).tocsc()
            for name in ("events", "liked")
        )
        kept = int(np.clip(_KEPT_ITEMS // max(items, 1), 2, 64))
        self.at_bin, self.since_bin = (lru_cache(maxsize=kept)(work) for work in (self._at_bin, self._since_bin))
        self.unmet = lru_cache(maxsize=64)(self._unmet)

    def bin_of(self, moment_ms: int) -> int:
        """Return the bin of a moment; one past the last bin for any moment after it."""
        return int(np.clip((moment_ms - self.first_ms) // self.length_ms, 0, self.bins))

    def at(self, moment_ms: int) -> np.ndarray:
        """Return what is known of each item before the bin of a moment, float32 [I, len(names)]."""
        return self.at_bin(self.bins if moment_ms >= self.last_ms else self.bin_of(moment_ms))

    def of(self, moment_ms: int, places_C: np.ndarray) -> np.ndarray:
        """Return the rows of `at` of some items, [C, len(names)]; of one that came later, those of an item unmet."""
        rows_IF = self.at(moment_ms)
        beyond_C = places_C >= self.items
        if not beyond_C.any():
            return np.asarray(rows_IF[places_C])
        rows_CF = rows_IF[np.where(beyond_C, 0, places_C)]
        rows_CF[beyond_C] = self.unmet(self.bins if moment_ms >= self.last_ms else self.bin_of(moment_ms))
        return np.asarray(rows_CF)

    def since(self, moment_ms: int, asked_ms: int) -> np.ndarray:
        """Return log(1 + events) of each item after one moment and before another, all and liked, float32 [I, 2]."""
        end = self.bins if asked_ms >= self.last_ms else self.bin_of(asked_ms)
        return self.since_bin(min(self.bin_of(moment_ms) + 1, end), end)

    def decayed(self, moment_ms: int, half_life_days: float | None, liked: bool) -> np.ndarray:
        """Return each item's count before the bin of a moment, halving with age, float32 [I].

        Args:
            moment_ms: when somebody asks.
            half_life_days: age at which an event counts half; None counts all alike.
            liked: liked events only.
        """
        end = self.bins if moment_ms >= self.last_ms else self.bin_of(moment_ms)
        age_N = (end - np.arange(end)) * self.length_ms / DAY_MS
        weights_N = np.ones(end) if half_life_days is None else 0.5 ** (age_N / half_life_days)
        return np.asarray((self.liked if liked else self.events)[:, :end] @ weights_N, np.float32)

    def _since_bin(self, start: int, end: int) -> np.ndarray:
        sums = [np.asarray(matrix[:, start:end].sum(1)).ravel() for matrix in (self.events, self.liked)]
        return np.log1p(np.stack(sums, 1)).astype(np.float32)

    def _at_bin(self, end: int) -> np.ndarray:
        days = self.length_ms / DAY_MS
        age_N = (end - np.arange(end)) * days
        weights_NH = np.stack([*(0.5 ** (age_N / half_life) for half_life in HALF_LIVES), np.ones(end)], 1)
        events, liked = self.events[:, :end], self.liked[:, :end]
        events_IH, liked_IH = events @ weights_NH, liked @ weights_NH
        week = HALF_LIVES.index(7.0)
        two_months_I = events @ (0.5 ** (age_N / 60.0))
        trend_I = np.log((events_IH[:, week] + 1) / (two_months_I + 1))
        first_I, last_I = _ends(events)
        share = float(liked_IH[:, -1].sum() / max(events_IH[:, -1].sum(), 1.0))
        liking_I = (liked_IH[:, -1] + _PRIOR_EVENTS * share) / (events_IH[:, -1] + _PRIOR_EVENTS)
        known_I = first_I >= 0
        columns = [
            np.log1p(events_IH), np.log1p(liked_IH), trend_I[:, None],
            np.where(known_I, (end - first_I) * days, 0.0)[:, None],
            np.where(known_I, (end - last_I) * days, _NEVER_DAYS)[:, None], liking_I[:, None],
        ]  # fmt: skip
        return np.concatenate(columns, 1).astype(np.float32)

    def _unmet(self, end: int) -> np.ndarray:
        """Return the row of an item without an event before the bin `end`, float32 [len(names)]."""
        nobody = pa.table({name: pa.array([], pa.float32()) for name in ("item", "bin", "events", "liked")})
        row_F = Trends([nobody], 1, self.first_ms, self.length_ms, self.last_ms).at_bin(1)[0].copy()
        liked, events = (float(matrix[:, :end].sum()) for matrix in (self.liked, self.events))
        row_F[Trends.names.index("liking")] = liked / max(events, 1.0)
        return np.asarray(row_F)

    def save(self, folder: Path) -> None:
        """Write trends.parquet and trends.json."""
        coo, liked = self.events.tocoo(), self.liked.tocsr()
        values = np.asarray(liked[coo.row, coo.col]).ravel() if coo.nnz else np.zeros(0)
        columns = {"item": coo.row.astype(np.int32), "bin": coo.col.astype(np.int32)}
        columns |= {"events": coo.data.astype(np.float32), "liked": values.astype(np.float32)}
        write_parquet(folder / "trends.parquet", pa.table(columns))
        about: dict[str, Any] = {"items": self.items, "first": self.first_ms, "length": self.length_ms}
        write_json(folder / "trends.json", about | {"last": self.last_ms})

    @classmethod
    def load(cls, folder: Path) -> "Trends":
        """Read what `save` wrote."""
        about = read_json(folder / "trends.json")
        table = read_parquet(folder / "trends.parquet")
        return cls([table], about["items"], about["first"], about["length"], about["last"])


def _ends(events: sp.csc_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the latest bin of each item, -1 for items without events."""
    coo = events.tocoo()  # of a matrix by columns, so bins rise; of several assignments to one place the last one stays
    first_I, last_I = np.full(events.shape[0], -1), np.full(events.shape[0], -1)
    last_I[coo.row] = coo.col
    first_I[coo.row[::-1]] = coo.col[::-1]
    return first_I, last_I
