"""What every log can do, of events or of other entries; tests/motet/events/test_contract.py asks it of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from motet.event_settings import EventSettings
from motet.events.codec import Codec
from motet.events.event import EVENTS, Event

Position = str
"""A place in a log, as that log spells it: right after an event."""
START: Position = ""
"""Before the first event."""


T = TypeVar("T")
Read = TypeVar("Read", covariant=True)


class Readable(Protocol[Read]):
    """A log as those see it who follow it."""

    def read(self, after: Position = START) -> Iterator[tuple[Position, Read]]:
        """Yield the entries after a position with their own positions, up to the end of the log, without waiting.

        What an `append` that has returned wrote, in any process, is among them. Needs no `open`.
        """


class Store(Readable[T], Protocol[T]):
    """An append-only log."""

    def open(self) -> None:
        """Make ready to append: become the only writer, where there may be one only, and mend what a crash left.

        Raises:
            EventLogError: if another process writes, or the place is not fit for it.
        """

    def append(self, entries: Sequence[T]) -> list[bool]:
        """Write entries; when this returns they survive the death of every process, and a power failure.

        Args:
            entries: in the order to be kept; an id that the log or an earlier one of them has is a repeat.

        Returns:
            For each whether it is new; a repeat is left out.

        Raises:
            EventLogError: if nothing of this call may count as written.
        """

    def close(self) -> None:
        """Let another process write."""


EventStore = Store[Event]


def open_store(settings: EventSettings, folder: Path, name: str) -> EventStore | None:
    """Return the event log that the settings name, not yet opened for writing; None if there is to be none.

    Args:
        settings: `serve.events` of a recipe.
        folder: where segments lie if `path` is not set.
        name: the recipe's, which a stream in Redis or a topic in Kafka bears.
    """
    return open_log(settings, Path(settings.path or folder), name, EVENTS)


def open_log(settings: EventSettings, folder: Path, name: str, codec: Codec[T]) -> Store[T] | None:
    """Return a log beside others in the same kind of store, not yet opened for writing; None if there is to be none.

    Args:
        settings: `serve.events` of a recipe.
        folder: of the segments.
        name: the recipe's, which a stream in Redis bears.
        codec: of its entries.
    """
    match settings.store:
        case "segments":
            from motet.events.segments import Segments

            return Segments(folder, settings.segment_mb << 20, codec)
        case "redis":
            from motet.events.redis_streams import RedisStream

            return RedisStream(settings.url or "", f"motet:{{{name}}}:{codec.name}", codec)
        case "kafka":
            from motet.events.kafka import KafkaTopic

            return KafkaTopic(settings.url or "", f"motet.{name}.{codec.name}", codec)
    return None
