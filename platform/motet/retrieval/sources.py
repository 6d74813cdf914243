"""Where candidates come from. A source answers a user with scores: the best k, and the score of any item.

vectors       FAISS over the item tower, asked with the user tower
profile       FAISS over text and attributes, asked with the profile or the request's text
item_knn      items that the same users met: cosine with shrinkage (Sarwar et al., WWW 2001)
transitions   items that come soon after: decayed counts of what followed
again         what the user took before, most often first
user_knn      what similar users met (Resnick et al., CSCW 1994), older and disliked events counting less

Others stand in files of their own: `linear` (ease), `factors` (als), `crowd` (popularity).

Items that came since the release stand behind its own. What was counted from events scores them as it scores an item
that nobody met: zero.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from motet.retrieval.index import Index, Scored
from motet.retrieval.pairs import Fading
from motet.retrieval.rows import Rows
from motet.retrieval.state import UserState


class Answer(Protocol):
    """One source's opinion on one user."""

    def best(self, k: int, allowed_I: np.ndarray) -> Scored:
        """Return (places, scores) of the k best allowed items, best first."""

    def of(self, places_C: np.ndarray) -> np.ndarray:
        """Return the score of each item, float32 [C]."""


class Source(Protocol):
    """A source of candidates."""

    def ask(self, user: UserState) -> Answer | None:
        """Return the source's opinion, or None if it has nothing to go by."""


def scores_at(scores_I: np.ndarray, places_C: np.ndarray) -> np.ndarray:
    """Look scores, or rows of them, up; zero for places behind the last."""
    beyond_C = places_C >= len(scores_I)
    if not beyond_C.any():
        return np.asarray(scores_I[places_C])
    found = scores_I[np.where(beyond_C, 0, places_C)]
    found[beyond_C] = 0
    return np.asarray(found)


def top(places_N: np.ndarray, scores_N: np.ndarray, k: int) -> Scored:
    """Return the k best by score, ties by place."""
    order = np.lexsort((places_N, -scores_N))[:k]
    return places_N[order], scores_N[order]


@dataclass(frozen=True)
class VectorAnswer:
    """Inner products with one query."""

    index: Index
    matrix_ID: Rows | np.ndarray
    query_D: np.ndarray

    def best(self, k: int, allowed_I: np.ndarray) -> Scored:
        """Ask the index."""
        return self.index.search(self.query_D, k, allowed_I)

    def of(self, places_C: np.ndarray) -> np.ndarray:
        """Compute the inner products."""
        return np.asarray(self.matrix_ID[places_C] @ self.query_D, np.float32)


class OwnSource:
    """`again`: what the user took most often, ties by the latest; for where items are taken again and again."""

    def ask(self, user: UserState) -> Answer | None:
        """Answer if there is a history."""
        if not user.has_history:
            return None
        places, first, counts = np.unique(user.items_S[::-1], return_index=True, return_counts=True)
        return SparseAnswer(places, (counts + 1 / (2.0 + first)).astype(np.float32))


@dataclass(frozen=True)
class DenseAnswer:
    """A score for every item."""

    scores_I: np.ndarray

    def best(self, k: int, allowed_I: np.ndarray) -> Scored:
        """Return the k best of the allowed ones."""
        places = np.flatnonzero(allowed_I)
        same = len(allowed_I) == len(self.scores_I)
        scores = self.scores_I[places] if same else scores_at(self.scores_I, places)
        if len(places) > k:
            kept = np.argpartition(-scores, k - 1)[:k]
            places, scores = places[kept], scores[kept]
        return top(places, scores, k)

    def of(self, places_C: np.ndarray) -> np.ndarray:
        """Look the scores up."""
        return scores_at(self.scores_I, places_C)


@dataclass(frozen=True)
class VectorSource:
    """`vectors` or `profile`: an index over the rows of a matrix."""

    index: Index
    matrix_ID: Rows | np.ndarray
    uses_content: bool = False

    def ask(self, user: UserState) -> Answer | None:
        """Answer unless the query is zero."""
        query_D = user.content_W if self.uses_content else user.vector_D
        return VectorAnswer(self.index, self.matrix_ID, query_D) if query_D.any() else None


@dataclass(frozen=True)
class SparseAnswer:
    """Scores of some items, ordered by place; all others have zero."""

    places_N: np.ndarray
    scores_N: np.ndarray

    def best(self, k: int, allowed_I: np.ndarray) -> Scored:
        """Return the best of the scored ones."""
        kept_N = allowed_I[self.places_N] & (self.scores_N > 0)
        return top(self.places_N[kept_N], self.scores_N[kept_N], k)

    def of(self, places_C: np.ndarray) -> np.ndarray:
        """Look the scores up."""
        if len(self.places_N) == 0:
            return np.zeros(len(places_C), np.float32)
        nearest_C = np.searchsorted(self.places_N, places_C).clip(max=len(self.places_N) - 1)
        hit_C = self.places_N[nearest_C] == places_C
        return np.where(hit_C, self.scores_N[nearest_C], 0.0).astype(np.float32)


