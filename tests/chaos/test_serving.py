"""Faults of a graph that serves: what dies or hangs under load, and what it costs those who ask."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray

from motet.data.parquet import read_parquet
from motet.events.segments import Segments
from tests.chaos.rig import FAULT_AT_S, judge, load, median_and_worst, record, summed, wait_for
from tests.deploy.edges import edge_of
from tests.serve.graphs import TWO, ask, pids, publish, resident_mb, served, stopped

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

REPEATS, K = int(os.environ.get("MOTET_CHAOS_REPEATS", "3")), 5
STEPS = ("Embedder", "Retriever", "Reranker")
HERE = "all steps and the Gateway with two replicas, 20 requests a second"


@pytest.fixture(scope="module")
def release(draft, report, tmp_path_factory, ray_here):
    serving = {name: TWO for name in ("gateway", "embedder", "retriever", "reranker")}
    return publish(draft, report, tmp_path_factory.mktemp("chaos"), serve=serving)


@pytest.fixture(scope="module")
def endpoint(release):
    with served(release, watched=True) as address:
        yield address


@pytest.fixture(scope="module")
def catalogue(release):
    return set(read_parquet(release / "items.parquet").column("item").to_pylist())


@pytest.fixture(autouse=True)
def all_well(endpoint):
    """Begin when the graph is whole and answers in full."""
    wait_for(lambda: all(len(pids(name)) == 2 for name in ("Gateway", *STEPS)))
    wait_for(lambda: all(_level(endpoint) == "full" for _ in range(20)))


def _level(endpoint):
    status, _, answer, _ = ask(endpoint, "/v1/recommend", {"user_id": "u03"})
    return answer["level"] if status == 200 else None


def under_load(endpoint, inject, release, catalogue, repeats=REPEATS, after=lambda: None, **how):
    """Verdicts on loads during which something is done once."""
    found = []
    for _ in range(repeats):
        with load(endpoint, **how) as answers:
            time.sleep(FAULT_AT_S + 1.0)  # the generator takes a second to start
            moment = time.perf_counter()
            inject()
            found.append(judge(answers(), moment, catalogue, {release.name}, K))
        after()
    return found


def actors(name: str) -> list[int]:
    """Pids of Serve's own processes."""
    known = ray._private.state.actors().values()
    return [one["Pid"] for one in known if (one["Name"] or "").startswith(name) and one["State"] == "ALIVE"]


def test_f00_nothing_at_all(endpoint, release, catalogue):
    found = summed(under_load(endpoint, lambda: None, release, catalogue))
    record("F00", "nothing", f"{HERE}; 8 s, {REPEATS} times", found)
    assert (found["lost"], found["wrong"]) == (0, 0)


