"""Ray Data over Motet's tables: read splits, check rows, bring rows of one key into one shard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from motet.data.hashing import shard_of
from motet.data.reading import COUNT, Split, list_splits, read_split
from motet.data_settings import Table
from motet.mirror import at_hand

Shard = Callable[[int, pa.Table], pa.Table]


class Assign(Protocol):
    """Puts `_shard` (int32, 0..shards-1) on rows."""

    @property
    def shards(self) -> int:
        """How many shards."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Append `_shard`."""


def read_checked(
    table: Table, columns: tuple[str, ...], batch_rows: int, check: Callable[[pa.Table], pa.Table]
) -> ray.data.Dataset:
    """Return a dataset of checked rows, with the `#count` rows."""
    splits = list_splits(table)
    rows = [{"split": number} for number in range(len(splits))]
    dataset = ray.data.from_items(rows, override_num_blocks=len(splits))
    read = partial(_read, splits=splits, columns=columns, batch_rows=batch_rows, check=check)
    return dataset.map_batches(read, batch_size=1, batch_format="pyarrow")


def _read(
    batch: pa.Table,
    splits: list[Split],
    columns: tuple[str, ...],
    batch_rows: int,
    check: Callable[[pa.Table], pa.Table],
) -> Iterator[pa.Table]:
    for number in batch.column("split").to_pylist():
        for table in read_split(splits[number], columns, batch_rows):
            yield check(table)


@dataclass(frozen=True)
class ShardKey:
    """Puts `_shard` on rows by the hash of a key; every shard gets at least a `#count` row."""

    key: str
    shards: int

    def __call__(self, table: pa.Table) -> pa.Table:
        """Append `_shard` (int32)."""
        shard_N = shard_of(table.column(self.key).combine_chunks(), self.shards)
        problem = pc.fill_null(table.column("_problem"), "")
        counts = table.filter(pc.equal(problem, COUNT))
        table = table.append_column("_shard", pa.array(shard_N))
        if counts.num_rows == 0 or self.shards == 1:
            return table
        zero = counts.slice(0, 1)
        zero = zero.set_column(zero.column_names.index("_row"), "_row", pa.array([0], pa.int64()))
        extra = pa.concat_tables([zero] * self.shards)
        return pa.concat_tables(
            [table, extra.append_column("_shard", pa.array(np.arange(self.shards, dtype=np.int32)))]
        )


def by_shard(dataset: ray.data.Dataset, assign: Assign, finish: Shard) -> list[dict[str, Any]]:
    """Bring all rows of a shard together, call `finish(shard, rows)` once a shard, return its small rows.

    The rows move between Ray's workers only; the driver sees what `finish` returns.
    """
    if assign.shards == 1:
        done = dataset.repartition(1).map_batches(
            partial(_finish_one, finish=finish), batch_size=None, batch_format="pyarrow"
        )
    else:
        groups = dataset.map_batches(assign, batch_format="pyarrow").groupby(
            "_shard", num_partitions=min(assign.shards, 64)
        )
        done = groups.map_groups(partial(_finish_group, finish=finish), batch_format="pyarrow")
    return list(done.iter_rows())


def _finish_one(table: pa.Table, finish: Shard) -> pa.Table:
    return finish(0, table)


def _finish_group(table: pa.Table, finish: Shard) -> pa.Table:
    return finish(int(table.column("_shard")[0].as_py()), table.drop_columns(["_shard"]))


@dataclass(frozen=True)
class NumberKey:
    """Puts `_shard` on rows by a whole number modulo the shards."""

    key: str
    shards: int

    def __call__(self, table: pa.Table) -> pa.Table:
        """Append `_shard`."""
        return table.append_column(
            "_shard", pa.array((table.column(self.key).to_numpy() % self.shards).astype(np.int32))
        )


def over_files(files: list[Path], work: Callable[[pa.Table], pa.Table]) -> list[dict[str, Any]]:
    """Call `work` on each parquet file in parallel and return its rows, each with its `file`, ordered by it.

    `file_name` tells `work` the name of the table's file.
    """
    dataset = ray.data.from_items([{"file": str(path)} for path in files], override_num_blocks=len(files))
    done = dataset.map_batches(partial(_work_on_file, work=work), batch_size=1, batch_format="pyarrow")
    return sorted(done.iter_rows(), key=lambda row: str(row["file"]))


def file_name(table: pa.Table) -> str:
    """Return the name of the file that `over_files` read a table from."""
    return Path(table.schema.metadata[b"file"].decode()).name


def _work_on_file(batch: pa.Table, work: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    for path in batch.column("file").to_pylist():
        table = pq.read_table(at_hand(Path(path)), page_checksum_verification=True)
        done = work(table.replace_schema_metadata({"file": path}))
        yield done.append_column("file", pa.array([path] * done.num_rows, pa.string()))
