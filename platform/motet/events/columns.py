"""Events as columns of interactions, so that labels are computed from them as from any log.

An event has the columns user_id, item_id, kind, value, timestamp, event_id and request_id, and one more that bears the
name of its kind: a `rating` of 4 has `rating` = 4. Any other column that a recipe reads is null for it, and what is
computed from it unknown.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from motet.data.columns import as_text
from motet.events.event import Event

OWN: dict[str, tuple[pa.DataType, Callable[[Event], Any]]] = {
    "user_id": (pa.string(), lambda event: event.user),
    "item_id": (pa.string(), lambda event: event.item),
    "kind": (pa.string(), lambda event: event.kind),
    "value": (pa.float64(), lambda event: event.value),
    "timestamp": (pa.timestamp("ms", "UTC"), lambda event: event.timestamp_ms),
    "event_id": (pa.string(), lambda event: event.event_id),
    "request_id": (pa.string(), lambda event: event.request_id),
}


def own_columns(events: Sequence[Event]) -> dict[str, pa.Array]:
    """Return the columns that every event has."""
    return {name: pa.array([value(event) for event in events], kind) for name, (kind, value) in OWN.items()}


def read_columns(events: Sequence[Event], wanted: Mapping[str, str]) -> dict[str, pa.Array]:
    """Return the columns that labels read.

    Args:
        events: N of them.
        wanted: number or category by column, as `Recipe.label_columns`.
    """
    own = own_columns(events)
    return {name: _typed(own.get(name, _of_kind(events, name)), kind) for name, kind in wanted.items()}


def _of_kind(events: Sequence[Event], name: str) -> pa.Array:
    return pa.array([event.value if event.kind == name else None for event in events], pa.float64())


def _typed(array: pa.Array, kind: str) -> pa.Array:
    if kind == "category":
        return as_text(array)
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    return pa.nulls(len(array), pa.float64()) if pa.types.is_string(array.type) else array.cast(pa.float64())
