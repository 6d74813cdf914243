"""deploy/nginx.conf in front of the real endpoint: what it lets through, cuts off and strips."""

import contextlib
import json
import socket
import threading
import time

import pytest
import ray

from tests.deploy.edges import edge_of
from tests.serve.graphs import ask, publish, resident_mb, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def edge(draft, report, tmp_path_factory, ray_here):
    folder = tmp_path_factory.mktemp("edge")
    with (
        served(publish(draft, report, folder)) as one,
        edge_of(one.removeprefix("http://"), folder / "nginx") as address,
    ):
        yield address


def test_recommendations_events_and_the_page_pass(edge):
    status, told, answer, _ = ask(edge, "/v1/recommend", {"user_id": "u03", "k": 3})
    assert (status, len(answer["items"])) == (200, 3)
    assert "nginx/" not in (told["server"] or "")
    assert ask(edge, "/v1/events", {"user_id": "u03", "item_id": "i01"})[0] == 200
    assert ask(edge, "/")[0] == 200


def test_a_body_that_is_too_large_does_not_reach_serve(edge):
    known = ray._private.state.actors().values()
    proxies = [one["Pid"] for one in known if "PROXY" in (one["Name"] or "") and one["State"] == "ALIVE"]
    assert proxies
    before = {pid: resident_mb(pid) for pid in proxies}
    body = b'{"text": "' + b"x" * 20_000_000 + b'"}'
    try:
        status = ask(edge, "/v1/recommend", raw=body)[0]
    except OSError:
        status = 413  # it was cut off while it was sent
    assert status == 413
    assert all(resident_mb(pid) - was < 10 for pid, was in before.items())
    large = [{"user_id": "u03", "item_id": "i01", "event_id": f"{'e' * 100}{n}"} for n in range(480)]
    assert len(json.dumps(large)) > 65_536
    assert ask(edge, "/v1/events", large)[0] == 200  # which may be larger


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz", "/docs", "/openapi.json"])
def test_what_describes_the_endpoint_is_hidden(edge, path):
    assert ask(edge, path)[0] == 404


def test_a_header_that_is_too_long_is_refused(edge):
    status = ask(edge, "/v1/recommend", {"user_id": "u03"}, {"x-filler": "x" * 20_000})[0]
    assert status in (400, 431)


def test_headers_that_are_orders_to_serve_are_stripped(tmp_path):
    """What the edge sends on, as an echo of the request in place of the endpoint sees it."""
    orders = {"x-request-timeout-seconds": "0", "x-request-disconnect-disabled": "?1", "x-kept": "yes",
              "serve_multiplexed_model_id": "../../x", "x-request-id": "y" * 5000}  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in orders.items())
    echo = socket.create_server(("127.0.0.1", 0))
    with contextlib.ExitStack() as stack:
        stack.enter_context(echo)
        address = stack.enter_context(edge_of(f"127.0.0.1:{echo.getsockname()[1]}", tmp_path / "nginx"))
        client = stack.enter_context(socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))))
        client.sendall(f"GET /v1/release HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())
        connection = stack.enter_context(echo.accept()[0])
        seen = connection.recv(65_536).decode().lower()
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert "x-kept: yes" in seen
    for name in orders:
        assert name == "x-kept" or name not in seen


def test_who_sends_slowly_is_cut_off(edge):
    host, port = edge.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.settimeout(15)
        slow.sendall(b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        began = time.monotonic()
        said = slow.recv(1000)
        assert time.monotonic() - began < 10
        assert said == b"" or b"408" in said
    assert ask(edge, "/v1/recommend", {"user_id": "u03"})[0] == 200


def test_more_than_it_may_pass_on_is_refused_at_once(edge, tmp_path):
    """With two in flight a third is refused by the edge itself, in the shape of the endpoint's own refusals."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        own = {"limit_conn all 64;": "limit_conn all 2;"}
        with edge_of(f"127.0.0.1:{silent.getsockname()[1]}", tmp_path / "nginx", own) as address:
            port = int(address.rpartition(":")[2])
            waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
            for one in waiting:
                one.sendall(b"GET /v1/release HTTP/1.1\r\nhost: x\r\n\r\n")
            time.sleep(0.3)
            status, told, answer, seconds = ask(address, "/v1/release")
            for one in waiting:
                one.close()
    assert (status, told["retry-after"], answer["detail"][0]["type"]) == (429, "1", "busy")
    assert seconds < 0.1


def beside(other: str, upstream: str) -> dict[str, str]:
    """Another proxy in place of the first of the two names of the one that lives."""
    first = f"server {upstream} max_fails=0;         # EDIT"
    return {first: f"{other} # EDIT"}


def test_a_proxy_that_is_gone_is_passed_by(edge, tmp_path):
    """Of two, one refuses connections and one cuts them off after the request was read: the living one is asked."""
    upstream = edge.removeprefix("http://")  # an edge in front of an edge
    with socket.create_server(("127.0.0.1", 0)) as cutter, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = [f"server 127.0.0.1:{one.getsockname()[1]} max_fails=0;" for one in (cutter, nobody)]
        over = threading.Event()
        thread = threading.Thread(target=answer_all, args=(cutter, over, b""))
        thread.start()
        try:
            for lost in dead:
                with edge_of(upstream, tmp_path / "nginx", beside(lost, upstream)) as address:
                    found = [ask(address, "/v1/recommend", {"user_id": "u03", "k": 3}) for _ in range(10)]
                assert [status for status, *_ in found] == [200] * 10
        finally:
            over.set()
            thread.join()


def test_what_was_lost_with_a_gateway_is_asked_once_more(edge, tmp_path):
    """Serve says it by a 500; events are not repeated, since nobody knows what became of them."""
    upstream, over = edge.removeprefix("http://"), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as broken:
        own = beside(f"server 127.0.0.1:{broken.getsockname()[1]} max_fails=0;", upstream)
        failure = b"HTTP/1.1 500 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        thread = threading.Thread(target=answer_all, args=(broken, over, failure))
        thread.start()
        try:
            with edge_of(upstream, tmp_path / "nginx", own) as address:
                found = [ask(address, "/v1/recommend", {"user_id": "u03", "k": 3})[0] for _ in range(10)]
                posted = [ask(address, "/v1/events", {"user_id": "u03", "item_id": "i01"})[0] for _ in range(10)]
        finally:
            over.set()
            thread.join()
    assert found == [200] * 10
    assert 500 in posted


def answer_all(server: socket.socket, over: threading.Event, answer: bytes) -> None:
    """Read what comes, answer it, if only by nothing, and hang up."""
    server.settimeout(0.2)
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            connection, _ = server.accept()
            connection.recv(65_536)
            connection.sendall(answer)
            connection.close()
