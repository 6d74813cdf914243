"""A graph over the tiny release with settings of one's own, how to ask it, and how to stop one of its processes."""

import json
import os
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import ray

from motet.release.publish import Releases
from motet.settings import ReleaseSettings
from motet.storage import read_json, write_json, write_manifest

PATIENT = {"health_check_period_s": 1.0, "health_check_timeout_s": 60.0}
"""A replica that died is replaced soon, one that a test has stopped is not."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def publish(draft: Path, report: Path, folder: Path, **changes) -> Path:
    """The folder of a release whose recipe has other sections."""
    changed = Path(shutil.copytree(draft, folder / "draft"))
    recipe = read_json(changed / "recipe.json")
    for section, values in changes.items():
        recipe[section] = {**recipe[section], **values}
    write_json(changed / "recipe.json", recipe)
    (changed / "manifest.json").unlink()
    write_manifest(changed, {"stage": "index"})
    return Releases(folder / "workspace").publish(changed, report, ReleaseSettings(), {"recipe": "tiny"}).folder


TWO = {"min_replicas": 2, "max_replicas": 2, "num_cpus": 0.1}
"""Of a step of which a test needs two replicas."""


@contextmanager
def served(release: Path, watched: bool = False):
    """The address of an endpoint over a release, for as long as this lasts."""
    from ray import serve

    from serve.run import start

    try:
        yield start(release, port=free_port(), watched=watched)
    finally:
        serve.shutdown()
        wait_until_gone()


def wait_until_gone(seconds: float = 90.0) -> None:
    """Wait until no actor of Serve is left: a graph that starts while another ends may be given its proxy."""
    end = time.monotonic() + seconds
    while left := [one["Name"] for one in ray._private.state.actors().values()
                   if one["State"] != "DEAD" and (one["Name"] or "").startswith("SERVE_")]:  # fmt: skip
        assert time.monotonic() < end, left
        time.sleep(0.2)


def ask(address: str, path: str, body=None, headers=None, raw=None, method=None):
    """(status, headers, decoded answer, seconds)."""
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(
        address + path, data, {"content-type": "application/json", **(headers or {})}, method=method
    )
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, told, content = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, told, content = error.code, error.headers, error.read()
    seconds = time.monotonic() - began
    text = content.decode()
    return status, told, json.loads(text) if text.startswith("{") else text, seconds


def ask_at_once(address: str, count: int, body, headers=None):
    """The answers to the same question asked by so many clients at the same time."""
    answers, lock, start = [], threading.Lock(), threading.Barrier(count)

    def one() -> None:
        start.wait()
        answer = ask(address, "/v1/recommend", body, headers)
        with lock:
            answers.append(answer)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def pids(deployment: str) -> list[int]:
    """The processes of a deployment's replicas that are alive."""
    actors = ray._private.state.actors().values()
    return sorted(one["Pid"] for one in actors if f"#{deployment}#" in (one["Name"] or "") and one["State"] == "ALIVE")


def resident_mb(pid: int) -> float:
    """The memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def exported(name: str) -> list[str]:
    """The lines of a metric as Prometheus would read them; none if the agent that gathers them does not answer."""
    port = ray.nodes()[0]["MetricsExportPort"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            return [line for line in response.read().decode().splitlines() if line.startswith(f"ray_{name}")]
    except (urllib.error.URLError, TimeoutError):
        return []


def wait_until_exported(names: list[str], tags: list[str] | None = None, seconds: float = 200.0) -> list[str]:
    """Lines of all metrics of ours, once they hold each of these names, and each of these tags beside one."""
    end = time.monotonic() + seconds
    while True:
        lines = exported("motet_")
        missing = [name for name in names if not any(line.startswith(f"ray_{name}") for line in lines)]
        named = [line for line in lines if line.startswith(tuple(f"ray_{name}" for name in names))]
        missing += [tag for tag in tags or [] if not any(tag in line for line in named)]
        if not missing:
            return lines
        assert time.monotonic() < end, missing
        time.sleep(1)


@contextmanager
def stopped(*processes: int):
    """Processes that neither answer nor die."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
