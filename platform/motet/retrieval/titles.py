"""What people pick items by: words of their titles, and the values of their attributes."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motet.retrieval.catalogue import ItemTable
from motet.retrieval.sources import scores_at


@dataclass(frozen=True)
class Attributes:
    """What filters may ask of a catalogue."""

    categories: dict[str, dict[str, int]]
    """Items of each value, most common first, by category."""
    numbers: dict[str, tuple[float, float]]
    """Smallest and largest value by number."""


def search_titles(items: ItemTable, text: str, most: int) -> np.ndarray:
    """Return places of the items whose title has a text in it, whatever its case.

    Titles that begin with it come first, then the ones that more people met; every item matches an empty text.
    """
    has_I, begins_I = (
        items.late.answers(ask(items.table), len(items), ask)
        for ask in (partial(_has, text=text), partial(_begins, text=text))
    )
    found = np.flatnonzero(has_I & items.standing())
    counts_N = scores_at(items.table.column("count").to_numpy(), found)
    order = np.lexsort((-counts_N, ~begins_I[found]))
    return np.asarray(found[order[:most]])


def _has(table: pa.Table, text: str) -> np.ndarray:
    return _flags(pc.match_substring(table.column("title"), text, ignore_case=True))


def _begins(table: pa.Table, text: str) -> np.ndarray:
    return _flags(pc.starts_with(table.column("title"), text, ignore_case=True))


def _flags(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(column, False).to_numpy(), bool)


def attributes_of(items: ItemTable, place: int) -> dict[str, list[str] | float]:
    """Return what is known of one item: values by category, a number by number."""
    row = items.row(place)
    known = {name.partition(":")[2]: row[name] for name in _columns(items)}
    return {name: value for name, value in known.items() if value is not None and value != [] and value == value}


def attributes(items: ItemTable, most: int) -> Attributes:
    """Return the attributes that filters may name, of each category the `most` commonest values."""
    categories, numbers, table = {}, {}, _standing(items)
    for column in _columns(items):
        kind, _, name = column.partition(":")
        if kind == "attr":
            counts = pc.value_counts(pc.list_flatten(table.column(column)).drop_null())
            pairs = sorted(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
            categories[name] = dict(sorted(pairs, key=lambda pair: -pair[1])[:most])
        else:
            numbers_I = pc.fill_null(table.column(column), np.nan).to_numpy()
            if not np.isnan(numbers_I).all():
                numbers[name] = (float(np.nanmin(numbers_I)), float(np.nanmax(numbers_I)))
    return Attributes(categories, numbers)


def _standing(items: ItemTable) -> pa.Table:
    """Return the rows of all items as they are now, without removed ones; in no order."""
    if not items.version:
        return items.table
    own_I = items.standing()[: items.of_release]
    own_I[items.late.changed[items.late.changed < items.of_release]] = False
    rows = [row for place, row in items.late.row_of.items() if place not in items.removed]
    return pa.concat_tables([items.table.filter(pa.array(own_I)), items.late.table.take(pa.array(rows, pa.int64()))])


def _columns(items: ItemTable) -> list[str]:
    return [name for name in items.table.column_names if name.startswith(("attr:", "num:"))]
