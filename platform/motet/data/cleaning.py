"""Duplicates: which rows stay and which are merged away.

Interactions: an exact duplicate (same user, item, time and values) is merged; of several events of one
pair the last stays if the recipe says so. Entities: the last row of an id stays. "Last" is by time, then
file, then place in the file.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motet.data.hashing import tie_breaker


def split_bad(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return (rows without a problem, rows with one)."""
    bad = pc.is_valid(table.column("_problem"))
    return table.filter(pc.invert(bad)), table.filter(bad)


def codes(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return equal integers for equal values, in the order of the values."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    encoded = array.dictionary_encode("encode")
    ranks = pc.rank(encoded.dictionary, "ascending", tiebreaker="dense").to_numpy()
    return np.asarray(ranks[encoded.indices.to_numpy(zero_copy_only=False)])


def merge_interactions(table: pa.Table, values: list[str], repeats: str, seed: int) -> pa.Table:
    """Return the rows that stay, ordered by user, time and the seeded tie-breaker.

    Args:
        table: checked rows of whole users, without problems.
        values: value columns that make a duplicate exact.
        repeats: `last` keeps one event per user and item, `keep` keeps all.
        seed: of the order among events of the same moment.
    """
    if table.num_rows == 0:
        return table
    user, item, file = (codes(table.column(name)) for name in ("user", "item", "_file"))
    time, row = (table.column(name).to_numpy() for name in ("timestamp", "_row"))
    ties = tie_breaker(table.column("user").combine_chunks(), table.column("item").combine_chunks(), seed)
    if repeats == "last":
        order = np.lexsort((row, file, time, item, user))
        changed = (np.diff(user[order]) != 0) | (np.diff(item[order]) != 0)
        kept = order[np.append(changed, True)]
    else:
        keys = [user, item, time, *(codes(table.column(name)) for name in values)]
        order = np.lexsort((row, file, *reversed(keys)))
        changed = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
        kept = order[np.append(changed, True)]
    final = kept[np.lexsort((row[kept], file[kept], ties[kept], time[kept], user[kept]))]
    return table.take(pa.array(final))


def merge_entities(table: pa.Table) -> pa.Table:
    """Return one row per id: the last one by file and place, in the order of ids."""
    if table.num_rows == 0:
        return table
    identity, file = codes(table.column("id")), codes(table.column("_file"))
    order = np.lexsort((table.column("_row").to_numpy(), file, identity))
    kept = table.take(pa.array(order[np.append(np.diff(identity[order]) != 0, True)]))
    return kept.take(pc.sort_indices(kept, sort_keys=[("id", "ascending")]))


def natural_order(ids: list[str]) -> list[str]:
    """Return ids in numeric order if all are whole numbers, else in text order."""
    return sorted(ids, key=lambda one: (int(one), one)) if all(one.isdecimal() for one in ids) else sorted(ids)
