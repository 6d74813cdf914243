"""Users with nearly the same items as an earlier one, as whoever makes up profiles in numbers has them (Ray Data).

checked rows -> shards of whole users -> signatures -> a row per band -> shards of bands -> the later ones

See `motet.data.likeness`.
"""

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import ray

from jobs.tables import NumberKey, ShardKey, by_shard
from motet.data.cleaning import split_bad
from motet.data.ledger import take_counts
from motet.data.likeness import by_band, later_ones, signatures
from motet.data.parquet import read_parquet, write_parquet
from motet.data_settings import DuplicateProfiles
from motet.mirror import names_in, remove

FOLDER = "alike"


def write_alike(folder: Path, checked: ray.data.Dataset, settings: DuplicateProfiles, shards: int) -> int:
    """Write `alike/`, the names of the users who are like an earlier one; return how many there are.

    Args:
        folder: of the stage, with `items/`; items outside the catalogue don't make profiles differ.
        checked: rows of the event log.
        settings: the recipe's.
        shards: of users.
    """
    few = checked.map_batches(_few_columns, batch_format="pyarrow")
    write = partial(_write_signatures, folder=str(folder), least_items=settings.least_items)
    found = sum(int(row["users"]) for row in by_shard(few, ShardKey("user", shards), write))
    later = 0
    if found > 1:
        files = names_in(folder / "signatures")
        rows = ray.data.from_items([{"file": str(path)} for path in files], override_num_blocks=len(files))
        bands = rows.map_batches(_bands_of, batch_size=1, batch_format="pyarrow")
        finish = partial(_write_later, folder=str(folder), similarity=settings.similarity)
        by_shard(bands, NumberKey("band", shards), finish)
        later = len(read_alike(folder))
    remove(folder / "signatures")
    return later


def read_alike(folder: Path) -> pa.Array:
    """Return the names that `write_alike` wrote; none if it did not run."""
    files = names_in(folder / FOLDER)
    names = [read_parquet(path).column("user").combine_chunks() for path in files]
    return pc.unique(pa.concat_arrays([*names, pa.array([], pa.string())]))


def _few_columns(table: pa.Table) -> pa.Table:
    return table.select(["user", "item", "timestamp", "_row", "_problem"])


def _write_signatures(shard: int, table: pa.Table, folder: str, least_items: int) -> pa.Table:
    rows, _ = take_counts(table)
    good, _ = split_bad(rows)
    known = read_parquet(Path(folder) / "items", ["item"]).column("item").combine_chunks()
    good = good.filter(pc.is_in(good.column("item"), value_set=known))
    found = signatures(good, least_items)
    write_parquet(Path(folder) / "signatures" / f"shard-{shard:05d}.parquet", found)
    return pa.table({"users": [found.num_rows]})


def _bands_of(batch: pa.Table) -> pa.Table:
    return pa.concat_tables([by_band(read_parquet(Path(path))) for path in batch.column("file").to_pylist()])


def _write_later(shard: int, table: pa.Table, folder: str, similarity: float) -> pa.Table:
    names = later_ones(table, similarity)
    write_parquet(
        Path(folder) / FOLDER / f"shard-{shard:05d}.parquet", pa.table({"user": pa.array(names, pa.string())})
    )
    return pa.table({"users": [len(names)]})
