"""Answers of the real graph are logged as they were given; a killed Gateway leaves whole files, a quiet end all."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from motet.errors import ReleaseError
from motet.events.segments import Segments
from motet.itemlog.entry import ITEMS
from motet.recommend import Query, Recommender, read_recipe
from motet.records.reader import record_files, record_tables, sample_rows
from motet.records.replay import Logs
from motet.records.skew import skew
from serve.answer_log import place_of_records
from tests.serve.graphs import TWO, ask, exported, pids, publish, served

pytestmark = pytest.mark.slow

DEADLINE_MS = 20_000


@pytest.fixture(scope="module")
def release(draft, report, tmp_path_factory, ray_here) -> Path:
    records = {"flush_s": 0.3, "rows": 20}
    serving = {"deadline_ms": DEADLINE_MS, "health_check_timeout_s": 20.0, "records": records, "embedder": TWO}
    return publish(draft, report, tmp_path_factory.mktemp("records"), serve=serving)


@pytest.fixture(scope="module")
def endpoint(release):
    with served(release) as address:
        yield address


@pytest.fixture
def folder(release) -> Path:
    return release.parent.parent / "recommendations"


def recommend(address, **body):
    status, _, answer, _ = ask(address, "/v1/recommend", body)
    assert status == 200, answer
    return answer


def wait_for(folder: Path, names: set[str]) -> dict[str, dict]:
    """The rows of requests, once they are on the disk."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        rows = {row["request_id"]: row for row in sample_rows(folder)} if list(folder.glob("[!.]*.parquet")) else {}
        if names <= rows.keys():
            return rows
        time.sleep(0.1)
    raise AssertionError(f"{len(names - rows.keys())} of {len(names)} records are missing")


def test_an_answer_is_logged_with_all_that_stood_to_choose_from(endpoint, release, folder):
    event = {"user_id": "u03", "item_id": "i00", "kind": "rating", "value": 5}
    assert ask(endpoint, "/v1/events", event)[0] == 200
    before = round(time.time() * 1000)
    bodies = [
        {"user_id": "u03", "k": 4},
        {"text": "a secret car", "k": 3, "surface": "reds"},
        {"user_id": "u05", "history": ["i01"], "k": 2, "weights": {"like": 2.0}, "deny": ["i02"]},
    ]
    answers = [recommend(endpoint, **body) for body in bodies]
    rows = wait_for(folder, {answer["request_id"] for answer in answers})
    for body, answer in zip(bodies, answers, strict=True):
        row = rows[answer["request_id"]]
        assert (row["release"], row["surface"], row["level"]) == (release.name, answer["surface"], "full")
        assert (row["user"], row["k"], row["recognised"]) == (body.get("user_id"), body["k"], answer["user"])
        assert before <= row["moment"].timestamp() * 1000 <= time.time() * 1000
        shown = sorted((one for one in row["candidates"] if one["position"]), key=lambda one: one["position"])
        assert [one["item"] for one in shown] == [item["id"] for item in answer["items"]]
        assert [one["propensity"] for one in shown] == [1.0] * body["k"]
        for one, item in zip(shown, answer["items"], strict=True):
            assert one["value"] == pytest.approx(item["value"], abs=1e-6)
            assert dict(zip(row["scores"], one["calibrated"], strict=True)) == pytest.approx(item["scores"], abs=1e-6)
            assert [n for n, s in zip(row["sources"], one["listed"], strict=True) if s is not None] == item["sources"]
    first, text, third = (rows[answer["request_id"]] for answer in answers)
    assert first["known_to"] == f"1:{(folder.parent / 'events' / 'events-00000001.log').stat().st_size}"
    assert (text["has_text"], first["has_text"]) == (True, False)
    assert "secret" not in str(rows)
    assert (third["history"], third["known_to"]) == (["i01"], None)
    assert third["query"] == '{"deny": ["i02"], "weights": {"like": 2.0}}'


def test_raw_scores_are_those_of_the_steps_in_one_process(endpoint, release, folder):
    answer = recommend(endpoint, user_id="u07", k=5)
    row = wait_for(folder, {answer["request_id"]})[answer["request_id"]]
    recommender, query = Recommender(release, threads=1), Query(user="u07", k=5)
    user = recommender.embedder.run([query])[0]
    found = recommender.retriever.run(user, query)
    weighed = recommender.reranker.weigh(user, found, query)
    assert [one["item"] for one in row["candidates"]] == [recommender.embedder.items.ids[p] for p in found.places_C]
    for column, name in enumerate(row["scores"]):
        logged = [one["raw"][column] for one in row["candidates"]]
        assert logged == pytest.approx(weighed.raw[name].tolist(), abs=1e-5)
    assert [one["fused"] for one in row["candidates"]] == pytest.approx(found.fused_C.tolist(), abs=1e-5)


