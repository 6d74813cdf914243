"""Which items each user met, by a release and the event log, for answers that the Embedder has no part in."""

from pathlib import Path

import numpy as np

from motet.data.parquet import read_parquet
from motet.events.event import Event
from motet.events.follower import Follower
from motet.events.store import Readable
from motet.privacy.privacy import Privacy
from motet.privacy.watch import Watch
from motet.retrieval.catalogue import ItemTable


class Met:
    """Stored and live events of all users, as items alone.

    Args:
        folder: a bundle.
        items: its catalogue.
        watch: of who was forgotten.
    """

    def __init__(self, folder: Path, items: ItemTable, watch: Watch) -> None:
        self.items = items
        table = read_parquet(folder / "users.parquet", ["user", "items"])
        self._rows = {user: row for row, user in enumerate(table.column("user").to_pylist())}
        self._stored = table.column("items")
        self._live: dict[str, set[str]] = {}
        self._follower: Follower[Event] | None = None
        self._watch, self._privacy = watch, Privacy(None)

    def follow(self, store: Readable[Event]) -> None:
        """Know from now on what users do, as an event log says; read all of it."""
        self._follower = Follower(store, self._take, "event")
        self.catch_up()

    def catch_up(self) -> None:
        """Read what the followed log has by now, and who was forgotten; `of` does not, since it must answer at once."""
        if (privacy := self._watch.now) is not self._privacy:
            self._rows = {user: row for user, row in self._rows.items() if not privacy.forgets(user)}
            self._live = {user: met for user, met in self._live.items() if not privacy.forgets(user)}
            self._privacy = privacy
        if self._follower is not None:
            self._follower.catch_up()

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self._live.setdefault(event.user, set()).add(event.item)

    def of(self, user: str | None) -> np.ndarray:
        """Return the places [S] of what a user met, as of the last `catch_up`; one may be there twice."""
        if user is None:
            return np.zeros(0, np.int64)
        row = self._rows.get(user)
        stored_S = np.zeros(0, np.int64) if row is None else self._stored[row].values.to_numpy()
        return np.append(stored_S, self.items.places(sorted(self._live.get(user, ())))).astype(np.int64)
