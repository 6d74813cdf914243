"""Front: the Gateway's own part of one release: what it says about itself, names, popular lists, value functions."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motet.recommend import Query, find_surface, read_recipe
from motet.recommend.popular import Popular
from motet.release.bundle import read_report
from motet.release.golden import golden_users
from motet.storage import read_manifest
from serve.item_log import LogPlace, open_item_log
from serve.shelf import Shelf

Weights = Mapping[str, Mapping[str, float]]
"""Weight of each score by surface, in place of the recipe's."""


class Front:
    """What a Gateway knows of a release.

    Args:
        folder: the release.
        items: where the item log lies; None reads none.
    """

    def __init__(self, folder: Path, items: LogPlace | None = None) -> None:
        self.release, self.recipe = folder.name, read_recipe(folder)
        self.manifest, self.report = read_manifest(folder), read_report(folder)
        self.examples, self.shelf = golden_users(folder), Shelf(folder)
        self.popular = Popular(folder, self.shelf.items)
        if (store := open_item_log(items)) is not None:
            self.popular.follow_items(store)
            self.shelf.catch_up = self.popular.catch_up

    def surface(self, query: Query) -> str:
        """Return the name of a query's surface."""
        return find_surface(self.recipe, query.surface)

    def weighed(self, query: Query, changed: Weights) -> Query:
        """Return a query with the weights that its surface has now, unless it brings its own.

        Weights of what this release does not score are left out; if none is left, the recipe's count.
        """
        if query.weights is not None:
            return query
        now = changed.get(self.surface(query), {})
        known = {name: weight for name, weight in now.items() if name in self.recipe.weighable}
        return replace(query, weights=known) if known else query

    def surfaces(self, changed: Weights) -> dict[str, dict[str, float]]:
        """Return the weights of every surface as they are now."""
        now = {name: self.weighed(Query(surface=name), changed).weights for name in self.recipe.surfaces}
        return {name: dict(now[name] or surface.weights) for name, surface in self.recipe.surfaces.items()}
