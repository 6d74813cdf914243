"""Where the items of a graph go that are added, changed and removed, and who writes and reads them.

The EventLog writes the item log as it writes events; Embedder, Retriever, Reranker and Gateway read it up to its end.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from motet.errors import MotetError
from motet.event_settings import EventSettings
from motet.events.store import Store, open_log
from motet.itemlog.entry import ITEMS, ItemEntry
from motet.itemlog.place import item_folder

_PERIOD_S = 0.5
_log = logging.getLogger("ray.serve")
LogPlace = tuple[dict[str, Any], str]
"""Settings of a store as plain types, and the recipe's name."""


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


async def keep_up(catch_up: Callable[[], None]) -> None:
    """Read logs twice a second, for answers that cannot wait for it; one that cannot be read is tried again."""
    silent = False
    while True:
        await asyncio.sleep(_PERIOD_S)
        try:
            await asyncio.to_thread(catch_up)
            silent = False
        except MotetError as error:
            if not silent:
                _log.warning("answers go without the latest of the logs: %s", error)
            silent = True


def open_item_log(place: LogPlace | None) -> Store[ItemEntry] | None:
    """Return the log that `place_of_items` found; None if there is none."""
    if place is None:
        return None
    settings = EventSettings.model_validate(place[0])
    return open_log(settings, Path(settings.path or ""), place[1], ITEMS)
