"""Which items go together, counted from histories: co-occurrence and transitions, as sums over pairs.

Both are sums over users, so parts can be counted anywhere and added. A pair table has columns
item, other (places, int32), together (users with both), follows (decayed count of `other` after `item`).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from motet.data.histories import DAY_MS
from motet.settings import RetrievalSettings

LONGEST_HISTORY = 500


BM25_K1, BM25_B = 1.2, 0.75


@dataclass(frozen=True)
class Fading:
    """How much less an event says of another the farther they are apart.

    Args:
        window: how many later events follow an event.
        steps: in which a transition's weight falls by e.
        half_life_ms: time in which it halves besides; None counts steps alone.
    """

    window: int
    steps: float
    half_life_ms: float | None = None

    @classmethod
    def of(cls, settings: RetrievalSettings) -> "Fading":
        """Return that of a recipe."""
        days = settings.transition_half_life_days
        return cls(settings.transition_window, settings.transition_decay, None if days is None else days * DAY_MS)

    def over_time(self, apart_N: np.ndarray) -> np.ndarray:
        """Return the factor of times apart in milliseconds, float32."""
        if self.half_life_ms is None:
            return np.ones(len(apart_N), np.float32)
        return np.asarray(0.5 ** (np.maximum(apart_N, 0) / self.half_life_ms), np.float32)


def pair_counts(
    histories: list[np.ndarray], moments: list[np.ndarray], items: int, fading: Fading, weighs: bool = False,
    weights_U: np.ndarray | None = None,
) -> pa.Table:  # fmt: skip
    """Return the pair table of some users.

    Args:
        histories: places per user, oldest first; only the latest 500 of each are counted, which bounds the pairs.
        moments: when each event was, in milliseconds.
        items: size of the catalogue.
        fading: of transitions.
        weighs: a user counts the square of log(items / events), the inverse document frequency of BM25, not 1.
        weights_U: by what each user's counts are multiplied; 1 if not given.
    """
    weights_U = np.ones(len(histories)) if weights_U is None else weights_U
    recent = [one[-LONGEST_HISTORY:] for one in histories]
    together = _together(recent, items, weighs, weights_U)
    follows = _follows(recent, [one[-LONGEST_HISTORY:] for one in moments], items, fading, weights_U)
    pattern = (together + follows).tocoo()
    rows, columns = pattern.row, pattern.col
    return pa.table(
        {
            "item": pa.array(rows.astype(np.int32)),
            "other": pa.array(columns.astype(np.int32)),
            "together": pa.array(_entries(together, rows, columns)),
            "follows": pa.array(_entries(follows, rows, columns)),
        }
    )


def _entries(matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    if not len(rows):
        return np.zeros(0, np.float32)
    return np.asarray(matrix[rows, columns]).ravel().astype(np.float32)


def _together(histories: list[np.ndarray], items: int, weighs: bool, weights_U: np.ndarray) -> sp.csr_matrix:
    unique = [np.unique(one) for one in histories]
    indptr = np.append(0, np.cumsum([len(one) for one in unique]))
    indices = np.concatenate([*unique, np.zeros(0, np.int64)]).astype(np.int64)
    matrix = sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(histories), items))
    lengths_U = np.diff(indptr)
    says_U = np.log(items / np.maximum(lengths_U, 1)).clip(0) ** 2 if weighs else np.ones(len(lengths_U))
    counts = (matrix.T @ sp.diags((says_U * weights_U).astype(np.float32)) @ matrix).tocsr()
    counts.setdiag(0)
    counts.eliminate_zeros()
    return counts


def _follows(
    histories: list[np.ndarray], moments: list[np.ndarray], items: int, fading: Fading, weights_U: np.ndarray
) -> sp.csr_matrix:
    total = sp.csr_matrix((items, items), dtype=np.float32)
    lengths_U = np.array([len(one) for one in histories], np.int64)
    for gap in range(1, fading.window + 1):
        (before, since), (after, until) = (
            [np.concatenate([one[cut] for one in lists if len(one) > gap] or [np.zeros(0, np.int64)])
             for lists in (histories, moments)]
            for cut in (slice(None, -gap), slice(gap, None))
        )  # fmt: skip
        own = np.repeat(weights_U, np.maximum(lengths_U - gap, 0)).astype(np.float32)
        weights = own * np.float32(np.exp(-(gap - 1) / fading.steps)) * fading.over_time(until - since)
        total = total + sp.coo_matrix((weights, (before, after)), shape=(items, items)).tocsr()
    total.setdiag(0)
    total.eliminate_zeros()
    return total


def neighbours(
    pairs: pa.Table, users_I: np.ndarray, keep: int, shrinkage: float, similarity: str = "cosine"
) -> pa.Table:
    """Return the best neighbours of each item by cosine (`item_knn`) and by transition (`transitions`).

    Args:
        pairs: pair tables of all users for some items, one after another.
        users_I: users per item, over the whole catalogue.
        keep: neighbours per item and kind.
        shrinkage: added to the norm.
        similarity: cosine, or bm25 (Robertson and Zaragoza 2009, with items as documents of users); of item_knn.

    Returns:
        kind, item, other, weight; ordered by kind, item and falling weight.
    """
    item, other = pairs.column("item").to_numpy(), pairs.column("other").to_numpy()
    key, place = np.unique(np.stack([item, other], 1), axis=0, return_inverse=True)
    norm = np.sqrt(users_I[key[:, 0]].astype(np.float64) * users_I[key[:, 1]]) + shrinkage
    length_I = users_I / max(float(users_I.mean()), 1e-12)
    say_I = (BM25_K1 + 1) / (BM25_K1 * (1 - BM25_B + BM25_B * length_I) + 1)
    tables = []
    for kind, column in (("item_knn", "together"), ("transitions", "follows")):
        sums = np.bincount(place.ravel(), pairs.column(column).to_numpy(), len(key))
        weight = (sums / norm).astype(np.float32)
        if kind == "item_knn" and similarity == "bm25":
            weight = (sums * say_I[key[:, 0]] * say_I[key[:, 1]]).astype(np.float32)
        order = np.lexsort((key[:, 1], -weight, key[:, 0]))
        order = order[weight[order] > 0]
        starts = np.append(True, np.diff(key[order, 0]) != 0) if len(order) else np.zeros(0, bool)
        run = np.arange(len(order)) - np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
        kept = order[run < keep]
        columns = [
            pa.array([kind] * len(kept)),
            pa.array(key[kept, 0]),
            pa.array(key[kept, 1]),
            pa.array(weight[kept]),
        ]
        tables.append(pa.table(columns, names=["kind", "item", "other", "weight"]))
    return pa.concat_tables(tables)