class NeighbourSource:
    """`item_knn` or `transitions`: sums of weights over the neighbours of the user's items.

    Args:
        table: item, other, weight, ordered by item.
        items: size of the catalogue.
        fading: by which an item of the history says less the longer ago it was; None counts all alike.
    """

    def __init__(self, table: pa.Table, items: int, fading: Fading | None = None) -> None:
        self.fading = fading
        self.items = items
        self.starts_I = np.searchsorted(table.column("item").to_numpy(), np.arange(items + 2))
        self.other_N = table.column("other").to_numpy().astype(np.int64)
        self.weight_N = table.column("weight").to_numpy()

    def weights(self, items_S: np.ndarray, place: int) -> np.ndarray:
        """Return the weight of one item among the neighbours of each of several, 0 where it is none, float32 [S]."""
        rows_N, lengths_S = self._rows(np.minimum(items_S, self.items))
        weights_S = np.zeros(len(items_S), np.float32)
        hits = np.flatnonzero(self.other_N[rows_N] == place)
        weights_S[np.searchsorted(np.cumsum(lengths_S), hits, side="right")] = self.weight_N[rows_N[hits]]
        return weights_S

    def _rows(self, items_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (rows of the neighbours of items, one item after another; how many each has)."""
        lengths_S = self.starts_I[items_S + 1] - self.starts_I[items_S]
        within_N = np.arange(lengths_S.sum()) - np.repeat(np.cumsum(lengths_S) - lengths_S, lengths_S)
        return np.repeat(self.starts_I[items_S], lengths_S) + within_N, lengths_S

    def ask(self, user: UserState) -> Answer | None:
        """Answer if there is a history."""
        if not user.has_history:
            return None
        items_S = np.minimum(user.items_S, self.items)  # what came since the release has no neighbour
        if self.fading is None:
            say_S = np.ones(len(items_S), np.float32)
        else:
            say_S = np.exp(-np.arange(len(items_S))[::-1] / self.fading.steps).astype(np.float32)
            if user.moments_S is not None and user.asked_ms is not None:
                say_S *= self.fading.over_time(user.asked_ms - user.moments_S)
            kept_S = say_S > 1e-4
            items_S, say_S = items_S[kept_S], say_S[kept_S]
        rows_N, lengths_S = self._rows(items_S)
        places, inverse = np.unique(self.other_N[rows_N], return_inverse=True)
        scores = np.bincount(inverse, self.weight_N[rows_N] * np.repeat(say_S, lengths_S), len(places))
        return SparseAnswer(places, scores.astype(np.float32))


class UserSource:
    """`user_knn`: what the most similar users met, weighted by cosine.

    Args:
        histories: places per user, each once.
        weights: what each of these events counts.
        items: size of the catalogue.
        keep: similar users that count.
        shrinkage: added to the norm.
    """

    def __init__(
        self, histories: list[np.ndarray], weights: list[np.ndarray], items: int, keep: int, shrinkage: float
    ) -> None:
        indptr = np.append(0, np.cumsum([len(one) for one in histories]))
        indices = np.concatenate([*histories, np.zeros(0, np.int64)]).astype(np.int64)
        shape = (len(histories), items)
        self.by_item = sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape).tocsc()
        says_N = np.concatenate([*weights, np.zeros(0, np.float32)]).astype(np.float32)
        self.says_UI = sp.csr_matrix((says_N, indices, indptr), shape=shape)
        self.norm_U = np.sqrt(np.diff(indptr)).astype(np.float32)
        self.keep, self.shrinkage = keep, shrinkage

    def ask(self, user: UserState) -> Answer | None:
        """Answer if there is a history."""
        if not user.has_history:
            return None
        own_S = np.unique(user.items_S)
        known_S = own_S[own_S < self.by_item.shape[1]]
        shared_U = np.asarray(self.by_item[:, known_S].sum(1)).ravel()
        cosine_U = shared_U / (self.norm_U * np.sqrt(len(own_S)) + self.shrinkage)
        near, weights = top(np.flatnonzero(shared_U), cosine_U[shared_U > 0], self.keep)
        scores_I = self.says_UI[near].T @ weights
        places = np.flatnonzero(scores_I)
        return SparseAnswer(places, scores_I[places].astype(np.float32))
