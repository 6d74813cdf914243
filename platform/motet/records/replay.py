"""Logged requests asked again, in one process, with what was known when they were answered.

What is known is the release's tables, the event log up to a position, and the item log up to another; the record names
both. So the logs are read from position to position, and each request is asked when they stand at its own. A catalogue
does not go back, so requests are asked in the order of the item log; where two replicas had read the event log in
another order, it is followed anew.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from motet.events.event import Event
from motet.events.store import START, Position, Readable
from motet.itemlog.entry import ItemEntry
from motet.recommend import Query, Recommender, find_surface
from motet.records.record import Record, candidate_arrays
from motet.records.table import to_query, to_record

T = TypeVar("T")


class UpTo(Generic[T]):
    """A log that ends at a position; nothing is in it at `START`.

    Args:
        store: the whole log.
    """

    def __init__(self, store: Readable[T]) -> None:
        self.store, self.end = store, START

    def read(self, after: Position = START) -> Iterator[tuple[Position, T]]:
        """Yield (position, entry) after a position, up to the end."""
        if after == self.end:
            return
        for position, entry in self.store.read(after):
            yield position, entry
            if position == self.end:
                return


@dataclass(frozen=True)
class Logs:
    """What an endpoint reads beside its release; None is not there."""

    events: Readable[Event] | None = None
    items: Readable[ItemEntry] | None = None


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
    logs: Logs,
    left_out: Counter[str],
) -> Iterator[tuple[Record, Record]]:
    """Yield (the record, the record of the same request asked again).

    Args:
        rows: from `sample_rows`.
        recommender_of: gives the steps of a release, following no log; None if it is gone.
        logs: the event log and the item log.
        left_out: takes the requests that cannot be asked again, by reason.
    """
    by_release: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if reason := _unfit(row):
            left_out[reason] += 1
        else:
            by_release.setdefault(row["release"], []).append(row)
    place_of = {
        "known_to": _places({row["known_to"] or START for row in rows}, logs.events),
        "items_to": _places({row["items_to"] or START for row in rows}, logs.items),
    }
    for release, own in by_release.items():
        recommender = recommender_of(release)
        known = own
        for name, log in (("known_to", "event"), ("items_to", "item")):
            reached = [row for row in known if (row[name] or START) in place_of[name]]
            left_out[f"the {log} log no longer reaches back to it"] += len(known) - len(reached)
            known = reached
        if recommender is None:
            left_out["its release is gone"] += len(known)
            continue
        moments = [[place_of[name][row[name] or START] for name in ("items_to", "known_to")] for row in known]
        pairs = sorted(zip(moments, known, strict=True), key=lambda pair: pair[0])
        yield from _asked(recommender, release, [row for _, row in pairs], place_of["known_to"], logs)


def _asked(
    recommender: Recommender, release: str, rows: list[dict[str, Any]], place_of: dict[Position, int], logs: Logs
) -> Iterator[tuple[Record, Record]]:
    """Yield the pairs of a release's requests, which are in the order of the item log."""
    items = None if logs.items is None else UpTo(logs.items)
    events = None if logs.events is None else UpTo(logs.events)
    if items is not None:
        recommender.follow_items(items)
    if events is not None:
        recommender.embedder.follow(events)
    for row in rows:
        if items is not None:
            items.end = row["items_to"] or START
        if events is not None and row["known_to"] is not None:
            behind = place_of[row["known_to"]] < place_of[events.end]
            events.end = row["known_to"]
            if behind:
                recommender.embedder.follow(events)
        recommender.catch_up()
        record = to_record(row, recommender.embedder.items.places)
        yield record, record_of(recommender, to_query(row), release)


def _unfit(row: dict[str, Any]) -> str:
    if row["level"] != "full":
        return f"answered at level {row['level']}"
    return "asked with a text, which is not kept" if row["has_text"] else ""


def _places(wanted: set[Position], store: Readable[Any] | None) -> dict[Position, int]:
    """Return where in a log positions stand, from 1; those that it does not have are missing."""
    found = {START: 0}
    for number, (position, _) in enumerate(store.read() if store is not None else (), 1):
        if position in wanted:
            found[position] = number
    return found
