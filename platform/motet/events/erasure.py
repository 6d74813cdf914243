"""Taking the events of a user out of a log, whatever it is kept in.

segments   each line is overwritten in place by one of the same length, so no position of a reader or writer moves
redis      XDEL; their ids leave the set of known ids too. The append-only file keeps them until it is rewritten
kafka      a topic cannot be changed: what it has stays, and is left out wherever it is read
"""

import os
from collections.abc import Collection
from pathlib import Path

from motet.events.event import Event
from motet.events.kafka import KafkaTopic
from motet.events.redis_streams import RedisStream
from motet.events.segments import ERASED, Segments
from motet.events.store import EventStore
from motet.storage import canonical_json

NOTES = {
    "segments": "overwritten in place; a disk may keep old blocks, and copies of the folder are not seen from here",
    "redis": "deleted; its append-only file holds them until the next BGREWRITEAOF",
    "kafka": "a topic cannot be changed: they stay in it, and are left out wherever it is read",
}


def erase(store: EventStore, names: Collection[str]) -> tuple[int, str]:
    """Take the events of users out of a log; return how many, and what that means for this kind of log.

    Args:
        store: the log; another process may be writing it.
        names: the users.

    Raises:
        EventLogError: if the log cannot be reached.
        OSError: if a segment cannot be written.
    """
    match store:
        case Segments():
            return _from_segments(store, names), NOTES["segments"]
        case RedisStream():
            found = [(position, event.event_id) for position, event in store.read() if event.user in names]
            store.remove(found)
            return len(found), NOTES["redis"]
        case KafkaTopic():
            return 0, NOTES["kafka"]
    raise AssertionError(f"{type(store).__name__} has no way to erase")


def _from_segments(store: Segments[Event], names: Collection[str]) -> int:
    """Search until nothing is found: what was under way when the tombstone came may be written after a first look."""
    total = 0
    while found := sum(_from_file(path, store, names) for path in store.files()):
        total += found
    return total


def _from_file(path: Path, store: Segments[Event], names: Collection[str]) -> int:
    """Overwrite the lines of users, and damaged lines that name them."""
    marks = [canonical_json({"user": name})[1:-1].encode() for name in names]
    handle, found, at = os.open(path, os.O_RDWR), 0, 0
    try:
        with path.open("rb") as file:
            for line in file:
                if any(mark in line for mark in marks):
                    whole = line.rstrip(b"\n")
                    entry = store.codec.unframe(whole)
                    if (entry is None or entry.user in names) and line.endswith(b"\n"):
                        os.pwrite(handle, ERASED.ljust(len(whole), b" "), at)
                        found += 1
                at += len(line)
        if found:
            os.fsync(handle)
    finally:
        os.close(handle)
    return found
