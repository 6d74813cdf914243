"""What is counted over users for the estimates: sums of labels and pairs of items, by folds of users."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from motet.data.hashing import mix, text_hash
from motet.estimates.running import SHRINK_USER
from motet.kinds import LabelScale

FOLDS = 4
_SHRINK_ITEM, _SHRINK_PAIR = 8.0, 50.0
_NEIGHBOURS = 100


def fold_of(users: Sequence[str], shard: int, shards: int) -> np.ndarray:
    """Return the fold of each user: their shard's if there are as many shards as folds, else by hash."""
    if shards >= FOLDS:
        return np.full(len(users), shard % FOLDS)
    return np.asarray(mix(text_hash(pa.array(users, pa.string()))) % np.uint64(FOLDS)).astype(np.int64)


def standardised(labels_NT: np.ndarray, scales: Sequence[LabelScale]) -> np.ndarray:
    """Return labels in deviations from their mean, cut to the range of the training labels, float32; NaN stays."""
    mean_T, std_T, low_T, high_T = (
        np.array([getattr(one, name) for one in scales], np.float32) for name in ("mean", "std", "low", "high")
    )
    return np.asarray((np.clip(labels_NT, low_T, high_T) - mean_T) / std_T, np.float32)


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
        values.append(residual_S - residual_S.sum() / (len(unique) + SHRINK_USER))
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
