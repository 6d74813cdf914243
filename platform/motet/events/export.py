"""The event log as a parquet file that can stand among a recipe's interactions.

Columns: those of `motet.events.columns`; for a recipe also whatever it calls user, item and time otherwise, and every
column that its labels read, so that the file has all that its other interactions have. Times are typed, so they are
read right under any `timestamp_unit`.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from motet.events.columns import own_columns, read_columns
from motet.events.event import Event
from motet.events.store import EventStore
from motet.recipe import Recipe
from motet.storage import write_file_atomic

_ROWS = 50_000


def export(store: EventStore, target: Path, recipe: Recipe | None = None) -> int:
    """Write all events of a log to a parquet file; return how many.

    Args:
        store: the log.
        target: the file, replaced as a whole.
        recipe: whose column names and labels count.
    """
    rows = 0

    def write(path: Path) -> None:
        nonlocal rows
        with pq.ParquetWriter(path, _table([], recipe).schema, compression="zstd", write_page_checksum=True) as writer:
            for events in _groups(store):
                writer.write_table(_table(events, recipe))
                rows += len(events)

    write_file_atomic(target, write)
    return rows


def _groups(store: EventStore) -> Iterator[list[Event]]:
    events = (event for _, event in store.read())
    while group := list(islice(events, _ROWS)):
        yield group


def _table(events: list[Event], recipe: Recipe | None) -> pa.Table:
    columns = own_columns(events)
    if recipe is not None:
        log = recipe.data.interactions
        named = {log.user: "user_id", log.item: "item_id", log.timestamp: "timestamp"}
        own = dict(columns)
        columns |= {name: own[source] for name, source in named.items()}
        labels = {name: kind for name, kind in recipe.label_columns.items() if name not in columns}
        columns |= read_columns(events, labels)
    return pa.table(columns)
