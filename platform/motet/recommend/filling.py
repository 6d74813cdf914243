"""A list of k items whenever k items qualify: popular ones fill up what sources and caps leave open."""

from collections.abc import Sequence

import numpy as np

from motet.ranking.caps import Caps
from motet.recipe import Recipe
from motet.recommend.query import Query, find_surface
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.crowd import PopularitySource
from motet.retrieval.state import UserState
from motet.retrieval.trends import Trends

FILL = "fill"
"""The source of an item that no source listed."""
_MOST_LOOKED_AT = 20_000


class Filler:
    """Fills lists up.

    Args:
        recipe: the release's.
        items: its catalogue.
        trends: the crowd's counts.
    """

    def __init__(self, recipe: Recipe, items: ItemTable, trends: Trends) -> None:
        self.recipe, self.items = recipe, items
        settings = recipe.retrieval
        self.popularity = PopularitySource(trends, settings.popularity_half_life_days, settings.popularity_of_liked)

    def caps(self, query: Query, places_C: np.ndarray) -> Caps:
        """Return the caps of a query's surface over some items, by row."""
        most = self.recipe.surfaces[find_surface(self.recipe, query.surface)].caps
        return Caps(most, {name: self.items.values_of(name, places_C) for name in most})

    def missing(self, user: UserState, places_C: np.ndarray, allowed_I: np.ndarray, query: Query) -> np.ndarray:
        """Return places of popular allowed items that are not among `places_C`: as many as a list of k still lacks."""
        found = self._fitting(query, places_C)
        if found == query.k:
            return np.zeros(0, np.int64)
        rest_I = allowed_I.copy()
        rest_I[places_C] = False
        answer = self.popularity.ask(user)
        assert answer is not None
        capped = bool(self.recipe.surfaces[find_surface(self.recipe, query.surface)].caps)
        popular, _ = answer.best(_MOST_LOOKED_AT if capped else query.k - found, rest_I)
        if not capped:
            return popular
        caps = self.caps(query, np.concatenate([places_C, popular]))
        caps.fill(range(len(places_C)), query.k)
        rows = range(len(places_C), len(places_C) + len(popular))
        return popular[np.array(caps.fill(rows, query.k - found), np.int64) - len(places_C)]

    def kept(self, places_C: np.ndarray, query: Query, most: int) -> np.ndarray:
        """Return the rows of the best `most` candidates, and of later ones if caps need them for a list of k."""
        rows = np.arange(min(most, len(places_C)))
        if len(places_C) <= most or self._fitting(query, places_C[rows]) == query.k:
            return rows
        fitting = self.caps(query, places_C).fill(range(len(places_C)), query.k)
        return np.union1d(rows, np.array(fitting, np.int64))

    def _fitting(self, query: Query, places_C: Sequence[int] | np.ndarray) -> int:
        """Return how long a list of these items can be, at most k."""
        places = np.asarray(places_C, np.int64)
        return len(self.caps(query, places).fill(range(len(places)), query.k))
