"""Which items may be shown to one who asks: lists of the request, filters of surface and request, what was seen."""

from collections.abc import Iterator

import numpy as np

from motet.recipe import Recipe
from motet.recommend.query import Query, find_surface
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.filters import Screen, apply_rules


def screen(items: ItemTable, recipe: Recipe, query: Query, seen: np.ndarray) -> Screen:
    """Return what is left of the catalogue, and for all else the first rule that stopped it.

    Args:
        items: the catalogue.
        recipe: the release's.
        query: what is asked.
        seen: places of what the user has met.

    Raises:
        RequestError: for a surface, or a filter's attribute or condition, that the release does not have.
    """
    return apply_rules(len(items), _rules(items, recipe, query, seen))


def _rules(items: ItemTable, recipe: Recipe, query: Query, seen: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    surface = recipe.surfaces[find_surface(recipe, query.surface)]
    if items.removed:
        yield "removed from the catalogue", items.standing()
    if surface.allow is not None:
        yield "not in the allow list of the surface", _mask(items, items.places(list(surface.allow)), True)
    if surface.deny:
        yield "in the deny list of the surface", _mask(items, items.places(list(surface.deny)), False)
    if query.allow is not None:
        yield "not in the allow list", _mask(items, items.places(list(query.allow)), True)
    if query.deny:
        yield "in the deny list", _mask(items, items.places(list(query.deny)), False)
    for name, asked in surface.fixed_filters().items():
        yield f"filter {name} of the surface", items.matches(name, asked)
    for name, asked in query.filters.items():
        yield f"filter {name}", items.matches(name, asked)
    wishes = (query.exclude_seen, surface.exclude_seen, recipe.excludes_seen)
    if next(wish for wish in wishes if wish is not None):
        yield "already seen", _mask(items, seen, False)


def _mask(items: ItemTable, places: np.ndarray, value: bool) -> np.ndarray:
    mask_I = np.full(len(items), not value)
    mask_I[places] = value
    return mask_I
