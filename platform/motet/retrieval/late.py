"""Titles and attributes of items that came, or were changed, since the release.

Rows are only added; of the rows of a place the latest counts. So a question to a column is asked of all rows, and the
answers are written to their places in order.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

_MOST_PARTS = 64


class LateRows:
    """Rows of some places.

    Args:
        schema: the columns that the release's items have; what of them a row lacks is null.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._parts: list[pa.Table] = [schema.empty_table()]
        self._table: pa.Table | None = self._parts[0]
        self.places_R = np.zeros(0, np.int64)
        """The place of each row."""
        self.row_of: dict[int, int] = {}
        """The latest row by place."""
        self.changed = np.zeros(0, np.int64)
        """The places that have a row, each once, in order."""

    def __len__(self) -> int:
        return len(self.places_R)

    @property
    def table(self) -> pa.Table:
        """All rows."""
        if self._table is None:
            if len(self._parts) > _MOST_PARTS:
                self._parts = [pa.concat_tables(self._parts).combine_chunks()]
            self._table = pa.concat_tables(self._parts)
        return self._table

    def add(self, places_N: np.ndarray, rows: pa.Table) -> None:
        """Add rows, one for each place."""
        schema = self._parts[0].schema
        columns = [
            rows.column(field.name).cast(field.type)
            if field.name in rows.column_names
            else pa.nulls(rows.num_rows, field.type)
            for field in schema
        ]
        start = len(self)
        self._parts.append(pa.table(columns, schema=schema))
        self._table = None
        self.places_R = np.append(self.places_R, places_N)
        self.row_of.update(zip(places_N.tolist(), range(start, len(self)), strict=True))
        self.changed = np.union1d(self.changed, places_N)

    def answers(self, answers_I: np.ndarray, items: int, ask: Callable[[pa.Table], np.ndarray]) -> np.ndarray:
        """Return the answers to a question for all places.

        Args:
            answers_I: the answers of the release's items.
            items: how many items there are now.
            ask: returns the answers of a table's rows.
        """
        if not len(self):
            return answers_I
        answers_N = np.append(answers_I, np.zeros(items - len(answers_I), answers_I.dtype))
        answers_N[self.places_R] = ask(self.table)  # of several rows of a place the last one stays
        return answers_N
