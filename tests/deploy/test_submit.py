"""The same through Ray's own tools: `ray job submit` and `serve deploy` against a head that wants a token."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.synthetic import write_shop

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run(command, env, timeout=400):
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def head():
    """A head with token auth on ports and a folder of its own; gives (address of the dashboard, environment)."""
    folder = Path(tempfile.mkdtemp(prefix="rh", dir="/tmp"))
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{BIN}:{env['PATH']}",
    }
    port, dashboard, agent, metrics = free_ports(4)
    command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=true"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--dashboard-port={dashboard}"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}"]
    command += ["--object-store-memory=300000000", "--disable-usage-stats"]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{dashboard}"
    wait_for(lambda: status_of(f"{address}/api/version", token.read_text()) == 200, 90)
    yield address, env
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


def status_of(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.5)
    pytest.fail(f"not within {seconds} s")


def test_without_the_token_nobody_gets_in(head):
    address, _ = head
    assert status_of(f"{address}/api/jobs/") == 401
    assert status_of(f"{address}/api/jobs/", "0" * 64) in (401, 403)


def test_submit_then_deploy_then_ask(head, minilm, tmp_path):
    address, env = head
    recipe = write_shop(tmp_path, minilm)
    command = [
        str(BIN / "ray"),
        "job",
        "submit",
        f"--address={address}",
        "--working-dir=.",
        "--runtime-env=runtime_env.yaml",
    ]
    said = run([*command, "--", "python", "jobs/pipeline.py", str(recipe)], env)
    assert "succeeded" in said
    assert (tmp_path / "workspace" / "releases" / "CURRENT").is_file()
    port = free_ports(1)[0]
    committed = (ROOT / "serve" / "config.yaml").read_text()
    config = yaml.safe_load(committed.replace("/home/ray/motet", str(ROOT)))
    config["http_options"]["port"] = port
    config["applications"][0]["args"]["workspace"] = str(tmp_path / "workspace")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    run([str(BIN / "serve"), "deploy", str(file), "-a", address], env)
    wait_for(lambda: status_of(f"http://127.0.0.1:{port}/healthz") == 200, 120)
    body = json.dumps({"user_id": "u3", "k": 4}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/recommend", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    assert answer["release"] == (tmp_path / "workspace" / "releases" / "CURRENT").read_text().strip()
    assert len(answer["items"]) == 4
