"""Collaborative filtering over histories (Ray Data): who met what, what goes together, what is popular when.

Histories are read from a folder of shards; `before` says which parts count, so the same code fits the sources as of
validation, as of the test, and as of any past moment (see `motet.data.moments`).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import scipy.sparse as sp
from safetensors.numpy import save_file

from jobs.histories import flat
from jobs.tables import NumberKey, by_shard, file_name, over_files
from motet.data.histories import DAY_MS
from motet.data.parquet import merge_parquet, read_parquet, write_parquet
from motet.mirror import names_in, remove
from motet.recipe import Recipe
from motet.retrieval import factors, linear
from motet.retrieval.library import SOURCE_FILES
from motet.retrieval.pairs import Fading, neighbours, pair_counts
from motet.retrieval.trends import Trends, bin_length, count_bins
from motet.storage import write_file_atomic
from motet.training.windows import LIKING_UNKNOWN, liking_of

_ITEMS_PER_SHARD = 100_000


@dataclass(frozen=True)
class Past:
    """The events that sources are fitted on.

    Attributes:
        folder: shards of histories.
        users: shards of users, of the same names.
        before: events of the parts before this one count.
        span: first and latest moment of the whole log, which fixes the bins of the trends.
    """

    folder: Path
    users: Path
    before: int
    span: tuple[int, int]

    @property
    def files(self) -> list[Path]:
        """The shards."""
        return names_in(self.folder)


@dataclass(frozen=True)
class Events:
    """The events of a shard that count, user by user: places, moments, liking, and what each of the user's weighs."""

    users: list[str]
    items: list[np.ndarray]
    moments: list[np.ndarray]
    liking: list[np.ndarray]
    weights_U: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, before: int, liked: str | None, cap: int | None) -> "Events":
        """Read a shard; `cap` is `retrieval.user_cap`."""
        lengths_U = pc.list_value_length(table.column("items")).to_numpy()
        kept_N = flat(table, "parts") < before
        owner_N = np.repeat(np.arange(table.num_rows), lengths_U)[kept_N]
        counts_U = np.bincount(owner_N, minlength=table.num_rows)
        weights_U = np.ones(len(counts_U)) if cap is None else np.minimum(1.0, cap / np.maximum(counts_U, 1))
        ends = np.cumsum(counts_U)[:-1]
        liking_N = (
            liking_of(flat(table, liked).astype(np.float32))[kept_N] if liked else
            np.full(len(owner_N), LIKING_UNKNOWN, np.int8)
        )  # fmt: skip
        columns = (flat(table, "items")[kept_N].astype(np.int64), flat(table, "timestamps")[kept_N], liking_N)
        items, moments, liking = (np.split(values, ends) if table.num_rows else [] for values in columns)
        return cls(table.column("user").to_pylist(), items, moments, liking, weights_U)

    @property
    def weights_N(self) -> np.ndarray:
        """What each event weighs, one user's after another's."""
        return np.repeat(self.weights_U, [len(one) for one in self.items])


def write_sources(folder: Path, recipe: Recipe, past: Past) -> None:
    """Write what the recipe's sources read: trends always, met, segments, neighbours, ease, als where needed."""
    items = read_parquet(folder / "items.parquet", ["item"]).num_rows
    names = recipe.retrieval.names
    for name in set(SOURCE_FILES.values()) - {SOURCE_FILES[one] for one in names if one in SOURCE_FILES}:
        remove(folder / name)
    if "ease" in names:
        linear.require_small(items, recipe.retrieval.ease_limit)
    if "als" in names:
        factors.require_small(items, recipe.retrieval.als_factors, recipe.retrieval.als_limit)
    work = partial(_crowd, recipe=recipe, past=past, items=items, folder=str(folder))
    rows = over_files(past.files, work)
    users_I = sum((np.frombuffer(row["users"]) for row in rows), np.zeros(items))
    tables = [pa.ipc.open_stream(row["trends"]).read_all() for row in rows]
    latest = max(int(row["latest"]) for row in rows)
    Trends(tables, items, past.span[0], bin_length(*past.span), latest).save(folder)
    if "user_knn" in names:
        merge_parquet(folder / "met", folder / "met.parquet")
    if "popularity_segment" in names:
        merge_parquet(folder / "segments", folder / "segments.parquet")
    if "ease" in names:
        gram_II = sum((np.frombuffer(row["gram"]).reshape(items, items) for row in rows), np.zeros((items, items)))
        weights_II = linear.solve(gram_II, recipe.retrieval.ease_ridge)
        write_file_atomic(folder / "ease.safetensors", lambda target: save_file({"weights": weights_II}, target))
    if "als" in names:
        _write_factors(folder, recipe, past, items)
    if {"item_knn", "transitions"} & set(names):
        _write_neighbours(folder, recipe, past, users_I)