def test_the_endpoint_does_as_the_steps_in_one_process_do(endpoint, release, folder):
    """Two Embedders; users with events before, between and after their requests; items that come: nothing differs."""
    names, asked = set(), 0
    for turn in range(5):
        for user in ("u01", "u04", "someone new"):
            answer = recommend(endpoint, user_id=user, k=5)
            names.add(answer["request_id"])
            asked += 1
            event = {"user_id": user, "item_id": answer["items"][turn % 2]["id"], "kind": "rating", "value": 1 + turn}
            assert ask(endpoint, "/v1/events", event)[0] == 200
        item = {"id": f"new{turn}", "text": f"red boat {turn}", "attributes": {"colour": "red"}}
        assert ask(endpoint, "/v1/items", item)[0] == 200
    names.add(recommend(endpoint, user_id="u05", k=7, filters={"colour": ["red", "blue"]})["request_id"])
    rows = [row for name, row in wait_for(folder, names).items() if name in names]
    workspace = folder.parent
    logs = Logs(Segments(workspace / "events"), Segments(workspace / "items", codec=ITEMS))
    found = skew(rows, lambda _: Recommender(release, threads=1), logs)
    assert {name: vars(one) for name, one in found.fields.items() if one.differing} == {}
    assert (found.requests, found.left_out) == (asked + 1, {})
    assert found.with_events > 10
    assert found.with_items > 10


def _ask_until(endpoint, until: float, answered: list[str]) -> None:
    while time.monotonic() < until:
        try:
            status, _, answer, _ = ask(endpoint, "/v1/recommend", {"user_id": "u01", "k": 5})
        except OSError:
            time.sleep(0.1)
            continue
        if status == 200:
            answered.append(answer["request_id"])


def test_a_killed_gateway_leaves_whole_files_and_loses_only_the_latest(endpoint, folder):
    """kill -9 in the middle of a stream: what was answered more than a few flushes before is there."""
    answered: list[str] = []
    until = time.monotonic() + 14
    threads = [threading.Thread(target=_ask_until, args=(endpoint, until, answered)) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(4)
    early = set(answered)
    time.sleep(3)
    (pid,) = pids("Gateway")
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert len(early) > 20
    after = recommend(endpoint, user_id="u01")["request_id"]
    wait_for(folder, {after})
    assert pids("Gateway") != [pid]
    rows = [row for table in record_tables(folder) for row in table.to_pylist()]
    logged = [row["request_id"] for row in rows]
    assert len(logged) == len(set(logged))
    assert early <= set(logged)
    writers = {path.name.rpartition("-")[0] for path in record_files(folder)}
    assert len(writers) >= 2


def test_the_end_of_the_graph_writes_what_waits_and_what_was_dropped_is_counted(endpoint, release, tmp_path):
    from ray import serve

    from serve.app import build

    serve.delete("motet")
    records = {"flush_s": 600, "rows": 100_000, "waiting": 5, "path": str(tmp_path)}
    serve.run(build({"release": str(release), "records": records}), name="motet", route_prefix="/")
    names = [recommend(endpoint, user_id="u02")["request_id"] for _ in range(7)]
    assert not list(tmp_path.glob("*.parquet"))
    end = time.monotonic() + 30
    while not (lines := exported("motet_records_dropped_total")) and time.monotonic() < end:
        time.sleep(0.5)
    assert [line.rpartition(" ")[2] for line in lines] == ["2.0"]
    serve.delete("motet")
    assert {row["request_id"] for row in sample_rows(tmp_path)} == set(names[:5])


def test_a_share_of_the_requests_is_logged_by_their_ids(endpoint, release, tmp_path):
    from ray import serve

    from motet.data.hashing import uniform
    from serve.answer_log import RECORDED
    from serve.app import build

    args = {"release": str(release), "records": {"share": 0.5, "path": str(tmp_path)}}
    serve.run(build(args), name="motet", route_prefix="/")
    names = {recommend(endpoint, user_id="u02")["request_id"] for _ in range(30)}
    serve.delete("motet")
    logged = {row["request_id"] for row in sample_rows(tmp_path)}
    assert logged == {name for name in names if uniform(name, RECORDED) < 0.5}
    assert 0 < len(logged) < 30


def test_where_records_go(release, tmp_path):
    recipe = read_recipe(release)
    assert place_of_records({}, recipe, release).path == str(release.parent.parent / "recommendations")
    given = place_of_records({"records": {"path": str(tmp_path), "rows": 3}}, recipe, Path("/opt/release"))
    assert (given.path, given.rows, given.flush_s) == (str(tmp_path), 3, 0.3)
    assert place_of_records({"records": {"store": "none"}}, recipe, Path("/opt/release")).store == "none"
    with pytest.raises(ReleaseError, match=r"/opt/release is in no workspace, .* set serve\.records\.path"):
        place_of_records({}, recipe, Path("/opt/release"))
    with pytest.raises(ReleaseError, match=r"build's argument records\.store: Input should be 'parquet' or 'none'"):
        place_of_records({"records": {"store": "csv"}}, recipe, release)
