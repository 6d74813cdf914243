"""An event log without the users who were forgotten: it neither takes nor gives their events."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from motet.event_settings import EventSettings
from motet.events.event import Event
from motet.events.store import START, EventStore, Position, open_store
from motet.privacy.watch import Watch


class Sieve:
    """A log seen through the tombstones of a workspace.

    Args:
        store: the log.
        watch: of its workspace.
    """

    def __init__(self, store: EventStore, watch: Watch) -> None:
        self.store, self.watch = store, watch

    def open(self) -> None:
        """Make ready to append; see `Store.open`."""
        self.store.open()

    def append(self, entries: Sequence[Event]) -> list[bool]:
        """Write the events of those who were not forgotten; those of others are not new. See `Store.append`."""
        taken = [not self.watch.forgets(event.user) for event in entries]
        kept = [event for event, own in zip(entries, taken, strict=True) if own]
        new = iter(self.store.append(kept) if kept else [])
        return [own and next(new) for own in taken]

    def read(self, after: Position = START) -> Iterator[tuple[Position, Event]]:
        """Yield (position, event) after a position; see `Store.read`."""
        for position, event in self.store.read(after):
            if not self.watch.forgets(event.user):
                yield position, event

    def close(self) -> None:
        """Let another process write."""
        self.store.close()


def open_events(settings: EventSettings, workspace: Path, name: str) -> EventStore | None:
    """Return the event log of a workspace without those who were forgotten; None if there is to be none.

    Args:
        settings: `serve.events` of a recipe.
        workspace: where segments lie if `path` is not set.
        name: the recipe's.
    """
    store = open_store(settings, workspace / "events", name)
    return None if store is None else Sieve(store, Watch(workspace))
