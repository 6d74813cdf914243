"""POST /v1/events on the real graph: the next answer knows them, a restart keeps them, a killed writer loses none."""

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from motet.errors import ReleaseError, RequestError
from motet.events.segments import Segments
from motet.events.store import START
from motet.privacy.watch import Watch
from motet.recommend import Query, Recommender, read_recipe
from serve.event_log import Recorder, place_of_log, to_events
from serve.event_schemas import EventRequest
from serve.gate import Busy
from tests.motet.events.makers import HAS_REDIS, RedisServer, ids
from tests.serve.graphs import TWO, ask, pids, publish, served

DEADLINE_MS = 20_000
"""So that no answer on a busy machine is one of fewer steps."""
SECRET = "n0t-t0-be-ech0ed"


@pytest.fixture(scope="module")
def release(draft, report, tmp_path_factory, ray_here) -> Path:
    serving = {"deadline_ms": DEADLINE_MS, "embedder": TWO, "health_check_timeout_s": 20.0}
    return publish(draft, report, tmp_path_factory.mktemp("events"), serve=serving)


@pytest.fixture(scope="module")
def endpoint(release):
    with served(release) as address:
        yield address


@pytest.fixture
def log(release) -> Segments:
    """The log as anyone may read it."""
    return Segments(release.parent.parent / "events")


def post(address, body):
    status, _, answer, _ = ask(address, "/v1/events", body)
    return status, answer


def recommend(address, **body):
    status, _, answer, _ = ask(address, "/v1/recommend", {"k": 20, **body})
    assert (status, answer["level"]) == (200, "full"), answer
    return [item["id"] for item in answer["items"]], answer


def test_the_next_answer_knows_the_event_whichever_replica_gives_it(endpoint, release, log):
    assert len(pids("Embedder")) == 2
    recommender = Recommender(release, threads=1)
    recommender.embedder.follow(log)
    for number in range(6):
        shown, _ = recommend(endpoint, user_id="u03")
        event = {"user_id": "u03", "item_id": shown[0], "kind": "rating", "value": 5, "event_id": f"next-{number}"}
        assert post(endpoint, event) == (
            200,
            {"event_ids": [f"next-{number}"], "recorded": 1, "repeated": 0, "forgotten": 0},
        )
        for _ in range(4):
            now, answer = recommend(endpoint, user_id="u03")
            assert sorted(now) == sorted(shown[1:])
            _, items = recommender.recommend(Query(user="u03", k=20))
            assert now == [item.item for item in items]
            assert [item["value"] for item in answer["items"]] == pytest.approx([i.value for i in items], abs=1e-5)


def test_someone_new_is_known_from_the_first_event_on(endpoint):
    assert recommend(endpoint, user_id="new")[1]["user"] == "popular"
    events = [{"user_id": "new", "item_id": f"i{n:02d}", "timestamp": 1_700_000_000 + n} for n in range(3)]
    status, answer = post(endpoint, events)
    assert (status, answer["recorded"], len(set(answer["event_ids"]))) == (200, 3, 3)
    shown, answer = recommend(endpoint, user_id="new")
    assert answer["user"] == "known"
    assert not {"i00", "i01", "i02"} & set(shown)


def test_a_repeat_is_acknowledged_and_counts_once(endpoint, log):
    event = {"user_id": "again", "item_id": "i05", "event_id": "once"}
    assert post(endpoint, event)[1] == {"event_ids": ["once"], "recorded": 1, "repeated": 0, "forgotten": 0}
    assert post(endpoint, [event, event])[1] == {
        "event_ids": ["once", "once"],
        "recorded": 0,
        "repeated": 2,
        "forgotten": 0,
    }
    assert ids(log).count("once") == 1


def test_an_item_of_the_next_release_is_kept_and_changes_no_answer(endpoint, log):
    before = recommend(endpoint, user_id="u05")[0]
    assert post(endpoint, {"user_id": "u05", "item_id": "not yet", "event_id": "early"})[0] == 200
    assert recommend(endpoint, user_id="u05")[0] == before
    assert "early" in ids(log)


