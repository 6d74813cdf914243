"""Faults of the cluster under a graph that serves: a node is lost."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from motet.data.parquet import read_parquet
from tests.chaos.rig import FAULT_AT_S, judge, load, record, summed, wait_for
from tests.chaos.runs import own_environment
from tests.deploy.edges import edge_of
from tests.nodes import ROOT, several_nodes
from tests.serve.graphs import PATIENT, TWO, ask, free_port, publish

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

K = 5
SERVE = """
import sys
import ray
from ray import serve
from serve.app import build

ray.init(log_to_driver=False)
serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
serve.run(build({"workspace": sys.argv[1]}))
print("up", flush=True)
sys.stdin.read()
"""


FLAKY = {"CoreWorkerService.grpc_client.PushTask": {"num_failures": -1, "req_failure_prob": 1, "resp_failure_prob": 1}}
HOW = "1 % of the calls of actors, and of 1 % the answer"


@pytest.fixture(scope="module")
def release(draft, report, tmp_path_factory):
    serving = {**PATIENT, **{name: TWO for name in ("gateway", "embedder", "retriever", "reranker")}}
    return publish(draft, report, tmp_path_factory.mktemp("clusters"), serve=serving)


@contextmanager
def serving(release: Path, environment: dict[str, str]):
    """The address of a graph that a process of its own serves."""
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(release.parent.parent), str(port)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **streams)
    try:
        assert "up\n" in iter(process.stdout.readline, ""), "it ended before it was up"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.kill()
        process.wait(30)
        process.stdout.close()


def catalogue(release: Path) -> set[str]:
    return set(read_parquet(release / "items.parquet").column("item").to_pylist())


def in_full(address: str) -> bool:
    status, _, answer, _ = ask(address, "/v1/recommend", {"user_id": "u03"})
    return status == 200 and answer["level"] == "full"


def test_f44_a_node_is_lost(release):
    """Of two, each with a replica of each step; the proxy is on the other."""
    with (
        own_environment() as environment,
        several_nodes([2, 2], environment) as nodes,
        serving(release, nodes.environment) as address,
    ):
        wait_for(lambda: all(in_full(address) for _ in range(20)), 120)
        homes = {name: nodes.homes(f":{name}") for name in ("Gateway", "Embedder", "Retriever", "Reranker")}
        with load(address, seconds=20.0) as answers:
            time.sleep(FAULT_AT_S + 1.0)
            moment = time.perf_counter()
            nodes.kill(*nodes.others)
            found = judge(answers(), moment, catalogue(release), {release.name}, K)
        assert in_full(address)
    figures = summed([found]) | {"steps with a replica there": sum(len(one) == 2 for one in homes.values())}
    record("F44", "a node is lost", "one of two, without a word; 20 requests a second for 20 s", figures)
    assert found.wrong == 0
    assert found.lost <= 8  # what was under way in a Gateway there


def injected(folder: Path) -> int:
    """How many calls Ray says that it let fail."""
    logs = (path for path in folder.rglob("*") if path.suffix in (".log", ".err", ".out") and path.is_file())
    return sum(path.read_text(errors="replace").count("Inject RPC") for path in logs)


def test_f54_calls_are_lost_at_random(release, tmp_path):
    """All calls of actors, those by which Serve looks after the graph too; asked is the edge, as it should be."""
    with own_environment() as environment:
        flaky = {**environment, "RAY_testing_rpc_failure": json.dumps(FLAKY)}
        with several_nodes([4], flaky) as nodes, serving(release, nodes.environment) as address:
            wait_for(lambda: in_full(address), 120)
            with (
                edge_of(address.removeprefix("http://"), tmp_path / "nginx") as edge,
                load(edge, seconds=12.0) as answers,
            ):
                found = judge(answers(), time.perf_counter(), catalogue(release), {release.name}, K)
            failed = injected(Path(environment["RAY_TMPDIR"]))
    figures = {"calls lost": failed, **summed([found])}
    record("F54", "calls are lost at random", f"{HOW}; 20 requests a second for 12 s, behind the edge", figures)
    assert failed > 5
    assert found.wrong == 0
    assert found.lost <= 0.05 * found.sent
