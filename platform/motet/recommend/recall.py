"""Recall that is watched: a sample of searches is repeated exactly, in the background."""

import logging
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Semaphore

import numpy as np

from motet.recommend.query import Query
from motet.recommend.retriever import Retriever
from motet.retrieval.sources import VectorSource
from motet.retrieval.state import UserState

_MOST_WAITING, _AT_ONCE = 4, 65_536
_log = logging.getLogger(__name__)
_EQUAL = 1e-5
"""Scores that differ by less are alike: which of two equals the index finds does not matter."""


@dataclass(frozen=True)
class Recall:
    """What searches found of what they should have."""

    searches: int = 0
    wanted: int = 0
    """The exact best of all searches together."""
    found: int = 0
    """Those of them that the index found."""

    @property
    def share(self) -> float | None:
        """Recall; None if nothing was looked at yet."""
        return self.found / self.wanted if self.wanted else None

    def __add__(self, other: "Recall") -> "Recall":
        return Recall(self.searches + other.searches, self.wanted + other.wanted, self.found + other.found)


class RecallWatch:
    """Looks at a share of what a Retriever is asked; at most four wait, others are passed over.

    Args:
        share: of the searches.
    """

    def __init__(self, share: float) -> None:
        self.share, self.recall = share, Recall()
        self._random, self._room = random.Random(), Semaphore(_MOST_WAITING)
        self._worker = ThreadPoolExecutor(1, "recall")

    def pass_by(self, retriever: Retriever, user: UserState, query: Query) -> None:
        """Look at a search, perhaps, later."""
        if self._random.random() < self.share and self._room.acquire(blocking=False):
            self._worker.submit(self._look, retriever, user, query)

    def _look(self, retriever: Retriever, user: UserState, query: Query) -> None:
        try:
            self.recall += recall_of(retriever, user, query)
        except Exception:  # nobody waits for this thread's answer
            _log.exception("a search could not be repeated exactly")
        finally:
            self._room.release()


def recall_of(retriever: Retriever, user: UserState, query: Query) -> Recall:
    """Return what the index finds for one who asks, beside a full comparison under the same filters.

    Nothing is counted where no index is asked: without the source `vectors`, or for someone without a vector.
    """
    source = retriever.sources.get("vectors")
    with retriever.items.standstill.looking():
        if not isinstance(source, VectorSource) or source.ask(user) is None:
            return Recall()
        k, allowed_I = max(retriever.recipe.retrieval.candidates, query.k), retriever.allowed(user, query)
        places_N = np.flatnonzero(allowed_I)
        if not len(places_N):
            return Recall()
        best_K = np.zeros(0, np.float32)
        for start in range(0, len(places_N), _AT_ONCE):
            scores_N = np.asarray(source.matrix_ID[places_N[start : start + _AT_ONCE]] @ user.vector_D)
            best_K = np.sort(np.append(best_K, scores_N))[::-1][:k]
        _, scores_K = source.index.search(user.vector_D, k, allowed_I)
    return Recall(1, len(best_K), int(np.count_nonzero(scores_K >= best_K[-1] - _EQUAL)))
