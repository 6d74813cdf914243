"""What is popular, from a release's tables alone: the answer when the steps cannot give one.

Filters, lists and the given history are respected, and what the user met if it is passed (`motet.recommend.met`).
"""

from pathlib import Path

import numpy as np

from motet.events.store import Readable
from motet.itemlog.entry import ItemEntry
from motet.itemlog.following import follow_names
from motet.itemlog.live import LiveItems
from motet.ranking.reasons import Reason
from motet.recommend.attributes import check_attributes
from motet.recommend.filling import Filler
from motet.recommend.query import Item, Query, find_surface, find_weights, read_recipe
from motet.recommend.screening import screen
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.filters import Screen
from motet.retrieval.state import Candidates
from motet.retrieval.trends import Trends

_LENGTH = 2_000
_REASON = Reason("popular now", "popularity")


class Popular:
    """The catalogue's names and attributes, and a popular list per surface.

    Args:
        folder: a bundle.
        items: its catalogue if it is there already.
    """

    def __init__(self, folder: Path, items: ItemTable | None = None) -> None:
        self.folder, self.recipe = folder, read_recipe(folder)
        self.items = items or ItemTable.load_names(folder)
        trends, settings = Trends.load(folder), self.recipe.retrieval
        half_life, liked = settings.popularity_half_life_days, settings.popularity_of_liked
        self.scores_I = trends.decayed(trends.last_ms, half_life, liked)
        self.order_I = np.lexsort((np.arange(len(self.items)), -self.scores_I))
        self.filler = Filler(self.recipe, self.items, trends)
        self._live_items: LiveItems | None = None
        self.lists = {surface: self._best_of(surface) for surface in self.recipe.surfaces}

    def follow_items(self, store: Readable[ItemEntry]) -> None:
        """Know from now on the items that an item log adds, changes and removes."""
        self._live_items = follow_names(store, self.folder, self.recipe, self.items)

    def catch_up(self) -> None:
        """Read what the followed log has by now; answers do not, since they must come at once."""
        if self._live_items is not None:
            self._live_items.catch_up()

    def _best_of(self, surface: str) -> np.ndarray:
        query, nobody = Query(surface=surface), np.zeros(0, np.int64)
        allowed_I = screen(self.items, self.recipe, query, nobody).allowed_I
        return self.order_I[allowed_I[self.order_I]][:_LENGTH]

    def check(self, query: Query) -> None:
        """Refuse what this release cannot answer, before any step is asked.

        Raises:
            RequestError: for a surface, weight, attribute, filter or condition that the release does not have.
        """
        find_weights(self.recipe, query)
        if query.attributes is not None:
            check_attributes(query.attributes, self.recipe)
        for name, asked in query.filters.items():
            self.items.check(name, asked)

    def run(self, query: Query, seen: np.ndarray | None = None) -> tuple[list[Item], Screen]:
        """Return the k most popular items that may be shown, and what stopped the others.

        Args:
            query: what is asked.
            seen: places of what the user has met, if they are known; else of the request's history.
        """
        with self.items.standstill.looking():
            return self._run(query, seen)

    def _run(self, query: Query, seen: np.ndarray | None) -> tuple[list[Item], Screen]:
        if seen is None:
            seen = self.items.places(list(query.history or ()))
        found = screen(self.items, self.recipe, query, seen[seen < len(self.items)])
        allowed_I, listed = found.allowed_I, self.lists[find_surface(self.recipe, query.surface)]
        places = listed[allowed_I[listed]]
        rows = self.filler.caps(query, places).fill(range(len(places)), query.k)
        if len(rows) < query.k:
            places = np.append(self.order_I, np.arange(len(self.order_I), len(self.items)))
            places = places[allowed_I[places]]
            rows = self.filler.caps(query, places).fill(range(len(places)), query.k)
        return [self._item(int(places[row])) for row in rows], found

    def _item(self, place: int) -> Item:
        score = round(float(self.scores_I[place]), 6) if place < len(self.scores_I) else 0.0
        return Item(self.items.ids[place], self.items.titles[place], score, {}, ["popularity"], _REASON)

    def of_candidates(self, candidates: Candidates, query: Query) -> list[Item]:
        """Return the k best candidates in fused order, with their sources as reasons and one score: P(next)."""
        with self.items.standstill.looking():
            return self._of_candidates(candidates.within(len(self.items)), query)

    def _of_candidates(self, candidates: Candidates, query: Query) -> list[Item]:
        rows = self.filler.caps(query, candidates.places_C).fill(range(len(candidates.places_C)), query.k)
        name = self.recipe.retrieval_task.name
        items = []
        for row in rows:
            place, sources = int(candidates.places_C[row]), candidates.found_by(row)
            chance = round(float(np.exp(candidates.fused_C[row])), 6)
            reason = Reason(f"found by {', '.join(sources)}", sources[0])
            title = self.items.titles[place]
            items.append(Item(self.items.ids[place], title, chance, {name: chance}, sources, reason))
        return items
