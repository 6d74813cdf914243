"""What labels alone say of a user and an item, before any network; the task heads read it.

    residual   an event's label minus its item's prior, in deviations of the label
    offset     the user's shrunk mean of residuals; spread: their deviation; mood: a mean that favours the last few
    prior      the item's shrunk mean of labels; count: the log of how many
    near       mean over the user's events of residual - offset, weighed by how near the event's item is to the item

Offsets and priors are the classic baseline of collaborative filtering, near is its neighbourhood model of items
(Koren, KDD 2008, sections 2.1 and 2.2): cosine of two items' residuals, shrunk by how many people have labelled both.

An event's own label is in none of its estimates: offset, spread, mood and near read the events before it, and in
training prior and nearness come from other people (`fold_of`).

Letters: S events of a user, N items asked for, T scored tasks, F = T x len(NAMES) columns, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from scipy.signal import lfilter

from motet.data.hashing import mix, text_hash
from motet.kinds import LabelScale
from motet.storage import write_file_atomic

OF_USER = ("offset", "spread", "events", "mood")
OF_ITEM = ("prior", "count", "near")
NAMES = (*OF_USER, *OF_ITEM)
ESTIMATES = "estimates.safetensors"
FOLDS = 4
_SHRINK_USER, _SHRINK_ITEM, _SHRINK_MOOD, _SHRINK_PAIR, _SHRINK_NEAR = 3.0, 8.0, 1.5, 50.0, 0.3
_NEIGHBOURS = 100
_USUAL_VARIANCE = 0.7
_MOOD_DECAY = 0.8
_LATEST = 1000
"""Events that `near` reads; earlier ones are left out."""
_BLOCK = 500
_LOG_SCALE = 6.0


def fold_of(users: Sequence[str], shard: int, shards: int) -> np.ndarray:
    """Return the fold of each user: their shard's if there are as many shards as folds, else by hash."""
    if shards >= FOLDS:
        return np.full(len(users), shard % FOLDS)
    return np.asarray(mix(text_hash(pa.array(users, pa.string()))) % np.uint64(FOLDS)).astype(np.int64)


def standardised(labels_NT: np.ndarray, scales: Sequence[LabelScale]) -> np.ndarray:
    """Return labels in deviations from their mean, float32; NaN stays."""
    mean_T = np.array([one.mean for one in scales], np.float32)
    std_T = np.array([one.std for one in scales], np.float32)
    return np.asarray((labels_NT - mean_T) / std_T, np.float32)


@dataclass(frozen=True)
class LabelSums:
    """Sums and counts of standardised labels per task and item, [T, I]; they add up over users."""

    sums_TI: np.ndarray
    counts_TI: np.ndarray

    @classmethod
    def of(cls, items_N: np.ndarray, labels_NT: np.ndarray, items: int) -> "LabelSums":
        """Count events; an unknown label counts for nothing."""
        sums, counts = [], []
        for labels_N in labels_NT.T:
            known_N = ~np.isnan(labels_N)
            sums.append(np.bincount(items_N[known_N], labels_N[known_N], minlength=items))
            counts.append(np.bincount(items_N[known_N], minlength=items).astype(np.float64))
        return cls(np.stack(sums), np.stack(counts))

    def __add__(self, other: "LabelSums") -> "LabelSums":
        return LabelSums(self.sums_TI + other.sums_TI, self.counts_TI + other.counts_TI)

    def __sub__(self, other: "LabelSums") -> "LabelSums":
        return LabelSums(self.sums_TI - other.sums_TI, self.counts_TI - other.counts_TI)

    @property
    def prior_TI(self) -> np.ndarray:
        """The shrunk means, float32 [T, I]."""
        return np.asarray(self.sums_TI / (self.counts_TI + _SHRINK_ITEM), np.float32)


