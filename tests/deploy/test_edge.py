"""deploy/nginx.conf in front of the real endpoint: what it lets through, cuts off and strips."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import ray

from tests.serve.graphs import ask, free_port, publish, resident_mb, served

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def edge(draft, report, tmp_path_factory, ray_here):
    """Its address, over an endpoint with a short deadline."""
    if shutil.which("nginx") is None:
        pytest.fail("nginx is not there: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("edge")
    with served(publish(draft, report, folder)) as address:
        port, config = free_port(), folder / "nginx.conf"
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        changed = text.replace("127.0.0.1:8000", address.removeprefix("http://"))
        changed = changed.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("/tmp/motet-edge", f"{folder}/edge")
        config.write_text(changed)
        command = ["nginx", "-c", str(config), "-g", "daemon off;"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            wait_until_heard(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate(timeout=10)


def wait_until_heard(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("nginx does not listen")


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
    large = [{"user_id": "u03", "item_id": "i01", "event_id": f"{'e' * 100}{n}"} for n in range(400)]
    assert len(json.dumps(large)) > 65_536
    assert ask(edge, "/v1/events", large)[0] == 200  # which may be larger


@pytest.mark.parametrize("path", ["/-/routes", "/-/healthz", "/docs", "/openapi.json"])
def test_what_describes_the_endpoint_is_hidden(edge, path):
    assert ask(edge, path)[0] == 404


def test_a_header_that_is_too_long_is_refused(edge):
    status = ask(edge, "/v1/recommend", {"user_id": "u03"}, {"x-filler": "x" * 20_000})[0]
    assert status in (400, 431)


def test_headers_that_are_orders_to_serve_are_stripped(draft, edge, tmp_path):
    """What the edge sends on, as an echo of the request in place of the endpoint sees it."""
    with socket.create_server(("127.0.0.1", 0)) as echo:
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{echo.getsockname()[1]}")
        port = free_port()
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("/tmp/motet-edge", f"{tmp_path}/edge")
        (tmp_path / "nginx.conf").write_text(text)
        process = subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"],
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            wait_until_heard(port)
            orders = {"x-request-timeout-seconds": "0", "x-request-disconnect-disabled": "?1", "x-kept": "yes",
                      "serve_multiplexed_model_id": "../../x", "x-request-id": "y" * 5000}  # fmt: skip
            with socket.create_connection(("127.0.0.1", port)) as client:
                lines = "".join(f"{name}: {value}\r\n" for name, value in orders.items())
                client.sendall(f"GET /v1/release HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())
                connection, _ = echo.accept()
                with connection:
                    seen = connection.recv(65_536).decode().lower()
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        finally:
            process.terminate()
            process.wait(10)
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
