"""Shelf: the Gateway's own view of the items, by name and attribute; it holds no vectors."""

from functools import cached_property
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

    def find(self, asked: ItemsQuery) -> list[FoundItem]:
        """Return the items of these ids, in their order, or those whose titles match."""
        if asked.id:
            wanted = list(dict.fromkeys(asked.id))
            places = self.items.places(wanted)[: asked.limit]
        else:
            places = search_titles(self.items, asked.search.strip(), asked.limit)
        return [self._item(int(place)) for place in places]

    def _item(self, place: int) -> FoundItem:
        known = attributes_of(self.items, place)
        return FoundItem(id=self.items.ids[place], title=self.items.titles[place], attributes=known)

    @cached_property
    def attributes(self) -> Attributes:
        """What filters may name."""
        return attributes(self.items, _MOST_VALUES)
