"""Logged requests asked again, in one process, with what was known of the user when they were answered.

What is known of a user is the release's tables and the event log up to a position, which the record names. So the log
is read once, from position to position, and each request is asked when it stands at its own.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from motet.events.event import Event
from motet.events.store import START, EventStore, Position
from motet.recommend import Query, Recommender, find_surface
from motet.records.record import Record, candidate_arrays
from motet.records.table import to_query, to_record


class UpTo:
    """An event log that ends at a position; nothing is in it at `START`.

    Args:
        store: the whole log.
    """

    def __init__(self, store: EventStore) -> None:
        self.store, self.end = store, START

    def read(self, after: Position = START) -> Iterator[tuple[Position, Event]]:
        """Yield (position, event) after a position, up to the end."""
        if after == self.end:
            return
        for position, event in self.store.read(after):
            yield position, event
            if position == self.end:
                return


def record_of(recommender: Recommender, query: Query, release: str, moment_ms: int | None = None) -> Record:
    """Return the record of a query that is answered now, in this process; its `request` names it."""
    query = replace(query, recorded=True)
    user = recommender.embedder.run([query])[0]
    candidates = recommender.retriever.run(user, query)
    ranked = recommender.reranker.rank(user, candidates, query)
    assert ranked.numbers is not None
    return Record(
        request_id=query.request or "",
        release=release,
        moment_ms=round(time.time() * 1000) if moment_ms is None else moment_ms,
        query=query,
        surface=find_surface(recommender.reranker.recipe, query.surface),
        level="full",
        recognised=user.level,
        known_to=user.known_to,
        **candidate_arrays(candidates, ranked.numbers),
    )


def replay(
    rows: Sequence[dict[str, Any]],
    recommender_of: Callable[[str], Recommender | None],
    store: EventStore | None,
    left_out: Counter[str],
) -> Iterator[tuple[Record, Record]]:
    """Yield (the record, the record of the same request asked again).

    Args:
        rows: from `sample_rows`.
        recommender_of: gives the steps of a release; None if it is gone.
        store: the event log; None if there is none.
        left_out: takes the requests that cannot be asked again, by reason.
    """
    by_release: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if reason := _unfit(row):
            left_out[reason] += 1
        else:
            by_release.setdefault(row["release"], []).append(row)
    place_of = _places({row["known_to"] or START for row in rows}, store)
    for release, own in by_release.items():
        recommender = recommender_of(release)
        known = [row for row in own if (row["known_to"] or START) in place_of]
        left_out["the event log no longer reaches back to it"] += len(own) - len(known)
        if recommender is None:
            left_out["its release is gone"] += len(known)
            continue
        end = UpTo(store) if store is not None else None
        if end is not None:
            recommender.embedder.follow(end)
        for row in sorted(known, key=lambda row: place_of[row["known_to"] or START]):
            if end is not None:
                end.end = row["known_to"] or START
            record = to_record(row, recommender.embedder.items.places)
            yield record, record_of(recommender, to_query(row), release)


def _unfit(row: dict[str, Any]) -> str:
    if row["level"] != "full":
        return f"answered at level {row['level']}"
    return "asked with a text, which is not kept" if row["has_text"] else ""


def _places(wanted: set[Position], store: EventStore | None) -> dict[Position, int]:
    """Return where in the log positions stand, from 1; those that it does not have are missing."""
    found = {START: 0}
    for number, (position, _) in enumerate(store.read() if store is not None else (), 1):
        if position in wanted:
            found[position] = number
    return found
