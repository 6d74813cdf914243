"""Rows of users in parquet files: finding and removing them."""

import json
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from motet.data.parquet import read_parquet, write_parquet

USER_COLUMNS = ("user", "user_id")
_RAW = "raw"


def remove_rows(path: Path, names: Collection[str], columns: Collection[str] = USER_COLUMNS) -> pa.Table | None:
    """Rewrite a file without the rows of users; return those rows, or None if it has none.

    Args:
        path: a parquet file.
        names: the users.
        columns: which hold users, where the file has them. Rows in quarantine go if their raw text has the name as a
            word.

    Raises:
        DataError: if the file is damaged.
    """
    own = [name for name in pq.read_schema(path).names if name in (*columns, _RAW)]
    if not own:
        return None
    gone = _of_users(read_parquet(path, own), names)
    if not pc.any(gone).as_py():
        return None
    table = read_parquet(path)
    write_parquet(path, table.filter(pc.invert(gone)))
    return table.filter(gone)


def _of_users(table: pa.Table, names: Collection[str]) -> pa.Array:
    wanted = pa.array(list(names), pa.string())
    gone = pa.array([False] * table.num_rows, pa.bool_())
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name == _RAW:
            found = pc.match_substring_regex(column, _words(names))
        elif pa.types.is_string(column.type):
            found = pc.is_in(column, value_set=wanted)
        else:
            found = pc.is_in(column.cast(pa.string()), value_set=wanted)
        gone = pc.or_(gone, pc.fill_null(found, False))
    return gone


def _words(names: Collection[str]) -> str:
    r"""Return a pattern of the names as whole words, as they are and as JSON spells them.

    RE2 has no look-around, so what stands beside a name is part of the match.
    """
    spelled = {form for name in names for form in (name, json.dumps(name)[1:-1])}
    return rf"(^|[^\pL\pN_-])({'|'.join(map(re.escape, sorted(spelled)))})($|[^\pL\pN_-])"


def remove_met(path: Path, users: pa.Table) -> int:
    """Remove the rows of users from what user_knn compares; return how many that were.

    Rows bear no name. A user's is that of the items of the longest beginning of the history that has a row: the source
    knows the history up to a moment. Of several equal rows it makes no difference which one goes.

    Args:
        path: met.parquet of a draft or release, if it has one.
        users: rows of its users.parquet; without the column `items` there is nothing to remove.
    """
    if not path.is_file() or "items" not in users.column_names:
        return 0
    table = read_parquet(path)
    row_of = {tuple(sorted(items)): row for row, items in enumerate(table.column("items").to_pylist())}
    gone = {_row_of_history(np.array(one, np.int64), row_of) for one in users.column("items").to_pylist()} - {None}
    if gone:
        write_parquet(path, table.filter(pa.array([row not in gone for row in range(table.num_rows)])))
    return len(gone)


def _row_of_history(items_S: np.ndarray, row_of: dict[tuple[int, ...], int]) -> int | None:
    for length in range(len(items_S), 0, -1):
        row = row_of.get(tuple(np.unique(items_S[:length]).tolist()))
        if row is not None:
            return row
    return None