def _crowd(table: pa.Table, recipe: Recipe, past: Past, items: int, folder: str) -> pa.Table:
    """Count a shard: users per item, trends, X'X of ease; write who met what, and what each segment met."""
    settings = recipe.retrieval
    events = Events.of(table, past.before, recipe.liked_label, settings.user_cap)
    met = [np.unique(one) for one in events.items]
    users_I = np.bincount(_join(met), np.repeat(events.weights_U, [len(one) for one in met]), minlength=items)
    moments_N = _join(events.moments)
    liking_N = np.concatenate([*events.liking, np.zeros(0, np.int8)])
    liked_N = np.where(liking_N == LIKING_UNKNOWN, np.nan, liking_N).astype(np.float32)
    bins = (past.span[0], bin_length(*past.span))
    trends = count_bins(_join(events.items), moments_N, liked_N, items, *bins, events.weights_N)
    row: dict[str, Any] = {"users": users_I.tobytes(), "trends": _as_bytes(trends)}
    row |= {"latest": int(moments_N.max(initial=past.span[0])), "gram": b""}
    if {"user_knn", "ease"} & set(settings.names):
        histories, weights, own = _weighted(events, recipe)
        if "ease" in settings.names:
            square = [says_S * np.sqrt(own_weight) for says_S, own_weight in zip(weights, own, strict=True)]
            row["gram"] = linear.gram(histories, square, items).tobytes()
        if "user_knn" in settings.names:
            weights = [says_S * np.float32(own_weight) for says_S, own_weight in zip(weights, own, strict=True)]
            met = pa.table({"items": pa.array(histories, pa.list_(pa.int32())),
                            "weights": pa.array(weights, pa.list_(pa.float32()))})  # fmt: skip
            write_parquet(Path(folder) / "met" / file_name(table), met)
    if "popularity_segment" in settings.names:
        known = read_parquet(past.users / file_name(table), ["user", "slots"])
        write_parquet(Path(folder) / "segments" / file_name(table), _segments(events, known, items))
    return pa.table({key: [value] for key, value in row.items()})


def _as_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _join(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int64)


def _weighted(events: Events, recipe: Recipe) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:
    """Return (each user's items, once each by the latest event; liking x decay from the latest event; own weight)."""
    settings = recipe.retrieval
    histories, weights, own = [], [], []
    columns = (events.items, events.moments, events.liking, events.weights_U)
    for items_S, moments_S, liking_S, weight in zip(*columns, strict=True):
        if not len(items_S):
            continue
        unique, last = np.unique(items_S[::-1], return_index=True)
        last = len(items_S) - 1 - last
        age_days = (moments_S.max() - moments_S[last]) / DAY_MS
        says = linear.liking_weight(liking_S[last], settings.disliked_weight)
        histories.append(unique)
        weights.append((says * 0.5 ** (age_days / settings.memory_half_life_days)).astype(np.float32))
        own.append(float(weight))
    return histories, weights, own


