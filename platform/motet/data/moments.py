"""The log as it stood: before a part, or at a past moment from which a ranker can learn, and what came next.

By time: moments before the end of train, each half a test share before the next; what came within a test share after
it is what its candidates are judged by. For other splits: each user's last event but k of the training part.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motet.data.split import TRAIN, VALIDATION
from motet.data_settings import Split

NOW, LATER = VALIDATION, VALIDATION + 1
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Before:
    """The log before a part began."""

    part: int

    def parts(self, histories: pa.Table) -> pa.Table:
        """Return histories whose `parts` are TRAIN for all events of earlier parts; the others keep theirs."""
        old_N = histories.column("parts").combine_chunks().flatten().to_numpy()
        return _with_parts(histories, np.where(old_N < self.part, TRAIN, old_N))


@dataclass(frozen=True)
class Moment:
    """A moment of the log (`at_ms`, and `until_ms` for what came), or of each user (`back` events before the end)."""

    at_ms: int | None = None
    until_ms: int | None = None
    back: int = 0

    def parts(self, histories: pa.Table) -> pa.Table:
        """Return histories whose `parts` are those of this moment: TRAIN before it, NOW what came, LATER the rest."""
        parts_N = histories.column("parts").combine_chunks()
        old_N = parts_N.flatten().to_numpy()
        if self.at_ms is not None:
            moments_N = histories.column("timestamps").combine_chunks().flatten().to_numpy()
            new_N = (moments_N > self.at_ms).astype(np.int8) + (moments_N > (self.until_ms or 0)).astype(np.int8)
        else:
            new_N = self._by_place(pc.list_value_length(parts_N).to_numpy(), old_N)
        return _with_parts(histories, new_N)

    def _by_place(self, lengths_U: np.ndarray, old_N: np.ndarray) -> np.ndarray:
        """Return the parts by the place among a user's training events; who has too few stays as before."""
        place_N, counts_N = _places(lengths_U, old_N)
        now_N = counts_N - self.back
        new_N = np.where(place_N < now_N, TRAIN, np.where(place_N == now_N, NOW, LATER))
        new_N[now_N < 1] = TRAIN
        return np.where(place_N >= 0, new_N, LATER)


@dataclass(frozen=True)
class WithoutLatest:
    """The log without each user's latest `events` of the training part; without all of them, if there are no more."""

    events: int

    def parts(self, histories: pa.Table) -> pa.Table:
        """Return histories whose `parts` are TRAIN for what is left, and LATER else."""
        parts_N = histories.column("parts").combine_chunks()
        place_N, counts_N = _places(pc.list_value_length(parts_N).to_numpy(), parts_N.flatten().to_numpy())
        left_N = (place_N >= 0) & (place_N < counts_N - self.events)
        return _with_parts(histories, np.where(left_N, TRAIN, LATER))


AsOf = Before | Moment | WithoutLatest
BEFORE_VALIDATION = Before(VALIDATION)


def _places(lengths_U: np.ndarray, parts_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each event's place among its user's training events, -1 for others, and how many these are."""
    owner_N = np.repeat(np.arange(len(lengths_U)), lengths_U)
    train_N = parts_N == TRAIN
    place_N = np.full(len(parts_N), -1)
    counts_U = np.bincount(owner_N[train_N], minlength=len(lengths_U))
    place_N[train_N] = np.arange(train_N.sum()) - np.repeat(np.cumsum(counts_U) - counts_U, counts_U)
    return place_N, counts_U[owner_N]


def _with_parts(histories: pa.Table, parts_N: np.ndarray) -> pa.Table:
    offsets = histories.column("parts").combine_chunks().offsets
    lists = pa.ListArray.from_arrays(offsets, pa.array(parts_N.astype(np.int8)))
    return histories.set_column(histories.column_names.index("parts"), "parts", lists)


def first_training(split: Split, percentiles: list[int], held_back: int) -> AsOf:
    """Return what the first network is trained on: train, without what came at the latest `held_back` moments."""
    if split.kind != "time":
        return WithoutLatest(held_back) if held_back else BEFORE_VALIDATION
    moments = past_moments(split, percentiles, held_back)
    return moments[-1] if moments else BEFORE_VALIDATION


def past_moments(split: Split, percentiles: list[int], count: int) -> list[Moment]:
    """Return at most `count` moments before the end of train, latest first.

    Args:
        split: the split.
        percentiles: the log's percentiles of time, 101 milliseconds.
        count: how many are wanted.
    """
    if split.kind != "time":
        return [Moment(back=k) for k in range(1, count + 1)]
    moments = []
    for k in range(count):
        share = split.until - split.validation - 2 * split.test - k * split.test / 2
        if share < _LEAST_SHARE:
            break
        at, until = round(100 * share), round(100 * (share + split.test))
        if percentiles[at] < percentiles[until]:
            moments.append(Moment(percentiles[at], percentiles[until]))
    return moments
