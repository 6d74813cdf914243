"""The slice of cold items: users whose next event is with an item that nobody, or hardly anybody, has met.

All systems order the same cold items, and nothing else, so that the question is which of the new ones somebody takes:

    motet        the three steps, with the cold items as the request's allow list
    popularity   their few events, halving with age; ties by place
    random       a seeded order
"""

from dataclasses import replace
from typing import Any

import numpy as np

from motet.evaluation.ranking_metrics import EMPTY, rank_metrics
from motet.recommend import Query, Recommender
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.state import UserState

OURS, POPULARITY, RANDOM = "motet", "popularity", "random"


def cold_places(items: ItemTable, most_events: int) -> np.ndarray:
    """Return the places of the items with at most so many events before the test."""
    return np.flatnonzero(items.table.column("count").to_numpy() <= most_events)


class ColdItems:
    """Asks for orders of a release's cold items.

    Args:
        recommender: of the release.
        query: surface and length of the lists.
    """

    def __init__(self, recommender: Recommender, query: Query) -> None:
        self.recommender, items = recommender, recommender.retriever.items
        self.places = cold_places(items, recommender.retriever.recipe.evaluate.cold_events)
        self.cold_I = np.isin(np.arange(len(items)), self.places)
        self.query = replace(query, allow=tuple(items.ids[place] for place in self.places))

    def row(self, state: UserState, targets: set[int], asked: int) -> dict[str, Any] | None:
        """Return lists and metrics by system as JSON types; None if no target is cold and may be shown.

        Args:
            state: the user.
            targets: places of what came next.
            asked: number of the question, which seeds the random order.
        """
        found = {target for target in targets if self.cold_I[target]}
        if not found:
            return None
        allowed_I = self.recommender.retriever.allowed(state, self.query)
        found = {target for target in found if allowed_I[target]}
        if not found:
            return None
        lists = {name: self._filled(places) for name, places in self._lists(state, allowed_I, asked).items()}
        metrics = {name: rank_metrics(places, found, self.query.k) for name, places in lists.items()}
        return {"lists": lists, "metrics": metrics}

    def _lists(self, state: UserState, allowed_I: np.ndarray, asked: int) -> dict[str, np.ndarray]:
        retriever, k = self.recommender.retriever, self.query.k
        candidates = retriever.run(state, self.query)
        order, _, _ = self.recommender.reranker.order(state, candidates, self.query)
        popular = retriever.filler.popularity.ask(state)
        assert popular is not None
        random = np.random.default_rng([retriever.recipe.seed, asked])
        return {
            OURS: candidates.places_C[order],
            POPULARITY: popular.best(k, allowed_I)[0],
            RANDOM: random.permutation(np.flatnonzero(allowed_I))[:k],
        }

    def _filled(self, places_K: np.ndarray) -> list[int]:
        return [int(place) for place in places_K] + [EMPTY] * (self.query.k - len(places_K))
