"""Items and users as the rest of the house sees them: one text, slots and numbers, and what is shown.

items: item (id), place (int32 in the catalogue), title, text, slots, numbers, attr:<category> (list), num:<number>
       in a release `text_key` stands for the text
users: user (id), text, slots, numbers, profile (list of float32), events (int32)
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from motet.data.features import FeatureSpec
from motet.data_settings import Entity, Items


def join_text(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Return `column: value; column: value` per row; a missing value leaves its part out."""
    joined = pa.array([""] * table.num_rows, pa.string())
    for name in columns:
        part = pc.binary_join_element_wise(f"{name}: ", table.column(f"text:{name}").combine_chunks(), "; ", "")
        joined = pc.binary_join_element_wise(joined, pc.fill_null(part, ""), "")
    return pc.utf8_slice_codeunits(joined, 0, -2)


def text_columns(entity: Entity) -> list[str]:
    """Return the `text:` columns that `check_entities` makes for this table."""
    return [f"text:{name}" for name in entity.shown]


def encode_items(table: pa.Table, items: Items, spec: FeatureSpec, catalogue: pa.Array) -> pa.Table:
    """Return the item table described above, ordered by place."""
    columns = {
        "item": table.column("id"),
        "place": pc.index_in(table.column("id").combine_chunks(), value_set=catalogue).cast(pa.int32()),
        "title": pc.coalesce(table.column(f"text:{items.title_column}"), table.column("id")),
        "text": join_text(table, items.text),
    }
    columns |= {f"attr:{name}": table.column(name) for name in items.categories}
    columns |= {f"num:{name}": table.column(name) for name in items.numbers}
    features = spec.apply(table)
    columns |= {name: features.column(name) for name in features.column_names}
    encoded = pa.table(columns)
    return encoded.take(pc.sort_indices(encoded, sort_keys=[("place", "ascending")]))