def _segments(events: Events, known: pa.Table, items: int) -> pa.Table:
    """Return slot, item, count over a shard's users, whose categories are in `known` (user, slots)."""
    slots = dict(zip(known.column("user").to_pylist(), known.column("slots").to_pylist(), strict=True))
    pairs = [(slot, row) for row, user in enumerate(events.users) for slot in slots[user]]
    slot_N, row_N = np.array(pairs, np.int64).reshape(-1, 2).T
    lengths_U = np.array([len(one) for one in events.items], np.int64)
    met = sp.csr_matrix((events.weights_N, _join(events.items), np.append(0, np.cumsum(lengths_U))),
                        shape=(len(events.users), items))  # fmt: skip
    width = int(slot_N.max(initial=0)) + 1
    counts = (sp.coo_matrix((np.ones(len(slot_N)), (slot_N, row_N)), shape=(width, len(events.users))) @ met).tocoo()
    return pa.table({"slot": counts.row.astype(np.int32), "item": counts.col.astype(np.int32),
                     "count": counts.data.astype(np.float32)})  # fmt: skip


def _write_factors(folder: Path, recipe: Recipe, past: Past, items: int) -> None:
    """Alternate: users are solved shard by shard, items from the sum of the shards' normal equations."""
    settings = recipe.retrieval
    items_IK = factors.start(items, settings.als_factors, recipe.seed)
    for _ in range(settings.als_rounds):
        sums = factors.ItemSums.zeros(items, settings.als_factors)
        for row in over_files(past.files, partial(_item_sums, items_IK=items_IK, recipe=recipe, before=past.before)):
            sums.add(factors.ItemSums.from_bytes(row, items, settings.als_factors))
        items_IK = factors.solve_items(sums, settings.als_ridge)
    write_file_atomic(folder / "als.safetensors", lambda target: save_file({"items": items_IK}, target))


def _item_sums(table: pa.Table, items_IK: np.ndarray, recipe: Recipe, before: int) -> pa.Table:
    settings = recipe.retrieval
    events = Events.of(table, before, None, settings.user_cap)
    met = [(np.unique(one), weight) for one, weight in zip(events.items, events.weights_U, strict=True) if len(one)]
    sums = factors.item_sums([one for one, _ in met], items_IK, settings.als_ridge, [weight for _, weight in met])
    return pa.table({name: [value] for name, value in sums.to_bytes().items()})


def _write_neighbours(folder: Path, recipe: Recipe, past: Past, users_I: np.ndarray) -> None:
    """Count pairs per history shard, bring each item's pairs together, keep its best neighbours (Ray Data)."""
    items, settings = len(users_I), recipe.retrieval
    rows = ray.data.from_items([{"file": str(path)} for path in past.files], override_num_blocks=len(past.files))
    count = partial(_pairs, items=items, recipe=recipe, before=past.before)
    pairs = rows.map_batches(count, batch_size=1, batch_format="pyarrow")
    finish = partial(_finish_neighbours, users_I=users_I, recipe=recipe, folder=str(folder / "neighbours"))
    shards = by_shard(pairs, NumberKey("item", -(-items // _ITEMS_PER_SHARD)), finish)
    if not shards:  # nobody met two items
        finish(0, pair_counts([], [], items, Fading.of(settings)))
    table = read_parquet(folder / "neighbours")
    remove(folder / "neighbours")
    write_parquet(
        folder / "neighbours.parquet",
        table.sort_by([("kind", "ascending"), ("item", "ascending"), ("weight", "descending")]),
    )


def _pairs(batch: pa.Table, items: int, recipe: Recipe, before: int) -> pa.Table:
    settings, tables = recipe.retrieval, []
    for path in batch.column("file").to_pylist():
        events = Events.of(read_parquet(Path(path)), before, None, settings.user_cap)
        weighs = settings.similarity == "bm25"
        fading = Fading.of(settings)
        tables.append(pair_counts(events.items, events.moments, items, fading, weighs, events.weights_U))
    return pa.concat_tables(tables)


def _finish_neighbours(shard: int, pairs: pa.Table, users_I: np.ndarray, recipe: Recipe, folder: str) -> pa.Table:
    settings = recipe.retrieval
    kept = neighbours(pairs, users_I, settings.neighbours, settings.shrinkage, settings.similarity)
    write_parquet(Path(folder) / f"shard-{shard:05d}.parquet", kept)
    return pa.table({"rows": [kept.num_rows]})