def test_all_fields_are_kept_and_ids_are_cleaned(endpoint, log):
    moment = time.time()
    event = {"user_id": " Zoe\u0308 ", "item_id": "i07", "kind": "rating", "value": 2.5, "request_id": "r1"}
    assert post(endpoint, {**event, "event_id": "full", "timestamp": 1_700_000_000.25})[0] == 200
    assert post(endpoint, {**event, "event_id": "now"})[0] == 200
    found = {one.event_id: one for _, one in log.read()}
    full, now = found["full"], found["now"]
    assert (full.user, full.kind, full.value, full.request_id) == ("Zo\u00eb", "rating", 2.5, "r1")
    assert full.timestamp_ms == 1_700_000_000_250
    assert abs(now.timestamp_ms / 1000 - moment) < 60


ONE = {"user_id": "u1", "item_id": "i1"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": "u1"},
        {**ONE, "user_id": 7},
        {**ONE, "user_id": ""},
        {**ONE, "item_id": f"{SECRET}\x00"},
        {**ONE, "item_id": f"{SECRET}\ud800"},
        {**ONE, "item_id": "x" * 129},
        {**ONE, "kind": "k" * 65},
        {**ONE, "kind": ""},
        {**ONE, "value": SECRET},
        {**ONE, "value": 1e39},
        {**ONE, "value": True},
        {**ONE, "timestamp": -1},
        {**ONE, "timestamp": "2026-01-01"},
        {**ONE, "timestamp": 4e9},
        {**ONE, "event_id": ""},
        {**ONE, SECRET: 1},
        [],
        [ONE, {"user_id": SECRET}],
        [ONE] * 501,
        [[ONE]],
        SECRET,
        7,
        None,
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_bad_request_is_refused_whole_and_without_an_echo(endpoint, log, body):
    before = len(ids(log))
    status, _, answer, _ = ask(endpoint, "/v1/events", raw=json.dumps(body).encode())
    assert status == 422, answer
    assert SECRET not in str(answer)
    assert len(ids(log)) == before


def test_500_long_events_are_taken_and_a_larger_body_is_not(endpoint, log):
    many = [{"user_id": f"m{n}" + "x" * 100, "item_id": "y" * 128, "request_id": "z" * 128} for n in range(500)]
    status, answer = post(endpoint, many)
    assert (status, answer["recorded"]) == (200, 500)
    status, _, answer, _ = ask(endpoint, "/v1/events", raw=b"[" + b" " * 600_000 + b"]")
    assert status == 413
    assert "524288" in answer["detail"][0]["msg"]


def _stream(endpoint, name: str, until: float, posted: list[str], acknowledged: list[str]) -> None:
    """Post groups of three until a moment; a group that is not acknowledged is posted again, later."""
    number, owed = 0, []
    while time.monotonic() < until or owed:
        group = owed.pop(0) if owed else [f"{name}-{number}-{n}" for n in range(3)]
        number += 1
        posted += group
        status, answer = post(endpoint, [{"user_id": name, "item_id": "i01", "event_id": one} for one in group])
        if status == 200:
            assert answer["event_ids"] == group
            acknowledged += group
        else:
            assert status in (429, 503), answer
            owed.append(group)
            time.sleep(0.2)


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_if_the_writer_is_killed(endpoint, log):
    """kill -9 of the EventLog's process twice, in the middle of a stream of posts."""
    until, posted, acknowledged = time.monotonic() + 14, [], []
    threads = [
        threading.Thread(target=_stream, args=(endpoint, f"stream{n}", until, posted, acknowledged)) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    killed = []
    for _ in range(2):
        time.sleep(3)
        (pid,) = pids("EventLog")
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        while not (now := pids("EventLog")) or now == [pid]:
            time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert len(set(killed)) == 2
    found = [name for name in ids(log) if name.startswith("stream")]
    assert len(found) == len(set(found))
    assert set(acknowledged) == set(posted) == set(found)
    assert len(found) > 100
    assert "i01" not in recommend(endpoint, user_id="stream0")[0]


@pytest.mark.slow
def test_a_restart_of_the_graph_keeps_all(endpoint, release, log):
    from ray import serve

    from serve.app import build

    post(endpoint, {**ONE, "event_id": "once"})
    kept = ids(log)
    before = {user: recommend(endpoint, user_id=user)[0] for user in ("u03", "new", "stream0", "u05")}
    serve.delete("motet")
    serve.run(build({"release": str(release)}), name="motet", route_prefix="/")
    assert {user: recommend(endpoint, user_id=user)[0] for user in before} == before
    assert post(endpoint, {**ONE, "event_id": "once"})[1]["repeated"] == 1
    assert post(endpoint, {**ONE, "event_id": "after"})[1]["recorded"] == 1
    assert ids(log, START) == [*kept, "after"]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_REDIS, reason="there is no redis-server; apt-get install redis-server")
def test_a_graph_over_redis(endpoint, release, tmp_path):
    from ray import serve

    from serve.app import build

    server = RedisServer(tmp_path)
    server.start()
    try:
        args = {"release": str(release), "events": {"store": "redis", "url": server.url}}
        serve.run(build(args), name="motet", route_prefix="/")
        first, second = recommend(endpoint, user_id="u06")[0][:2]
        assert post(endpoint, {"user_id": "u06", "item_id": first, "event_id": "r1"})[1]["recorded"] == 1
        assert first not in recommend(endpoint, user_id="u06")[0]
        time.sleep(5)  # by then every replica has looked
        server.kill()
        status, answer = post(endpoint, {"user_id": "u06", "item_id": second, "event_id": "r2"})
        assert status == 503
        assert "send them again with the same event_id" in answer["detail"][0]["msg"]
        assert first not in recommend(endpoint, user_id="u06")[0]  # what is known still counts
        server.start()
        assert post(endpoint, {"user_id": "u06", "item_id": second, "event_id": "r2"})[1]["recorded"] == 1
        time.sleep(1.1)  # a log that could not be read is tried once a second
        assert not {first, second} & set(recommend(endpoint, user_id="u06")[0])
    finally:
        server.kill(signal.SIGTERM)


def test_where_events_go(release, tmp_path):
    recipe = read_recipe(release)
    assert place_of_log({}, recipe, release).path == str(release.parent.parent / "events")
    given = place_of_log({"events": {"path": str(tmp_path), "segment_mb": 3}}, recipe, Path("/opt/release"))
    assert (given.path, given.segment_mb) == (str(tmp_path), 3)
    assert place_of_log({"events": {"store": "none"}}, recipe, Path("/opt/release")).store == "none"
    with pytest.raises(ReleaseError, match=r"/opt/release is in no workspace, .* set serve\.events\.path"):
        place_of_log({}, recipe, Path("/opt/release"))
    with pytest.raises(ReleaseError, match=r"build's argument events\.store: Input should be 'segments'"):
        place_of_log({"events": {"store": "pulsar"}}, recipe, release)
    with pytest.raises(ReleaseError, match=r"build's argument events: .*store = redis has no url"):
        place_of_log({"events": {"store": "redis"}}, recipe, release)


def test_a_graph_without_events_says_so(release):
    recorder = Recorder(None, read_recipe(release), Watch(None))
    answer = asyncio.run(recorder.record([EventRequest(user_id="u", item_id="i")]))
    assert answer.status_code == 404
    assert b"serve.events.store is none" in answer.body


def test_waiting_events_leave_room_for_recommendations(release):
    """A writer that does not answer: half of what the Gateway takes may wait for it, no more."""

    class Silent:
        def options(self, **_):
            return self

        @property
        def append(self):
            return self

        def remote(self, events):
            return asyncio.get_running_loop().create_future()

    async def run():
        recorder = Recorder(Silent(), read_recipe(release), Watch(None))
        waiting = [asyncio.create_task(recorder.record([EventRequest(user_id="u", item_id="i")])) for _ in range(32)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await recorder.record([EventRequest(user_id="u", item_id="i")])
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert recorder.waiting == 0

    asyncio.run(run())


def test_an_event_far_in_the_future_is_refused():
    late = EventRequest(user_id="u", item_id="i", timestamp=time.time() + 100)
    assert len(to_events([late], 200)) == 1
    with pytest.raises(RequestError, match="timestamp: more than 50 s in the future"):
        to_events([late], 50)
