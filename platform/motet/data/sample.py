"""A uniform sample that can be taken in parts and merged: the k rows of lowest hash.

Exact (all rows) up to k rows; above, a uniform sample without replacement that does not depend on
how the rows were divided (bottom-k sampling, Cohen and Kaplan 2007).
"""

import numpy as np
import pyarrow as pa

from motet.data.hashing import mix, text_hash

SAMPLE_ROWS = 100_000


def row_priority(table: pa.Table) -> np.ndarray:
    """Return a uint64 per row from `_file` and `_row`, the same wherever the row is read."""
    with np.errstate(over="ignore"):
        return mix(
            text_hash(table.column("_file").combine_chunks()) + table.column("_row").to_numpy().astype(np.uint64)
        )


def take_sample(table: pa.Table, columns: list[str], size: int = SAMPLE_ROWS) -> pa.Table:
    """Return `columns` and `_priority` of the `size` rows of lowest priority."""
    priority = row_priority(table)
    chosen = np.argsort(priority, kind="stable")[:size]
    return table.select(columns).append_column("_priority", pa.array(priority)).take(pa.array(chosen))


def merge_samples(parts: list[pa.Table], size: int = SAMPLE_ROWS) -> pa.Table:
    """Return the sample of the union of the parts."""
    table = pa.concat_tables(parts)
    order = np.argsort(table.column("_priority").to_numpy(), kind="stable")[:size]
    return table.take(pa.array(order))
