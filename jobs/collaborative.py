"""Collaborative filtering over the histories (Ray Data): who met what, which items go together, what is popular."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray

from jobs.histories import flat
from jobs.tables import NumberKey, by_shard, over_files
from motet.data.parquet import merge_parquet, read_parquet, write_parquet
from motet.recipe import Recipe
from motet.retrieval.pairs import neighbours, pair_counts
from motet.retrieval.sources import popularity_scores
from motet.storage import fingerprint

_ITEMS_PER_SHARD = 100_000


def write_sources(folder: Path, recipe: Recipe, prepared: Path, before: int) -> None:
    """Write met.parquet, neighbours.parquet and popularity.parquet from the events of the parts before one."""
    files = sorted((prepared / "histories").glob("*.parquet"))
    items = read_parquet(folder / "items.parquet", ["item"]).num_rows
    users_I, latest = np.zeros(items, np.int64), 0
    for row in over_files(files, partial(_met, items=items, before=before, folder=str(folder / "met"))):
        users_I += np.frombuffer(row["users"], np.int64)
        latest = max(latest, int(row["latest"]))
    merge_parquet(folder / "met", folder / "met.parquet")
    half_life = recipe.retrieval.popularity_half_life_days
    score_I = np.zeros(items)
    for row in over_files(files, partial(_popularity, items=items, before=before, half_life=half_life, latest=latest)):
        score_I += np.frombuffer(row["score"], np.float64)
    write_parquet(folder / "popularity.parquet", pa.table({"score": score_I}))
    _write_neighbours(folder, recipe, files, users_I, before)


def _before(table: pa.Table, before: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (items, timestamps) of the events in the parts before one."""
    chosen_N = flat(table, "parts") < before
    return flat(table, "items")[chosen_N].astype(np.int64), flat(table, "timestamps")[chosen_N]


def _histories_before(table: pa.Table, before: int) -> list[np.ndarray]:
    rows = zip(table.column("items").to_pylist(), table.column("parts").to_pylist(), strict=True)
    return [np.array(items, np.int64)[np.array(parts) < before] for items, parts in rows]


def _met(table: pa.Table, items: int, before: int, folder: str) -> pa.Table:
    """Write the sets of items that a shard's users met; return users per item and the latest moment."""
    histories = _histories_before(table, before)
    unique = [np.unique(one) for one in histories]
    users_I = np.bincount(np.concatenate([*unique, np.zeros(0, np.int64)]).astype(np.int64), minlength=items)
    _, moments_N = _before(table, before)
    met = pa.table({"items": pa.array([one for one in unique if len(one)], pa.list_(pa.int32()))})
    name = fingerprint([table.column("user")[0].as_py() if table.num_rows else ""])
    write_parquet(Path(folder) / f"shard-{name}.parquet", met)
    return pa.table({"users": [users_I.astype(np.int64).tobytes()], "latest": [int(moments_N.max(initial=0))]})


def _popularity(table: pa.Table, items: int, before: int, half_life: float, latest: int) -> pa.Table:
    items_N, moments_N = _before(table, before)
    return pa.table({"score": [popularity_scores(items_N, moments_N, items, half_life, latest).tobytes()]})


def _write_neighbours(folder: Path, recipe: Recipe, files: list[Path], users_I: np.ndarray, before: int) -> None:
    """Count pairs per history shard, bring each item's pairs together, keep its best neighbours (Ray Data)."""
    settings, items = recipe.retrieval, len(users_I)
    rows = ray.data.from_items([{"file": str(path)} for path in files], override_num_blocks=len(files))
    count = partial(
        _pairs, items=items, window=settings.transition_window, decay=settings.transition_decay, before=before
    )
    pairs = rows.map_batches(count, batch_size=1, batch_format="pyarrow")
    finish = partial(_finish_neighbours, users_I=users_I, keep=settings.neighbours, shrinkage=settings.shrinkage,
                     folder=str(folder / "neighbours"))  # fmt: skip
    by_shard(pairs, NumberKey("item", -(-items // _ITEMS_PER_SHARD)), finish)
    table = read_parquet(folder / "neighbours")
    for path in (folder / "neighbours").glob("*.parquet"):
        path.unlink()
    (folder / "neighbours").rmdir()
    write_parquet(
        folder / "neighbours.parquet",
        table.sort_by([("kind", "ascending"), ("item", "ascending"), ("weight", "descending")]),
    )


def _pairs(batch: pa.Table, items: int, window: int, decay: float, before: int) -> pa.Table:
    tables = []
    for path in batch.column("file").to_pylist():
        histories = _histories_before(read_parquet(Path(path)), before)
        tables.append(pair_counts(histories, items, window, decay))
    return pa.concat_tables(tables)


def _finish_neighbours(
    shard: int, pairs: pa.Table, users_I: np.ndarray, keep: int, shrinkage: float, folder: str
) -> pa.Table:
    kept = neighbours(pairs, users_I, keep, shrinkage)
    write_parquet(Path(folder) / f"shard-{shard:05d}.parquet", kept)
    return pa.table({"rows": [kept.num_rows]})
