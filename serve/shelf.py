"""Shelf: the Gateway's own view of the items, by name and attribute; it holds no vectors."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from motet.retrieval.catalogue import ItemTable
from motet.retrieval.titles import Attributes, attributes, attributes_of, search_titles
from serve.item_schemas import FoundItem, ItemsQuery

_MOST_VALUES = 200


class Shelf:
    """Titles and attributes of a release.

    Args:
        folder: the release.
    """

    def __init__(self, folder: Path) -> None:
        self.items = ItemTable.load_names(folder)
        self.catch_up: Callable[[], None] = lambda: None
        """Reads the item log, if there is one."""
        self._attributes: tuple[int, Attributes] | None = None

    async def known(self, names: set[str]) -> set[str]:
        """Return those of some ids that the catalogue has now."""
        await asyncio.to_thread(self.catch_up)
        with self.items.standstill.looking():
            return {name for name in names if self.items.has(name)}

    def find(self, asked: ItemsQuery) -> list[FoundItem]:
        """Return the items of these ids, in their order, or those whose titles match."""
        self.catch_up()
        with self.items.standstill.looking():
            return self._find(asked)

    def _find(self, asked: ItemsQuery) -> list[FoundItem]:
        if asked.id:
            wanted = [name for name in dict.fromkeys(asked.id) if self.items.has(name)]
            places = self.items.places(wanted)[: asked.limit]
        else:
            places = search_titles(self.items, asked.search.strip(), asked.limit)
        return [self._item(int(place)) for place in places]

    def _item(self, place: int) -> FoundItem:
        known = attributes_of(self.items, place)
        return FoundItem(id=self.items.ids[place], title=self.items.titles[place], attributes=known)

    def attributes(self) -> Attributes:
        """Return what filters may name."""
        self.catch_up()
        with self.items.standstill.looking():
            if self._attributes is None or self._attributes[0] != self.items.version:
                self._attributes = self.items.version, attributes(self.items, _MOST_VALUES)
            return self._attributes[1]