def signalled(address, release, catalogue, name, number=signal.SIGKILL):
    """Verdicts on loads during which a replica is sent a signal; each begins when all are there again."""
    replicas = len(pids(name))
    return under_load(
        address, lambda: os.kill(pids(name)[0], number), release, catalogue,
        after=lambda: wait_for(lambda: len(pids(name)) == replicas),
    )  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_f35_a_replica_of_a_step_is_killed(endpoint, release, catalogue, name):
    found = signalled(endpoint, release, catalogue, name)
    record("F35", f"{name} killed", f"SIGKILL of one of two, {REPEATS} times", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0


def test_f35_a_gateway_is_killed(endpoint, release, catalogue):
    """What is under way in it is lost, and no more: Serve does not repeat what a replica has taken."""
    found = signalled(endpoint, release, catalogue, "Gateway")
    record("F35", "Gateway killed", f"SIGKILL of one of two, {REPEATS} times", summed(found))
    assert max(one.lost for one in found) <= 8
    assert sum(one.wrong for one in found) == 0


def test_f35_a_gateway_is_killed_behind_the_edge(endpoint, release, catalogue, tmp_path):
    """The edge asks once more for what was under way in it."""
    with edge_of(endpoint.removeprefix("http://"), tmp_path / "nginx") as edge:
        found = signalled(edge, release, catalogue, "Gateway")
    record("F35", "Gateway killed, behind the edge", f"SIGKILL of one of two, {REPEATS} times", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0


@pytest.mark.parametrize("name", STEPS)
def test_f36_a_replica_of_a_step_hangs(endpoint, release, catalogue, name):
    def hang():
        with stopped(pids(name)[0]):
            time.sleep(3.0)

    found = under_load(endpoint, hang, release, catalogue)
    record("F36", f"{name} hangs", f"SIGSTOP of one of two for 3 s, {REPEATS} times", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0
    assert max(one.slowest_ms for one in found) < 2000


@pytest.mark.parametrize(
    ("fault", "name", "level"), [("F37", "Reranker", "retrieval"), ("F38", "Retriever", "popular"),
                                 ("F39", "Embedder", "popular")]
)  # fmt: skip
def test_a_whole_step_is_away(endpoint, release, catalogue, fault, name, level):
    levels = set()

    def hang():
        with stopped(*pids(name)):
            time.sleep(1.0)
            levels.update(_level(endpoint) for _ in range(5))

    found = under_load(endpoint, hang, release, catalogue, repeats=1)
    record(fault, f"both replicas of the {name} hang", "SIGSTOP for some seconds", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0
    assert levels == {level}


def test_f41_the_proxy_is_killed(endpoint, release, catalogue):
    """There is one on a machine: until Serve has another, nobody is heard."""
    outages = []

    def kill():
        began = time.monotonic()
        os.kill(actors("SERVE_PROXY_ACTOR")[0], signal.SIGKILL)
        time.sleep(0.3)
        wait_for(lambda: _heard(endpoint))
        outages.append(time.monotonic() - began)

    found = under_load(endpoint, kill, release, catalogue, repeats=1, seconds=14.0)
    figures = summed(found) | {"nobody heard for, s": median_and_worst(outages, 1)}
    record("F41", "the only HTTP proxy killed", "SIGKILL, once", figures)
    assert max(outages) < 15
    assert sum(one.wrong for one in found) == 0


def _heard(endpoint) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/healthz", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


def test_f42_the_controller_is_killed(endpoint, release, catalogue):
    def kill():
        os.kill(actors("SERVE_CONTROLLER_ACTOR")[0], signal.SIGKILL)

    found = under_load(endpoint, kill, release, catalogue, after=lambda: wait_for(lambda: actors("SERVE_CONTROLLER")))
    record("F42", "Serve's controller killed", f"SIGKILL, {REPEATS} times", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0


@pytest.mark.parametrize("name", ["Conductor", "EventLog"])
def test_f42_what_stands_beside_the_graph_is_killed(endpoint, release, catalogue, name):
    found = signalled(endpoint, release, catalogue, name)
    record("F42", f"{name} killed", f"SIGKILL of the only one, {REPEATS} times", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0


def test_f45_a_replica_is_asked_to_end(endpoint, release, catalogue):
    found = signalled(endpoint, release, catalogue, "Retriever", signal.SIGTERM)
    record("F45", "Retriever told to end", f"SIGTERM of one of two, {REPEATS} times", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0


def test_f46_the_graph_is_deployed_again(endpoint, release, catalogue):
    from ray import serve

    from serve.app import build

    def deploy():
        serve.run(build({"workspace": str(release.parent.parent)}), name="motet", route_prefix="/")

    repeats = min(2, REPEATS)
    found = under_load(endpoint, deploy, release, catalogue, repeats=repeats, seconds=15.0)
    record("F46", "the same graph deployed again", f"serve.run under load, {repeats} times", summed(found))
    assert sum(one.lost + one.wrong for one in found) == 0


@pytest.fixture(scope="module")
def capacity(endpoint, release, catalogue):
    """(p99 in seconds at 20 requests a second, answers in full a second at most)."""
    calm = _rate(endpoint, 20.0, 6.0, release, catalogue)[0]
    return calm, max(_rate(endpoint, rate, 5.0, release, catalogue)[1] for rate in (40.0, 60.0))


@pytest.mark.parametrize("edge", [False, True], ids=["alone", "behind the edge"])
def test_f49_more_than_it_can_take(endpoint, release, catalogue, capacity, edge, tmp_path):
    """Three times what two cores give, from the same two cores; the edge passes on as many as are answered in time."""
    calm, most = capacity
    gateways = {pid: resident_mb(pid) for pid in pids("Gateway")}
    passes = max(2, round(most * calm))
    own = {"limit_conn all 64;": f"limit_conn all {passes};", "limit_conn addresses 100;": ""}
    with contextlib.ExitStack() as stack:
        address = endpoint
        if edge:
            address = stack.enter_context(edge_of(endpoint.removeprefix("http://"), tmp_path / "nginx", own))
        seen = stack.enter_context(load(address, rate=3 * most, seconds=8.0))()
    grown = max(resident_mb(pid) - before for pid, before in gateways.items())
    taken = sorted(one.seconds for one in seen if one.status == 200)
    refused = sorted(one.seconds for one in seen if one.status == 429)
    verdict = judge(seen, time.perf_counter(), catalogue, {release.name}, K)
    figures = {
        "answers a second at most": round(most, 1), "requests": verdict.sent, "lost": verdict.lost,
        "wrong": verdict.wrong, "answered": len(taken), "of these fell back": verdict.fell_back,
        "p50 and p99 of these, ms": f"{_at(taken, 0.5)} and {_at(taken, 0.99)}",
        "p99 at 20 a second, ms": round(1000 * calm), "refused (429)": len(refused),
        "p50 and p99 to a 429, ms": f"{_at(refused, 0.5)} and {_at(refused, 0.99)}" if refused else "none",
        "memory of a Gateway, MB more": round(grown, 1),
    }  # fmt: skip
    how = f", behind the edge, which passes {passes} on at once" if edge else ""
    record("F49", f"three times what it can take{how[:17]}", f"{3 * most:.0f} requests a second for 8 s{how}", figures)
    assert (verdict.lost, verdict.wrong) == (0, 0)
    assert len(taken) >= 0.5 * most * 8
    assert grown < 60


def _at(seconds: list[float], share: float) -> int:
    """Milliseconds at a quantile of sorted seconds."""
    return round(1000 * seconds[int(share * (len(seconds) - 1))])


def _rate(endpoint, rate, seconds, release, catalogue):
    """(p99 in seconds, answers in full a second) at a rate."""
    with load(endpoint, rate=rate, seconds=seconds) as answers:
        seen = answers()
    good = sorted(one.seconds for one in seen if one.status == 200)
    assert judge(seen, time.perf_counter(), catalogue, {release.name}, K).wrong == 0
    return good[int(0.99 * (len(good) - 1))], len(good) / (seconds + good[-1])


def test_f52_clients_hang_up(endpoint, release, catalogue):
    host, port = endpoint.removeprefix("http://").split(":")
    body = json.dumps({"user_id": "u03"}).encode()
    head = f"POST /v1/recommend HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}"
    before = {pid: resident_mb(pid) for name in ("Gateway", *STEPS) for pid in pids(name)}

    def hang_up(_: int) -> None:
        with socket.create_connection((host, int(port)), timeout=10) as one:
            one.sendall(f"{head}\r\n\r\n".encode() + body)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # cut, not closed

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hang_up, range(1000)))
    wait_for(lambda: all(_level(endpoint) == "full" for _ in range(20)))
    grown = max(resident_mb(pid) - was for pid, was in before.items())
    found = under_load(endpoint, lambda: None, release, catalogue, repeats=1)
    figures = summed(found) | {"memory of a replica, MB more": round(grown, 1)}
    record("F52", "clients hang up", "1,000 connections cut after the request was sent", figures)
    assert sum(one.lost + one.wrong for one in found) == 0
    assert grown < 60


def test_f56_the_event_log_is_killed_while_it_acknowledges(endpoint, release):
    acked, statuses, over = [], [], threading.Event()

    def post(place: int) -> None:
        number = 0
        while not over.is_set():
            name = f"chaos-{place}-{number}"
            event = {"user_id": f"c{place}", "item_id": "i01", "event_id": name, "timestamp": time.time()}
            status = ask(endpoint, "/v1/events", event)[0]
            statuses.append(status)
            if status == 200:
                acked.append(name)
            number += 1

    threads = [threading.Thread(target=post, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(REPEATS):
        time.sleep(2.0)
        (old,) = pids("EventLog")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda old=old: pids("EventLog") not in ([], [old]))
    time.sleep(2.0)
    over.set()
    for thread in threads:
        thread.join()
    stored = [event.event_id for _, event in Segments(release.parent.parent / "events").read()]
    figures = {
        "events acknowledged": len(acked),
        "of these lost": len(set(acked) - set(stored)),
        "stored twice": len(stored) - len(set(stored)),
        "told to send again": sum(status != 200 for status in statuses),
    }
    record("F56", "EventLog killed under events", f"SIGKILL, {REPEATS} times, four clients", figures)
    assert set(acked) <= set(stored)
    assert len(stored) == len(set(stored))
    assert len(acked) > 50
