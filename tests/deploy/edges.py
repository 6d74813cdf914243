"""deploy/nginx.conf started as it is, but for its addresses, folders and what a test changes."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serve.graphs import free_port

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"


@contextmanager
def edge_of(upstream: str, folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of an nginx in front of an endpoint (host:port), for as long as this lasts."""
    if shutil.which("nginx") is None:
        pytest.fail("nginx is not there: apt-get install nginx-light")
    folder.mkdir(exist_ok=True)
    port, text = free_port(), CONFIG.read_text()
    own = {"127.0.0.1:8000": upstream, "127.0.0.1:8080": f"127.0.0.1:{port}", "/tmp/motet-edge": f"{folder}/edge"}
    for old, new in {**own, **(changes or {})}.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_until_heard(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_heard(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("nginx does not listen")