def residual_matrix(
    histories: Sequence[np.ndarray], labels: Sequence[np.ndarray], prior_I: np.ndarray
) -> sp.csr_matrix:
    """Return users x items: each known label minus the item's prior and the user's offset.

    Args:
        histories: places per user; of an item that is there twice the last event counts.
        labels: standardised labels of one task per user, NaN for unknown.
        prior_I: the items' priors.
    """
    indices, values, lengths = [], [], []
    for items_S, labels_S in zip(histories, labels, strict=True):
        known = np.flatnonzero(~np.isnan(labels_S))[::-1]
        unique, first = np.unique(items_S[known], return_index=True)
        residual_S = labels_S[known[first]] - prior_I[unique]
        indices.append(unique)
        values.append(residual_S - residual_S.sum() / (len(unique) + _SHRINK_USER))
        lengths.append(len(unique))
    indptr = np.append(0, np.cumsum(lengths))
    flat = [np.concatenate([*parts, np.zeros(0)]) for parts in (values, indices)]
    return sp.csr_matrix((flat[0], flat[1].astype(np.int64), indptr), shape=(len(lengths), len(prior_I)))


def nearness(gram_II: np.ndarray, both_II: np.ndarray) -> np.ndarray:
    """Return how near items are, float32 [I, I] of at most 100 per column, none below zero, zero on the diagonal.

    Args:
        gram_II: X'X of the residuals.
        both_II: how many people have labelled both.
    """
    lengths_I = np.sqrt(np.maximum(np.diag(gram_II), 0)) + 1e-6
    near_II = gram_II / np.outer(lengths_I, lengths_I) * both_II / (both_II + _SHRINK_PAIR)
    near_II = np.maximum(near_II, 0.0)
    np.fill_diagonal(near_II, 0.0)
    if len(near_II) > _NEIGHBOURS:
        least_I = np.partition(near_II, -_NEIGHBOURS, axis=0)[-_NEIGHBOURS]
        near_II = np.where(near_II >= least_I, near_II, 0.0)
    return near_II.astype(np.float32)


