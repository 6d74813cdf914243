"""Users with what they did since the release: the log's events put behind, and among, their stored histories.

Each process that answers reads the log by itself up to its end before each answer. So its answer knows every event that
was acknowledged, whichever replica took it and however many answer; no position needs to be passed along, and a
process that starts late or again misses nothing. If nothing was written since, this is a listing and an `fstat`.

Events are taken as the prepare stage would: those of items that the catalogue does not have, or whose value is out of
the recipe's range, are left out; with `repeats: last` an item's last event counts; labels come from the recipe's
expressions, unknown where these read a column that the event has not. What the release was made from already is
recognised by user, item and time. An event of an item that is not known is held in case the item comes; so are the
latest 10,000 of them.

Of each user the latest `2 x model.history` events are held, by when they came; of older ones the items are, so that
they are not shown again, and all is known again when a release was made from them. All users with an event since the
release are held.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from motet.data.histories import label_columns, signal_columns
from motet.events.columns import read_columns
from motet.events.event import Event
from motet.events.follower import Follower
from motet.events.store import Position, Readable
from motet.people import People, Person
from motet.recipe import Recipe
from motet.retrieval.catalogue import ItemTable
from motet.training.windows import LIKING_UNKNOWN, liking_of

_MOST_WAITING = 10_000
"""Events of items that are not known yet which are held in case these come."""


class LiveUsers:
    """What a log says of users beyond a release.

    Args:
        store: the log; read, never written.
        recipe: the release's.
        items: the release's.
        people: the release's.
    """

    def __init__(self, store: Readable[Event], recipe: Recipe, items: ItemTable, people: People) -> None:
        self.recipe, self.items, self.people = recipe, items, people
        self._events: dict[str, deque[Event]] = {}
        self._older: dict[str, set[int]] = {}
        self._waiting: OrderedDict[str, Event] = OrderedDict()
        self._follower = Follower(store, self._take, "event")
        self._lock = self._follower.lock

    def catch_up(self) -> None:
        """Take in what the log has since the last time; see `Follower.catch_up`."""
        self._follower.catch_up()

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if event.item not in self.items.place_of:
                self._waiting[event.event_id] = event
                if len(self._waiting) > _MOST_WAITING:
                    self._waiting.popitem(last=False)
            elif self._counts(event):
                self._hold(event)

    def forget(self, forgets: Callable[[str], bool], people: People) -> None:
        """Let go of some users, and of the table of stored users that still has them."""
        with self._lock:
            self.people = people
            self._events = {user: held for user, held in self._events.items() if not forgets(user)}
            self._older = {user: places for user, places in self._older.items() if not forgets(user)}
            kept = {name: event for name, event in self._waiting.items() if not forgets(event.user)}
            self._waiting = OrderedDict(kept)

    def _hold(self, event: Event) -> None:
        held = self._events.setdefault(event.user, deque(maxlen=2 * self.recipe.model.history))
        if all(event.event_id != one.event_id for one in held):
            if len(held) == held.maxlen:
                self._older.setdefault(event.user, set()).add(self.items.place_of[held[0].item])
            held.append(event)

    def items_came(self) -> None:
        """Take in the events that were there before their items."""
        with self._lock:
            come = [name for name, event in self._waiting.items() if event.item in self.items.place_of]
            self._take([self._waiting.pop(name) for name in come])

    def _counts(self, event: Event) -> bool:
        place = self.items.place_of[event.item]
        ranges = self.recipe.data.interactions.ranges
        for name in ("value", event.kind):
            limits = ranges.get(name or "")
            if limits is None or event.value is None:
                continue
            below = limits.min is not None and event.value < limits.min
            if below or (limits.max is not None and event.value > limits.max):
                return False
        return not self._is_in_release(event, place)

    def _is_in_release(self, event: Event, place: int) -> bool:
        row = self.people.rows.get(event.user)
        if row is None or event.timestamp_ms > (self.people.latest_ms or 0):
            return False
        items_S, moments_S = (self.people.table.column(name)[row].values for name in ("items", "timestamps"))
        same_S = (items_S.to_numpy() == place) & (moments_S.to_numpy() == event.timestamp_ms)
        return bool(same_S.any())

    def events(self, user: str) -> list[Event]:
        """Return a user's events that count, oldest first, after a look at the log."""
        self.catch_up()
        return self._known(user)[0]

    def counts(self) -> dict[str, int]:
        """Return how many events beyond the release are held of each user, after a look at the log."""
        self.catch_up()
        with self._lock:
            return {user: len(held) for user, held in self._events.items()}

    def _known(self, user: str) -> tuple[list[Event], np.ndarray, Position]:
        """Return (a user's events that count, places of older ones, the position up to which the log is known)."""
        with self._lock:
            held, position = list(self._events.get(user, ())), self._follower.position
            older_S = np.array(sorted(self._older.get(user, ())), np.int64)
        return sorted(held, key=lambda event: event.timestamp_ms), older_S, position

    def person(self, user: str, stored: Person) -> Person:
        """Return what `as_known` does, after a look at the log."""
        self.catch_up()
        return self.as_known(user, stored)

    def as_known(self, user: str, stored: Person) -> Person:
        """Return a user with their live events as of the last `catch_up`; as they are stored if there are none.

        They ask at the end of the release's log, or at their latest event if that is later.
        """
        events, older_S, known_to = self._known(user)
        if not events:
            return replace(stored, known_to=known_to)
        asked_ms = max(stored.asked_ms or self.people.latest_ms or 0, events[-1].timestamp_ms)
        labels_ST, liking_S = self._labels(events, asked_ms)
        known_ST = stored.labels_ST
        if known_ST is None:
            known_ST = np.full((len(stored.items_S), labels_ST.shape[1]), np.nan, np.float32)
        items_S = np.append(stored.items_S, [self.items.place_of[event.item] for event in events])
        moments_S = np.append(stored.timestamps_S, [event.timestamp_ms for event in events])
        order_S = np.argsort(moments_S, kind="stable")
        if self.recipe.data.interactions.repeats == "last":
            order_S = order_S[_last_of_each(items_S[order_S])]
        return replace(
            stored,
            items_S=items_S[order_S].astype(np.int64),
            timestamps_S=moments_S[order_S].astype(np.int64),
            liking_S=np.append(stored.liking_S, liking_S)[order_S],
            labels_ST=np.concatenate([known_ST, labels_ST])[order_S],
            profile_W=np.zeros(0, np.float32),
            level="known",
            asked_ms=asked_ms,
            known_to=known_to,
            older_S=older_S,
        )

    def _labels(self, events: list[Event], asked_ms: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what the tower reads of events [S, T], NaN for unknown, and their liking [S]."""
        columns = {
            "user": pa.array([event.user for event in events], pa.string()),
            "item": pa.array([event.item for event in events], pa.string()),
            "timestamp": pa.array([event.timestamp_ms for event in events], pa.int64()),
            "part": pa.array([0] * len(events), pa.int8()),
        }
        table = pa.table({**columns, **read_columns(events, self.recipe.label_columns)})
        labelled = label_columns(table, self.recipe.tasks, asked_ms)
        labelled = signal_columns(labelled, self.recipe.data.interactions.signal_expressions)
        labels_TS = [labelled.column(name).to_numpy() for name in self.people.read]
        labels_ST = np.array(labels_TS, np.float32).reshape(len(labels_TS), len(events)).T
        liked = self.recipe.liked_label
        if liked is None:
            return labels_ST, np.full(len(events), LIKING_UNKNOWN, np.int8)
        return labels_ST, liking_of(labelled.column(liked).to_numpy())


def _last_of_each(items_S: np.ndarray) -> np.ndarray:
    """Return the places of each item's last event, in order."""
    _, from_end = np.unique(items_S[::-1], return_index=True)
    return np.sort(len(items_S) - 1 - from_end)
