"""What every event log can do; tests/motet/events/contract.py is what each must pass."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from motet.event_settings import EventSettings
from motet.events.event import Event

Position = str
"""A place in a log, as that log spells it: right after an event."""
START: Position = ""
"""Before the first event."""


class EventStore(Protocol):
    """An append-only log of events."""

    def open(self) -> None:
        """Make ready to append: become the only writer, where there may be one only, and mend what a crash left.

        Raises:
            EventLogError: if another process writes, or the place is not fit for it.
        """

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Write events; when this returns they survive the death of every process, and a power failure.

        Args:
            events: in the order to be kept; an id that the log or an earlier one of them has is a repeat.

        Returns:
            For each event whether it is new; a repeat is left out.

        Raises:
            EventLogError: if nothing of this call may count as written.
        """

    def read(self, after: Position = START) -> Iterator[tuple[Position, Event]]:
        """Yield the events after a position with their own positions, up to the end of the log, without waiting.

        What an `append` that has returned wrote, in any process, is among them. Needs no `open`.
        """

    def close(self) -> None:
        """Let another process write."""


def open_store(settings: EventSettings, folder: Path, name: str) -> EventStore | None:
    """Return the log that the settings name, not yet opened for writing; None if there is to be none.

    Args:
        settings: `serve.events` of a recipe.
        folder: where segments lie if `path` is not set.
        name: the recipe's, which a stream in Redis or a topic in Kafka bears.
    """
    match settings.store:
        case "segments":
            from motet.events.segments import Segments

            return Segments(Path(settings.path or folder), settings.segment_mb << 20)
        case "redis":
            from motet.events.redis_streams import RedisStream

            return RedisStream(settings.url or "", f"motet:{{{name}}}:events")
        case "kafka":
            from motet.events.kafka import KafkaTopic

            return KafkaTopic(settings.url or "", f"motet.{name}.events")
    return None