@dataclass(frozen=True)
class Estimates:
    """Fitted estimates; `near_TII` is None without nearness, the column is then zero."""

    scales: tuple[LabelScale, ...]
    prior_TI: np.ndarray
    count_TI: np.ndarray
    near_TII: np.ndarray | None

    @classmethod
    def fit(cls, scales: Sequence[LabelScale], sums: LabelSums, near_TII: np.ndarray | None) -> "Estimates":
        """Put together what was counted."""
        count_TI = (np.log1p(sums.counts_TI) / _LOG_SCALE).astype(np.float32)
        return cls(tuple(scales), sums.prior_TI, count_TI, near_TII)

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        tensors = {"prior": self.prior_TI, "count": self.count_TI}
        if self.near_TII is not None:
            tensors["near"] = self.near_TII
        write_file_atomic(path, lambda target: save_file(tensors, target))

    @classmethod
    def load(cls, path: Path, scales: Sequence[LabelScale]) -> "Estimates":
        """Read what `save` wrote; the scales are those of the model's card."""
        tensors = load_file(path)
        return cls(tuple(scales), tensors["prior"], tensors["count"], tensors.get("near"))

    def with_unmet(self) -> "Estimates":
        """Return these estimates with one place more: that of an item without labels."""

        def padded(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
            return np.pad(values, [(0, int(axis in axes)) for axis in range(values.ndim)])

        near_TII = None if self.near_TII is None else padded(self.near_TII, (1, 2))
        return Estimates(self.scales, padded(self.prior_TI, (1,)), padded(self.count_TI, (1,)), near_TII)

    def along(self, items_S: np.ndarray, labels_ST: np.ndarray, starts_S: np.ndarray | None = None) -> np.ndarray:
        """Return the estimates of each event from the events before it, float32 [S, F].

        Args:
            items_S: a user's places, oldest first.
            labels_ST: their labels, NaN for unknown.
            starts_S: how many events may be read for each; as many as precede it if None.
        """
        count = len(items_S)
        starts_S = np.arange(count) if starts_S is None else starts_S
        residual_ST, known_ST = self._residuals(items_S, labels_ST)
        user_STU = _running(residual_ST, known_ST)[starts_S]
        near_ST = np.zeros((count, len(self.scales)), np.float32)
        for begin in range(0, count, _BLOCK):
            asked = slice(begin, min(count, begin + _BLOCK))
            read = slice(max(0, int(starts_S[asked].min()) - _LATEST), int(starts_S[asked].max()))
            may_RN = np.arange(read.start, read.stop)[:, None] < starts_S[asked]
            near_ST[asked] = self._near(
                items_S[read], residual_ST[read], known_ST[read], items_S[asked], user_STU[asked, :, 0], may_RN
            )
        return self._columns(user_STU, items_S, near_ST)

    def of(self, items_S: np.ndarray, labels_ST: np.ndarray | None, places_N: np.ndarray) -> np.ndarray:
        """Return the estimates of items for a user after all their events, float32 [N, F].

        Args:
            items_S: the user's places, oldest first.
            labels_ST: their labels, NaN for unknown; None if all are.
            places_N: the items asked for.
        """
        if labels_ST is None:
            items_S, labels_ST = items_S[:0], np.zeros((0, len(self.scales)), np.float32)
        residual_ST, known_ST = self._residuals(items_S, labels_ST)
        user_TU = _running(residual_ST, known_ST)[-1]
        user_NTU = np.broadcast_to(user_TU, (len(places_N), *user_TU.shape))
        read = slice(max(0, len(items_S) - _LATEST), len(items_S))
        near_NT = self._near(items_S[read], residual_ST[read], known_ST[read], places_N, user_NTU[:, :, 0], None)
        return self._columns(user_NTU, places_N, near_NT)

    def _residuals(self, items_S: np.ndarray, labels_ST: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        residual_ST = standardised(labels_ST, self.scales) - self.prior_TI.T[items_S]
        known_ST = ~np.isnan(residual_ST)
        return np.where(known_ST, residual_ST, 0.0), known_ST.astype(np.float32)

    def _near(
        self,
        items_R: np.ndarray,
        residual_RT: np.ndarray,
        known_RT: np.ndarray,
        places_N: np.ndarray,
        offset_NT: np.ndarray,
        may_RN: np.ndarray | None,
    ) -> np.ndarray:
        """Return [N, T]: events R weighed for places N; `may_RN` says which events each may read, all if None."""
        result_NT = np.zeros((len(places_N), len(self.scales)), np.float32)
        if self.near_TII is None or len(items_R) == 0:
            return result_NT
        for task, near_II in enumerate(self.near_TII):
            near_RN = near_II[np.ix_(items_R, places_N)]
            if may_RN is not None:
                near_RN = near_RN * may_RN
            whole_N = known_RT[:, task] @ near_RN
            sum_N = residual_RT[:, task] @ near_RN - offset_NT[:, task] * whole_N
            result_NT[:, task] = sum_N / (whole_N + _SHRINK_NEAR)
        return result_NT

    def _columns(self, user_NTU: np.ndarray, places_N: np.ndarray, near_NT: np.ndarray) -> np.ndarray:
        item_NTI = np.stack([self.prior_TI.T[places_N], self.count_TI.T[places_N], near_NT], -1)
        columns_NTE = np.concatenate([user_NTU, item_NTI], -1)
        return np.asarray(columns_NTE.reshape(len(places_N), len(self.scales) * len(NAMES)), np.float32)


def _running(residual_ST: np.ndarray, known_ST: np.ndarray) -> np.ndarray:
    """Return OF_USER after 0, 1, ... S events, [S + 1, T, 4]."""

    def before(values_ST: np.ndarray, decay: float = 1.0) -> np.ndarray:
        first = np.zeros((1, values_ST.shape[1]))
        return np.concatenate([first, lfilter([1.0], [1.0, -decay], values_ST, axis=0)]) if len(values_ST) else first

    count_PT, sum_PT, square_PT = before(known_ST), before(residual_ST), before(residual_ST**2)
    offset_PT = sum_PT / (count_PT + _SHRINK_USER)
    variance_PT = (square_PT + _SHRINK_USER * _USUAL_VARIANCE) / (count_PT + _SHRINK_USER)
    mood_PT = before(residual_ST, _MOOD_DECAY) / (before(known_ST, _MOOD_DECAY) + _SHRINK_MOOD)
    columns = [offset_PT, np.sqrt(variance_PT), np.log1p(count_PT) / _LOG_SCALE, mood_PT]
    return np.stack(columns, -1).astype(np.float32)
