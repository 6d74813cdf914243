"""Entries as rows of the items' table: checked by the contract of files, and encoded as the prepare stage does."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from motet.data.cleaning import split_bad
from motet.data.contracts import check_entities
from motet.data.entities import encode_items, join_text
from motet.data.features import FeatureSpec
from motet.data.reading import COUNT, json_table
from motet.itemlog.entry import ItemEntry
from motet.recipe import Recipe

SOURCE = "the item log"
"""What stands for the file of such a row."""


def raw_rows(entries: Sequence[ItemEntry], recipe: Recipe) -> pa.Table:
    """Return entries that add items as raw rows, as `reading.read_split` gives those of a file."""
    items = recipe.data.items
    objects = [{**(entry.columns or {}), items.id: entry.item} for entry in entries]
    problems: list[str | None] = [None] * len(entries)
    table = json_table(objects, items.columns, problems)
    table = table.append_column("_file", pa.array([SOURCE] * len(entries), pa.string()))
    table = table.append_column("_row", pa.array(range(len(entries)), pa.int64()))
    return table.append_column("_problem", pa.array(problems, pa.string()))


def rows_to_prepare(entries: Sequence[ItemEntry], recipe: Recipe) -> pa.Table:
    """Return checked rows of entries, and the `#count` row with which a reader says how many it read."""
    raw = raw_rows(entries, recipe)
    told = {"_file": SOURCE, "_row": len(entries), "_problem": COUNT}
    count = pa.Table.from_pylist([{**dict.fromkeys(raw.column_names), **told}], schema=raw.schema)
    return _checked(pa.concat_tables([raw, count]), recipe)


def checked_rows(entries: Sequence[ItemEntry], recipe: Recipe) -> pa.Table:
    """Return entries that add items as `contracts.check_entities` leaves them, with the problems of bad ones."""
    return _checked(raw_rows(entries, recipe), recipe)


def _checked(raw: pa.Table, recipe: Recipe) -> pa.Table:
    return check_entities(raw, recipe.data.items, recipe.data.clean, text_required=True)


def encoded_rows(entries: Sequence[ItemEntry], recipe: Recipe, spec: FeatureSpec) -> pa.Table:
    """Return good entries, of which each item has one, as rows of the items' table, in their order.

    Args:
        entries: whose rows `checked_rows` gives no problem.
        recipe: the release's.
        spec: the release's features of items.
    """
    good, _ = split_bad(checked_rows(entries, recipe))
    return encode_items(good, recipe.data.items, spec, good.column("id").combine_chunks())


def texts(entries: Sequence[ItemEntry], recipe: Recipe) -> list[str]:
    """Return what the language model reads of each good entry."""
    good, _ = split_bad(checked_rows(entries, recipe))
    return list(join_text(good, recipe.data.items.text).to_pylist())


def problems(entries: Sequence[ItemEntry], recipe: Recipe) -> list[str | None]:
    """Return what is wrong with each entry that adds an item, without its values; None if nothing is."""
    return list(pc.cast(checked_rows(entries, recipe).column("_problem"), pa.string()).to_pylist())
