"""The release's vector index, and what came or was changed since, compared one by one beside it."""

from dataclasses import dataclass

import numpy as np

from motet.retrieval.catalogue import ItemTable
from motet.retrieval.index import Index, Scored
from motet.retrieval.rows import Rows


@dataclass(frozen=True)
class GrownIndex:
    """An index over all items of a catalogue.

    Args:
        index: over the release's rows.
        rows_ID: of all items; those that the index has, as it has them, but for the changed ones.
        items: says which these are.
    """

    index: Index
    rows_ID: Rows
    items: ItemTable

    @property
    def is_exact(self) -> bool:
        """Whether the answer is that of a full scan."""
        return self.index.is_exact

    def search(self, query_D: np.ndarray, k: int, allowed_I: np.ndarray | None = None) -> Scored:
        """Return (places, scores) of the k best items, best first; see `VectorIndex.search`."""
        changed = self.items.late.changed
        if not len(changed):
            return self.index.search(query_D, k, allowed_I)
        if allowed_I is None:
            allowed_I = np.ones(len(self.items), bool)
        as_released_I = allowed_I[: self.items.of_release].copy()
        as_released_I[changed[changed < len(as_released_I)]] = False
        places_K, scores_K = self.index.search(query_D, k, as_released_I)
        own = changed[allowed_I[changed]]
        if not len(own) or not np.isfinite(query_D).all():
            return places_K, scores_K
        places_N = np.append(places_K, own)
        scores_N = np.append(scores_K, np.asarray(self.rows_ID[own] @ query_D, np.float32))
        order = np.lexsort((places_N, -scores_N))[:k]
        return places_N[order], scores_N[order]
