"""prepare on dirty input: each row in its place, the ledger in balance, the same result however it is divided."""

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.prepare import prepare
from jobs.stages import Run, claim_workspace
from motet.data.ledger import Ledger
from motet.data.parquet import read_parquet
from motet.errors import DataError
from motet.recipe_file import load_recipe
from tests.synthetic import events, items, users, write_csv, write_jsonl, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")


def run_prepare(file, *overrides):
    run = Run(load_recipe(file, list(overrides)))
    claim_workspace(run)
    return prepare(run)


def sorted_table(folder, name, key="user"):
    table = read_parquet(folder / name)
    return table.sort_by(
        [(key, "ascending"), *([("timestamp", "ascending")] if "timestamp" in table.column_names else [])]
    )


DIRTY = [
    ({"user_id": "", "item_id": "i1", "rating": 4, "timestamp": 1_600_000_000}, "user_id is null"),
    ({"user_id": "u1", "item_id": "", "rating": 4, "timestamp": 1_600_000_000}, "item_id is null"),
    ({"user_id": "u1", "item_id": "i999", "rating": 4, "timestamp": 1_600_000_000}, "item is not in the catalogue"),
    ({"user_id": "u1", "item_id": "i1", "rating": 9, "timestamp": 1_600_000_000}, "rating is above 5"),
    ({"user_id": "u1", "item_id": "i1", "rating": 0, "timestamp": 1_600_000_000}, "rating is below 1"),
    ({"user_id": "u1", "item_id": "i1", "rating": "NaN", "timestamp": 1_600_000_000}, "rating is not finite"),
    ({"user_id": "u1", "item_id": "i1", "rating": "inf", "timestamp": 1_600_000_000}, "rating is not finite"),
    ({"user_id": "u1", "item_id": "i1", "rating": "good", "timestamp": 1_600_000_000}, "rating is not a number"),
    (
        {"user_id": "u1", "item_id": "i1", "rating": 4, "timestamp": int(time.time()) + 10**6},
        "timestamp is in the future",
    ),
    ({"user_id": "u1", "item_id": "i1", "rating": 4, "timestamp": "soon"}, "timestamp is not a number"),
    ({"user_id": "u" * 200, "item_id": "i1", "rating": 4, "timestamp": 1_600_000_000}, "user_id is longer than 128"),
]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory, minilm, ray_here):
    folder = tmp_path_factory.mktemp("dirty")
    file = write_shop(folder, minilm)
    first = events()[0]
    later = {**first, "rating": 3, "timestamp": first["timestamp"] + 5}
    write_csv(folder / "events.csv", [*events(), *(row for row, _ in DIRTY), first, later])
    return run_prepare(file), folder


def test_each_bad_row_is_in_quarantine_with_its_reason(dirty):
    result, _ = dirty
    rows = read_parquet(result.folder / "quarantine").to_pylist()
    assert len(rows) == len(DIRTY)
    for (raw, reason), found in zip(DIRTY, sorted(rows, key=lambda row: row["row"]), strict=True):
        assert found["reason"].startswith(reason)
        assert found["file"].endswith("events.csv")
        assert str(raw["item_id"]) in found["raw"]


def test_the_ledger_balances_and_the_last_rating_of_a_pair_stays(dirty):
    """800 good rows, 11 bad, one exact duplicate and one later rating of the same pair: 813 = 800 + 11 + 2."""
    result, _ = dirty
    ledger = json.loads((result.folder / "ledger.json").read_text())["interactions"]
    assert {k: ledger[k] for k in ("read", "kept", "quarantined", "merged")} == {
        "read": 813,
        "kept": 800,
        "quarantined": 11,
        "merged": 2,
    }
    first = events()[0]
    table = read_parquet(result.folder / "interactions").to_pylist()
    pair = [row for row in table if (row["user"], row["item"]) == (first["user_id"], first["item_id"])]
    assert [(row["rating"], row["timestamp"]) for row in pair] == [(3.0, (first["timestamp"] + 5) * 1000)]


