"""Records joined with events: a row for each item that was shown, with what came of it, as interactions to train on.

An event joins the showing that its `request_id`, user and item name, if it came within the window. A row has

    user_id, item_id, timestamp     of the latest event that joined, else when it was shown
    request_id, surface, position   the place from 1
    propensity                      of the item at its place; null below level full
    chance                          propensity / length of the list: that of an evenly drawn place of it to show the
                                    item, which is what `data.interactions.propensity` reads
    explored                        whether it was drawn
    kind, value, event_id           of the latest event; of none the kind is `shown`
    <kind>                          value of the latest event of this kind; null if there is none
    got_<kind>                      1 if there is one, 0 if there is none, null as long as one may still come

Events that join no showing follow as rows of their own, without place and propensity. So the file has all events of the
log once: it stands in place of `motet events export`, not beside it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from motet.data.histories import DAY_MS
from motet.events.columns import OWN, read_columns
from motet.events.event import Event
from motet.events.store import EventStore
from motet.recipe import Recipe
from motet.records.reader import record_tables
from motet.storage import write_file_atomic

GOT = "got_"
SHOWN = "shown"
_ROWS = 50_000
PLACES = {
    "surface": pa.string(), "position": pa.int16(), "propensity": pa.float64(), "chance": pa.float64(),
    "explored": pa.bool_(),
}  # fmt: skip
"""What only a record says of an item."""
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Rules:
    """How showings and events are joined."""

    recipe: Recipe
    now_ms: int
    """Up to when events are known."""
    window_days: float = 1.0
    """Days after a showing within which an event joins it; of a kind whose `got_` column a task with `delay_days`
    reads, so many days."""
    answered_only: bool = False
    """Leave out showings of which no event came."""

    def window_ms(self, kind: str | None) -> int:
        """Return how long an event of a kind may come after the showing."""
        reads = (task for task in self.recipe.scored_tasks if task.delay_days is not None)
        days = [task.delay_days for task in reads if f"{GOT}{kind}" in task.expression.columns]
        return round(max([one for one in days if one is not None], default=self.window_days) * DAY_MS)


@dataclass
class Exported:
    """What was written."""

    shown: int = 0
    answered: int = 0
    """Showings of which an event came."""
    alone: int = 0
    """Events that join no showing."""
    without_user: int = 0
    """Showings that are left out since nobody is named."""
    kinds: Counter[str] = field(default_factory=Counter)


def export_impressions(records: Path, store: EventStore | None, target: Path, rules: Rules) -> Exported:
    """Write showings with what came of them, and the other events, to a parquet file.

    Args:
        records: folder of the records.
        store: the event log; None if there is none.
        target: the file, replaced as a whole.
        rules: of the join.

    Raises:
        DataError: if there are no records, or a file of them is damaged.
    """
    events = [event for _, event in store.read()] if store is not None else []
    kinds = _kinds(events, rules.recipe)
    by_showing: dict[_Key, list[Event]] = {}
    for event in events:
        if event.request_id is not None:
            by_showing.setdefault((event.request_id, event.user, event.item), []).append(event)
    found, joined = Exported(), set[str]()

    def write(path: Path) -> None:
        schema = to_interactions([], kinds, rules.recipe).schema
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in record_tables(records, ["request_id", "moment", "user", "surface", "k", "candidates"]):
                rows = list(_joined(_showings(table, found), by_showing, kinds, rules, joined, found))
                writer.write_table(to_interactions(rows, kinds, rules.recipe))
            rest = [_alone(event) for event in events if event.event_id not in joined]
            found.alone = len(rest)
            for start in range(0, len(rest), _ROWS):
                writer.write_table(to_interactions(rest[start : start + _ROWS], kinds, rules.recipe))

    write_file_atomic(target, write)
    return found


def _kinds(events: Iterable[Event], recipe: Recipe) -> list[str]:
    """Return the kinds of the log and those whose `got_` column a label reads."""
    read = {name.removeprefix(GOT) for name in recipe.label_columns if name.startswith(GOT)}
    return sorted(read | {event.kind for event in events if event.kind is not None} - OWN.keys() - PLACES.keys())


def _showings(table: pa.Table, found: Exported) -> list[dict[str, Any]]:
    """Return one row for each item that a table of records shows to someone."""
    lists = table.column("candidates").combine_chunks()
    shown_N = pc.is_valid(pc.struct_field(lists.flatten(), "position"))
    parents_N = pc.list_parent_indices(lists).filter(shown_N)
    lengths = Counter(parents_N.to_pylist())
    requests = table.drop_columns(["candidates"]).to_pylist()
    rows = []
    for parent, one in zip(parents_N.to_pylist(), lists.flatten().filter(shown_N).to_pylist(), strict=True):
        request = requests[parent]
        if request["user"] is None:
            found.without_user += 1
            continue
        chance = one["propensity"] and one["propensity"] / lengths[parent]
        moment_ms = round(request["moment"].timestamp() * 1000)
        rows.append({**request, **one, "chance": chance, "moment_ms": moment_ms})
    return rows


def _joined(
    showings: list[dict[str, Any]],
    by_showing: dict[_Key, list[Event]],
    kinds: Sequence[str],
    rules: Rules,
    joined: set[str],
    found: Exported,
) -> Iterator[dict[str, Any]]:
    for one in showings:
        key = (one["request_id"], one["user"], one["item"])
        came = sorted(by_showing.get(key, ()), key=lambda event: event.timestamp_ms)
        own = [event for event in came if event.timestamp_ms <= one["moment_ms"] + rules.window_ms(event.kind)]
        joined.update(event.event_id for event in own)
        if not own and rules.answered_only:
            continue
        found.shown, found.answered = found.shown + 1, found.answered + bool(own)
        found.kinds.update({event.kind for event in own if event.kind is not None})
        got = {kind: _got(kind, own, one["moment_ms"], rules) for kind in kinds}
        yield {
            "events": own or [Event(one["request_id"], one["user"], one["item"], one["moment_ms"], SHOWN)],
            "request_id": one["request_id"],
            "got": got,
            **{name: one[name] for name in PLACES},
        }


def _got(kind: str, own: Sequence[Event], moment_ms: int, rules: Rules) -> float | None:
    if any(event.kind == kind for event in own):
        return 1.0
    return 0.0 if moment_ms + rules.window_ms(kind) <= rules.now_ms else None


def _alone(event: Event) -> dict[str, Any]:
    got = {event.kind: 1.0} if event.kind is not None else {}
    return {"events": [event], "request_id": event.request_id, "got": got, **dict.fromkeys(PLACES)}


def to_interactions(rows: Sequence[dict[str, Any]], kinds: Sequence[str], recipe: Recipe) -> pa.Table:
    """Return rows as interactions, under the recipe's names as well, with every column that its labels read."""
    latest = [row["events"][-1] for row in rows]
    columns = {name: pa.array([value(event) for event in latest], kind) for name, (kind, value) in OWN.items()}
    columns["request_id"] = pa.array([row["request_id"] for row in rows], pa.string())
    columns |= {name: pa.array([row[name] for row in rows], kind) for name, kind in PLACES.items()}
    for kind in kinds:
        columns[kind] = pa.array([_value(row["events"], kind) for row in rows], pa.float64())
        columns[f"{GOT}{kind}"] = pa.array([row["got"].get(kind) for row in rows], pa.float64())
    log, own = recipe.data.interactions, dict(columns)
    named = {log.user: "user_id", log.item: "item_id", log.timestamp: "timestamp"}
    columns |= {name: own[source] for name, source in named.items()}
    return pa.table(columns | read_columns(latest, {n: k for n, k in recipe.label_columns.items() if n not in columns}))


def _value(events: Sequence[Event], kind: str) -> float | None:
    return next((event.value for event in reversed(events) if event.kind == kind), None)
