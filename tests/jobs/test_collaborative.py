"""write_sources: however the people lie in shards, the sources are the same; segments are counted right."""

import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from safetensors.numpy import load_file

from jobs.collaborative import Past, write_sources
from motet.data.parquet import read_parquet, write_parquet
from motet.data.split import TEST

pytestmark = pytest.mark.usefixtures("ray_here")
NAMES = ("item_knn", "transitions", "user_knn", "ease", "als", "popularity", "popularity_segment")


def _shards(prepared, folder, count):
    """Write histories and people of a prepare stage in so many shards; return the two folders."""
    for name in ("histories", "users"):
        table = read_parquet(prepared / name).sort_by("user")
        rows_N = np.arange(table.num_rows)
        for shard in range(count):
            part = table.take(rows_N[rows_N % count == shard])
            write_parquet(folder / name / f"shard-{shard:05d}.parquet", part)
    return folder / "histories", folder / "users"


def _sources(shop, folder, count, **more):
    """Return the tables that `write_sources` makes of so many shards."""
    run, results, _ = shop
    settings = {"sources": NAMES, "als_factors": 4, "similarity": "bm25", **more}
    retrieval = run.recipe.retrieval.model_copy(update=settings)
    recipe = run.recipe.model_copy(update={"retrieval": retrieval})
    histories, users = _shards(results["prepare"].folder, folder / "given", count)
    folder.mkdir(exist_ok=True)
    shutil.copy(results["index"].folder / "items.parquet", folder)
    flat = read_parquet(histories, ["timestamps"]).column("timestamps").combine_chunks().flatten().to_numpy()
    write_sources(folder, recipe, Past(histories, users, TEST, (int(flat.min()), int(flat.max()))))
    return folder


def _rows(path, *keys):
    return read_parquet(path).sort_by([(key, "ascending") for key in keys]).to_pydict()


def test_shards_of_people_add_up(shop, tmp_path):
    one, three = (_sources(shop, tmp_path / str(count), count) for count in (1, 3))
    neighbours = [_rows(folder / "neighbours.parquet", "kind", "item", "other") for folder in (one, three)]
    weights = [np.array(table.pop("weight")) for table in neighbours]
    assert len(weights[0]) > 300
    assert neighbours[0] == neighbours[1]
    np.testing.assert_allclose(*weights, rtol=1e-5)
    for name in ("ease.safetensors", "als.safetensors"):
        left, right = (load_file(folder / name) for folder in (one, three))
        for key, value in left.items():
            np.testing.assert_allclose(value, right[key], rtol=1e-4, atol=1e-5)
    met = [read_parquet(folder / "met.parquet") for folder in (one, three)]
    assert met[0].num_rows == 40
    assert sorted(map(sorted, met[0].column("items").to_pylist())) == sorted(
        map(sorted, met[1].column("items").to_pylist())
    )
    paths = [folder / "trends.parquet" for folder in (one, three)]
    trends = [_rows(path, *read_parquet(path).column_names[:2]) for path in paths]
    assert trends[0] == trends[1]
    segments = [_counted(folder / "segments.parquet") for folder in (one, three)]
    assert segments[0] == segments[1] == _by_hand(shop)


def test_people_with_one_event_each_give_empty_neighbours(shop, tmp_path):
    run, results, _ = shop
    retrieval = run.recipe.retrieval.model_copy(update={"sources": ("item_knn", "popularity")})
    recipe = run.recipe.model_copy(update={"retrieval": retrieval})
    histories, users = _shards(results["prepare"].folder, tmp_path / "given", 1)
    path = next(histories.glob("*.parquet"))
    table = read_parquet(path)
    lists = [name for name in table.column_names if pa.types.is_list(table.schema.field(name).type)]
    short = {name: pc.list_slice(table.column(name), 0, 1) if name in lists else table.column(name)
             for name in table.column_names}  # fmt: skip
    write_parquet(path, pa.table(short))
    shutil.copy(results["index"].folder / "items.parquet", tmp_path)
    write_sources(tmp_path, recipe, Past(histories, users, TEST, (0, 10**13)))
    table = read_parquet(tmp_path / "neighbours.parquet")
    assert (table.num_rows, table.column_names) == (0, ["kind", "item", "other", "weight"])


def _counted(path):
    """Return {(slot, item): count}."""
    counts: Counter = Counter()
    for row in read_parquet(path).to_pylist():
        counts[row["slot"], row["item"]] += row["count"]
    return {key: count for key, count in counts.items() if count}


def _by_hand(shop):
    """Count what each segment met before the test, event by event."""
    _, results, _ = shop
    prepared = results["prepare"].folder
    slots = {row["user"]: row["slots"] for row in read_parquet(prepared / "users").to_pylist()}
    counts: Counter = Counter()
    for row in read_parquet(prepared / "histories").to_pylist():
        for item, part in zip(row["items"], row["parts"], strict=True):
            for slot in slots[row["user"]] if part < TEST else ():
                counts[slot, item] += 1
    return dict(counts)


def test_who_met_much_counts_as_much_as_the_cap(shop, tmp_path):
    """Of each person at most five events' worth is counted, in every source."""
    free, capped = (_sources(shop, tmp_path / str(cap), 2, user_cap=cap) for cap in (None, 5))
    _, results, _ = shop
    histories = read_parquet(results["prepare"].folder / "histories").to_pylist()
    counts = [sum(part < TEST for part in row["parts"]) for row in histories]
    assert max(counts) > 5
    totals = [pc.sum(read_parquet(folder / "trends.parquet").column("events")).as_py() for folder in (free, capped)]
    assert totals == pytest.approx([sum(counts), sum(min(count, 5) for count in counts)], rel=1e-5)
    votes = [read_parquet(folder / "met.parquet").column("weights").to_pylist() for folder in (free, capped)]
    shares = sorted(sum(low) / sum(high) for high, low in zip(*votes, strict=True))
    np.testing.assert_allclose(shares, sorted(min(1.0, 5 / count) for count in counts if count), rtol=1e-5)
    slots = {row["user"]: row["slots"] for row in read_parquet(results["prepare"].folder / "users").to_pylist()}
    expected = sum(min(count, 5) * len(slots[row["user"]]) for row, count in zip(histories, counts, strict=True))
    assert pc.sum(read_parquet(capped / "segments.parquet").column("count")).as_py() == pytest.approx(
        expected, rel=1e-5
    )
    for name in ("ease.safetensors", "als.safetensors"):
        for key, value in load_file(free / name).items():
            assert not np.allclose(value, load_file(capped / name)[key])
    pairs = [read_parquet(folder / "neighbours.parquet") for folder in (free, capped)]
    assert not pairs[0].equals(pairs[1])