def test_a_ledger_out_of_balance_fails():
    with pytest.raises(DataError, match=r"read 10 rows but kept 8 \+ quarantined 1 \+ merged 0 = 9"):
        Ledger(read=10, kept=8, quarantined=1).check("interactions")


@pytest.mark.slow
def test_shards_do_not_change_the_result(tmp_path, minilm):
    file = write_shop(tmp_path, minilm)
    one = run_prepare(file)
    many = run_prepare(file, "data.rows_per_shard=400", "data.batch_rows=100")
    assert len(list((many.folder / "histories").glob("*.parquet"))) > 1
    for name in ("interactions", "histories", "users"):
        assert sorted_table(one.folder, name).equals(sorted_table(many.folder, name)), name
    assert (one.folder / "ledger.json").read_text() == (many.folder / "ledger.json").read_text()


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_formats_give_the_same_tables(tmp_path, minilm, kind):
    file = write_shop(tmp_path, minilm)
    expected = run_prepare(file)
    paths = {}
    for name, rows in (("interactions", events()), ("items", items()), ("users", users())):
        path = tmp_path / f"{name}.{kind}"
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
        else:
            write_jsonl(path, rows)
        paths[name] = f"data.{name}.path={path}"
    found = run_prepare(file, *paths.values())
    for name in ("interactions", "histories", "users"):
        assert sorted_table(expected.folder, name).equals(sorted_table(found.folder, name)), name
    one, other = (read_parquet(result.folder / "items") for result in (expected, found))
    assert one.equals(other)


def test_time_split_divides_at_the_lower_quantiles(tmp_path, minilm):
    """800 events; the 640th and 720th in time end train and validation, with their equals."""
    file = write_shop(tmp_path, minilm)
    result = run_prepare(file, "data.split={kind: time, validation: 0.1, test: 0.1}")
    times = sorted(row["timestamp"] * 1000 for row in events())
    low, high = times[int(0.8 * 799)], times[int(0.9 * 799)]
    fitted = json.loads((result.folder / "features.json").read_text())
    assert fitted["boundaries"] == [low, high, 2**62]
    table = read_parquet(result.folder / "interactions")
    parts = table.column("part").to_pylist()
    for moment, part in zip(table.column("timestamp").to_pylist(), parts, strict=True):
        assert part == (0 if moment <= low else 1 if moment <= high else 2)


def test_what_comes_after_the_used_share_of_the_log_is_in_no_history(tmp_path, minilm):
    file = write_shop(tmp_path, minilm)
    result = run_prepare(file, "data.split={kind: time, validation: 0.1, test: 0.1, until: 0.7}")
    times = sorted(row["timestamp"] * 1000 for row in events())
    end = times[int(0.7 * 799)]
    fitted = json.loads((result.folder / "features.json").read_text())
    assert fitted["boundaries"][2] == end
    moments = [
        moment for row in read_parquet(result.folder / "histories").column("timestamps").to_pylist() for moment in row
    ]
    assert max(moments) == end
    assert len(moments) == sum(moment <= end for moment in times)


def test_outliers_are_clipped_at_quantiles_of_train_only(tmp_path, minilm):
    """A rating of 1000 in the test period moves no quantile and stays; one of 900 in train is clipped."""
    file = write_shop(tmp_path, minilm)
    rows = events()
    order = sorted(range(len(rows)), key=lambda n: rows[n]["timestamp"])
    rows[order[-1]]["rating"], rows[order[0]]["rating"] = 1000, 900
    write_csv(tmp_path / "events.csv", rows)
    options = ("data.interactions.ranges={}", "data.clean.outliers=[0.0, 0.99]", "data.split={kind: time}")
    result = run_prepare(file, *options)
    assert json.loads((result.folder / "features.json").read_text())["values"] == {"rating": [1.0, 5.0]}
    table = read_parquet(result.folder / "interactions").to_pylist()
    most = [max(row["rating"] for row in table if row["part"] == part) for part in (0, 1, 2)]
    assert most == [5.0, 5.0, 1000.0]


