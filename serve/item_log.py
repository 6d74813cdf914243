"""Where the items of a graph go that are added, changed and removed, and who writes and reads them.

The EventLog writes the item log as it writes events; Embedder, Retriever, Reranker and Gateway read it up to its end.
"""

from pathlib import Path
from typing import Any

from motet.event_settings import EventSettings
from motet.events.store import Store, open_log
from motet.itemlog.entry import ITEMS, ItemEntry
from motet.itemlog.place import item_folder

LogPlace = tuple[dict[str, Any], str]
"""Settings of a store of items or events as plain types, and the recipe's name."""


def place_of_items(events: EventSettings, release: Path, name: str) -> LogPlace:
    """Return where the items of a graph go: beside its events.

    Args:
        events: from `event_log.place_of_log`.
        release: the release's folder.
        name: the recipe's.
    """
    if events.store != "segments":
        return events.model_dump(), name
    workspace = release.parent.parent if release.parent.name == "releases" else None
    folder = item_folder(events.path or "", workspace)
    return events.model_copy(update={"path": str(folder)}).model_dump(), name


def open_item_log(place: LogPlace | None) -> Store[ItemEntry] | None:
    """Return the log that `place_of_items` found; None if there is none."""
    if place is None:
        return None
    settings = EventSettings.model_validate(place[0])
    return open_log(settings, Path(settings.path or ""), place[1], ITEMS)
