"""Rows kept in a worker's memory after the first epoch, if they fit; else every epoch streams them anew."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa


class RowCache:
    """Gives an epoch's batches of tables.

    Args:
        stream: starts a pass over this worker's rows, in batches.
        limit: most rows kept; more than that are streamed in every epoch.
    """

    def __init__(self, stream: Callable[[int], Iterable[pa.Table]], limit: int) -> None:
        self.stream, self.limit = stream, limit
        self.kept: pa.Table | None = None

    def batches(self, epoch: int, batch_size: int, seed: int | None) -> Iterator[pa.Table]:
        """Yield batches; kept rows are shuffled by `seed` and the epoch, or stay in order if it is None."""
        if self.kept is None:
            yield from self._first_pass(epoch)
            return
        order = np.arange(self.kept.num_rows)
        if seed is not None:
            order = np.random.default_rng((seed, epoch)).permutation(order)
        for start in range(0, len(order), batch_size):
            yield self.kept.take(pa.array(order[start : start + batch_size]))

    def _first_pass(self, epoch: int) -> Iterator[pa.Table]:
        tables: list[pa.Table] | None = []
        rows = 0
        for table in self.stream(epoch):
            rows += table.num_rows
            if rows > self.limit:
                tables = None
            elif tables is not None:
                tables.append(table)
            yield table
        if tables:
            self.kept = pa.concat_tables(tables).combine_chunks()