def test_a_time_split_with_an_empty_part_is_refused(tmp_path, minilm):
    file = write_shop(tmp_path, minilm)
    last = max(row["timestamp"] for row in events())
    late = [{**row, "timestamp": last} for row in events()[:200]]
    write_csv(tmp_path / "events.csv", [*late, *events()[200:]])
    with pytest.raises(DataError, match=r"data\.split: validation is empty.*201 of 800 events read stand at timestamp"):
        run_prepare(file, "data.split={kind: time}")


def test_users_without_events_and_events_without_a_user_row_are_kept(tmp_path, minilm):
    file = write_shop(tmp_path, minilm)
    people = [*users()[1:], {"user_id": "silent", "gender": "F", "age": 33}]
    write_csv(tmp_path / "users.csv", people)
    table = read_parquet(run_prepare(file).folder / "users")
    rows = {row["user"]: row for row in table.to_pylist()}
    assert len(rows) == 41
    assert (rows["silent"]["events"], rows["silent"]["text"]) == (0, "gender: F")
    assert (rows["u0"]["events"], rows["u0"]["text"]) == (20, "")


def test_tables_are_read_from_s3(tmp_path, minilm, bucket):
    client, options = bucket
    file = write_shop(tmp_path, minilm)
    expected = run_prepare(file)
    for name in ("events", "items", "users"):
        client.upload_file(str(tmp_path / f"{name}.csv"), "shop", f"{name}/part-0.csv")
    tables = {"interactions": "events", "items": "items", "users": "users"}
    paths = [f"data.{table}.path='s3://test:test@shop/{name}{options}'" for table, name in tables.items()]
    found = run_prepare(file, *paths)
    for name in ("interactions", "histories", "users"):
        assert sorted_table(expected.folder, name).equals(sorted_table(found.folder, name)), name


def test_a_changed_input_file_is_noticed(tmp_path, minilm):
    file = write_shop(tmp_path, minilm)
    first = run_prepare(file)
    write_csv(Path(tmp_path / "events.csv"), events()[:-1])
    assert run_prepare(file).folder != first.folder


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_of_those_who_are_like_an_earlier_one_go_to_quarantine(tmp_path, minilm, shards):
    """Five made-up people have the whole catalogue, one has 26 of its 30 items; items nobody sells hide nobody."""
    file = write_shop(tmp_path, minilm)
    items_of = {f"copy-{n}": [*(f"i{k}" for k in range(30)), *(f"of {n} alone, {k}" for k in range(9))]
                for n in range(5)} | {"less": [f"i{k}" for k in range(26)]}  # fmt: skip
    made_up = [
        {"user_id": name, "item_id": item, "rating": 5, "timestamp": 1_700_000_000 + 100 * number + step}
        for number, (name, chosen) in enumerate(items_of.items())
        for step, item in enumerate(chosen)
    ]
    write_csv(tmp_path / "events.csv", [*events(), *made_up])
    size = f"data.rows_per_shard={10_000 if shards == 1 else 500}"
    result = run_prepare(file, size, "data.clean.duplicate_profiles={least_items: 25, similarity: 0.95}")
    ledger = json.loads((result.folder / "ledger.json").read_text())["interactions"]
    unknown, alike = "item is not in the catalogue", "its user met nearly the same items as an earlier one"
    assert ledger["reasons"] == {unknown: 5 * 9, alike: 4 * 30}
    assert ledger["read"] == ledger["kept"] + ledger["quarantined"] + ledger["merged"]
    kept = set(read_parquet(result.folder / "histories").column("user").to_pylist())
    assert {"copy-0", "less"} <= kept
    assert not {f"copy-{n}" for n in range(1, 5)} & kept
    assert len(list((result.folder / "histories").glob("*.parquet"))) >= shards
    assert not (result.folder / "alike").exists()
    assert not (result.folder / "signatures").exists()


def test_nobody_is_compared_where_nobody_has_enough_items(tmp_path, minilm):
    result = run_prepare(write_shop(tmp_path, minilm), "data.clean.duplicate_profiles={least_items: 1000}")
    ledger = json.loads((result.folder / "ledger.json").read_text())["interactions"]
    assert (ledger["kept"], ledger["quarantined"]) == (800, 0)
