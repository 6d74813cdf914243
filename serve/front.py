"""Front: the Gateway's own part of one release: what it says about itself, names, popular lists, value functions."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motet.privacy.watch import Watch
from motet.recommend import Query, find_surface, read_recipe
from motet.recommend.met import Met
from motet.recommend.popular import Popular
from motet.recommend.query import standing_weights
from motet.release.bundle import read_report
from motet.release.golden import golden_users
from motet.storage import read_manifest
from serve.event_log import open_log
from serve.item_log import LogPlace, open_item_log
from serve.shelf import Shelf

Weights = Mapping[str, Mapping[str, float]]
"""Weight of each score by surface, in place of the recipe's."""


class Front:
    """What a Gateway knows of a release.

    Args:
        folder: the release.
        watch: of who was forgotten.
        items: where the item log lies; None reads none.
        log: where events go and the recipe's name, as `open_log` takes them; None reads no events.
    """

    def __init__(self, folder: Path, watch: Watch, items: LogPlace | None = None, log: LogPlace | None = None) -> None:
        self.release, self.recipe = folder.name, read_recipe(folder)
        self.manifest, self.report = read_manifest(folder), read_report(folder)
        self.examples, self.shelf = golden_users(folder), Shelf(folder)
        self.popular = Popular(folder, self.shelf.items)
        if (store := open_item_log(items)) is not None:
            self.popular.follow_items(store)
            self.shelf.catch_up = self.popular.catch_up
        self.met = Met(folder, self.shelf.items, watch)
        if log is not None and (events := open_log(*log, watch)) is not None:
            self.met.follow(events)

    def catch_up(self) -> None:
        """Read what the logs have by now, and who was forgotten."""
        self.shelf.catch_up()
        self.met.catch_up()

    def surface(self, query: Query) -> str:
        """Return the name of a query's surface."""
        return find_surface(self.recipe, query.surface)

    def weighed(self, query: Query, changed: Weights) -> Query:
        """Return a query with the weights that its surface has by now."""
        return replace(query, surface_weights=changed.get(self.surface(query)))

    def surfaces(self, changed: Weights) -> dict[str, dict[str, float]]:
        """Return the weights of every surface as they are by now."""
        queries = (self.weighed(Query(surface=name), changed) for name in self.recipe.surfaces)
        return {self.surface(query): standing_weights(self.recipe, query) for query in queries}
