"""Where the item log lies: beside the event log, in the same kind of store."""

from pathlib import Path

from motet.event_settings import EventSettings
from motet.events.store import Store, open_log
from motet.itemlog.entry import ITEMS, ItemEntry


def item_folder(events: str | Path, workspace: Path | None) -> Path:
    """Return the folder of the item log: `items` of the workspace, or of a folder of events that is elsewhere.

    Args:
        events: folder of the event log.
        workspace: the workspace, if there is one.
    """
    own = workspace is not None and Path(events) == workspace / "events"
    return workspace / "items" if own and workspace is not None else Path(events) / "items"


def open_items(settings: EventSettings, workspace: Path | None, name: str) -> Store[ItemEntry] | None:
    """Return the item log, not yet opened for writing; None if there is to be none.

    Args:
        settings: `serve.events`; segments without a path lie in the workspace.
        workspace: the workspace, if there is one.
        name: the recipe's.
    """
    events = settings.path or (workspace or Path()) / "events"
    return open_log(settings, item_folder(events, workspace), name, ITEMS)
