"""Skew: none between the steps and themselves, whatever the users did meanwhile; what was planted is named."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from motet.cli import main
from motet.errors import DataError
from motet.events.segments import Segments
from motet.recommend import Query, Recommender
from motet.records.replay import Logs
from motet.records.skew import Field, skew
from motet.release.publish import Releases
from motet.storage import read_json, write_json
from tests.motet.events.makers import event
from tests.motet.itemlog.makers import added, columns, item_log, many, removed
from tests.motet.records.makers import record, rows_of, write_records


@pytest.fixture
def log(tmp_path):
    store = Segments(tmp_path / "events")
    yield store
    store.close()


@pytest.fixture
def online(draft):
    """The steps of the endpoint."""
    return Recommender(draft, threads=1)


def stream(online, log) -> list:
    """Records of requests between which events come in."""
    online.embedder.follow(log)
    records, number = [], 0
    for turn in range(6):
        for user in ("u01", "u02", "newcomer"):
            records.append(record(online, Query(user=user, k=5, surface="home"), f"{user}-{turn}"))
            log.append(
                [event(number, user=user, item=f"i{(3 * number) % 20:02d}", kind="rating", value=1.0 + turn % 5)]
            )
            number += 1
    records.append(record(online, Query(user="u01", history=("i03",), k=3, filters={"colour": ("red", "blue")}), "h"))
    records.append(record(online, Query(k=3, deny=("i01",)), "nobody"))
    return records


def test_no_difference_though_users_went_on(online, log, recommender):
    records = stream(online, log)
    log.append([event(999, user="u01", item="i19")])
    found = skew(rows_of(online, records), lambda _: recommender, Logs(log))
    assert (found.requests, found.with_events, found.differs, found.left_out) == (20, 17, False, {})
    assert {"recognised", "candidates", "fused", "value", "position", "raw score like", "score rating"} <= set(
        found.fields
    )
    assert "source vectors" in found.fields
    assert found.fields["candidates"].compared > 100
    recommender.embedder._live = None


def stream_with_items(online, log, items, tiny) -> list:
    """Records of requests between which events and items come in, some of users who met them, and some go."""
    online.follow_items(items)
    online.embedder.follow(log)
    entries, records = [*many(tiny, 8), removed("i04"), added(tiny, "i05", columns(3, title="pink boat"))], []
    for number, entry in enumerate(entries):
        records.append(record(online, Query(user="u01", k=20, surface="home"), f"u01-{number}"))
        records.append(record(online, Query(k=30), f"nobody-{number}"))
        items.append([entry])
        log.append([event(number, user="u01", item=entry.item, kind="rating", value=4.0)])
    records.append(record(online, Query(user="u01", k=20, surface="home"), "u01-last"))
    return records


def test_no_difference_though_items_came_and_went(online, draft, log, tiny, tmp_path):
    items = item_log(tmp_path)
    records = stream_with_items(online, log, items, tiny)
    items.append([removed("new0000"), added(tiny, "late", columns(9))])
    found = skew(rows_of(online, records), lambda _: Recommender(draft, threads=1), Logs(log, items))
    assert (found.requests, found.with_items, found.differs, found.left_out) == (21, 19, False, {})
    without = skew(rows_of(online, records), lambda _: Recommender(draft, threads=1), Logs(log))
    assert (without.requests, without.left_out) == (2, {"the item log no longer reaches back to it": 19})


def test_a_catalogue_of_another_moment_differs(online, draft, log, tiny, tmp_path):
    items = item_log(tmp_path)
    rows = rows_of(online, stream_with_items(online, log, items, tiny))
    wrong = [{**row, "items_to": rows[-1]["items_to"]} for row in rows]
    found = skew(wrong, lambda _: Recommender(draft, threads=1), Logs(log, items))
    assert found.fields["candidates"].differing > 0


def test_replicas_that_read_the_logs_in_another_order(online, draft, log, tiny, tmp_path):
    """The first request knows more events and fewer items than the second."""
    items, other = item_log(tmp_path), Recommender(draft, threads=1)
    for one in (online, other):
        one.follow_items(items)
        one.embedder.follow(log)
    behind = record(other, Query(user="u02", k=20), "behind")
    log.append([event(1, user="u02", item="i07", kind="rating", value=5.0)])
    ahead = record(online, Query(user="u02", k=20), "ahead")
    items.append(many(tiny, 2))
    late = record(online, Query(user="u02", k=20), "late")
    rows = rows_of(online, [ahead, replace(behind, request_id="b"), late])
    rows[1]["items_to"] = rows[2]["items_to"]
    found = skew(rows, lambda _: Recommender(draft, threads=1), Logs(log, items))
    differing = {one.first for one in found.fields.values() if one.differing}
    assert found.requests == 3
    assert differing == {"b"}  # which had not known the items that its record was made to name
    assert not found.fields["source transitions"].differing


def test_a_state_of_another_moment_differs(online, log, recommender):
    """If all requests were asked with all events, the check would not be blind to it."""
    rows = rows_of(online, stream(online, log))
    last = rows[17]["known_to"]
    moved = [{**row, "known_to": last if row["known_to"] is not None else None} for row in rows]
    found = skew(moved, lambda _: recommender, Logs(log))
    assert found.differs
    recommender.embedder._live = None


def changed(draft, tmp_path, name: str, change) -> Recommender:
    """The steps over a release of which one file is another."""
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in draft.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / name).unlink()
    change(draft / name, folder / name)
    return Recommender(folder, threads=1)


def test_a_changed_calibrator_is_named(draft, tmp_path, recommender):
    def change(source, target):
        found = read_json(source)
        stored = found["rating"]["parameters"] if "parameters" in found["rating"] else found["rating"]
        key = next(key for key, value in stored.items() if isinstance(value, list))
        stored[key] = [stored[key][0] * 0.9, *stored[key][1:]]
        write_json(target, found)

    other = changed(draft, tmp_path, "calibrators.json", change)
    queries = [Query(user=f"u{n:02d}", k=5, surface="ratings") for n in range(5)]
    rows = rows_of(other, [record(other, query, f"r{n}") for n, query in enumerate(queries)])
    found = skew(rows, lambda _: recommender, Logs())
    differing = {name for name, one in found.fields.items() if one.differing}
    assert {"score rating", "value"} <= differing <= {"score rating", "value", "position", "propensity"}
    assert found.fields["score rating"].first == "r0"
    assert found.fields["score rating"].largest > 0.01


def test_a_changed_whitening_of_what_users_are_is_named(draft, tmp_path, recommender):
    """Text vectors of the request are whitened by the Embedder; of stored users they are in the table: change that."""
    import pyarrow as pa

    from motet.data.parquet import read_parquet, write_parquet

    def change(source, target):
        table = read_parquet(source)
        text = [[1.5 * number for number in row] for row in table.column("text").to_pylist()]
        place = table.column_names.index("text")
        write_parquet(target, table.set_column(place, "text", pa.array(text, pa.list_(pa.float32()))))

    other = changed(draft, tmp_path, "users.parquet", change)
    rows = rows_of(other, [record(other, Query(user="u04", k=5), "r0")])
    differing = {name for name, one in skew(rows, lambda _: recommender, Logs()).fields.items() if one.differing}
    assert {"source vectors", "raw score like", "score like"} <= differing
    assert "source item_knn" not in differing


def test_fields_by_hand():
    field = Field()
    field.add(np.array([1.0, np.nan, np.nan, 2.0, 1e6]), np.array([1.00005, np.nan, 3.0, 2.5, 1e6 + 10]), "a")
    assert (field.compared, field.differing, field.first) == (5, 2, "a")
    assert field.largest == np.inf
    field.add(np.array([1.0]), np.array([1.2]), "b")
    assert (field.compared, field.differing, field.first) == (6, 3, "a")


def test_what_cannot_be_asked_again_is_counted(online, log, recommender):
    records = stream(online, log)[:3]
    texts = replace(records[0], query=replace(records[0].query, text="red"), request_id="t")
    low = replace(records[0], level="popular", request_id="p")
    lost = replace(records[0], known_to="9:99", request_id="l")
    gone = replace(records[0], release="gone", request_id="g")
    rows = [
        *rows_of(online, [*records, texts, low, lost]),
        {**rows_of(online, [records[0]])[0], "release": gone.release},
    ]
    found = skew(rows, {"r1": recommender}.get, Logs(log))
    assert found.requests == 3
    assert found.left_out == {
        "asked with a text, which is not kept": 1, "answered at level popular": 1,
        "the event log no longer reaches back to it": 1, "its release is gone": 1,
    }  # fmt: skip
    recommender.embedder._live = None
    with pytest.raises(DataError, match="no logged request can be asked again"):
        skew(rows[3:5], lambda _: recommender, Logs(log))


def test_the_command_ends_with_0_or_1(workspace, online, draft, tmp_path):
    name, log = Releases(workspace).current_id(), Segments(workspace / "events")
    rows = [replace(one, release=name) for one in stream(online, log)]
    log.close()
    write_records(workspace / "recommendations", online, rows)
    shown = CliRunner().invoke(main, ["skew", str(workspace)])
    assert shown.exit_code == 0, shown.output
    assert "20 requests asked again, 17 with events of the log, 0 with items of the log" in shown.stdout
    assert "nothing differs" in shown.stdout
    wrong = [replace(rows[0], request_id="x", values_C=rows[0].values_C + 1)]
    write_records(workspace / "recommendations", online, wrong, "b")
    shown = CliRunner().invoke(main, ["skew", str(workspace)])
    assert shown.exit_code == 1
    assert "differing: value" in shown.stdout.splitlines()
