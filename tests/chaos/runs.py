"""Pipelines in processes of their own, with a Ray of their own, and how to end them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.chaos.rig import ROOT

_started: list[subprocess.Popen] = []
"""Pipelines that may not have ended: what a test that fails leaves behind is ended with its environment."""


@contextmanager
def own_environment() -> Iterator[dict[str, str]]:
    """The environment of a process with a Ray of its own."""
    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    try:
        yield {**own, "RAY_TMPDIR": folder}
    finally:
        while _started:
            if (process := _started.pop()).returncode is None:
                kill(process)
        shutil.rmtree(folder, ignore_errors=True)


def embedded_once(file: Path) -> tuple[Path, Path]:
    """Prepare and embed for a recipe in an environment of its own; return (recipe's file, workspace)."""
    with own_environment() as environment:
        finish(start(file, environment, "--until", "embed"))
    return file, file.parent / "workspace"


def with_stages(made: Path, folder: Path, *kinds: str) -> list[str]:
    """Give a workspace the stages of another one; return the words by which a run of the same recipe uses it."""
    workspace = folder / "workspace"
    for kind in kinds:
        shutil.copytree(made / kind, workspace / kind)
    shutil.copyfile(made / "workspace.json", workspace / "workspace.json")
    return ["--set", f"workspace={workspace}"]


def start(file: Path, environment, *more: str) -> subprocess.Popen:
    command = [sys.executable, "jobs/pipeline.py", str(file), *more]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    _started.append(process)
    return process


def finish(process: subprocess.Popen, expected: int = 0, seconds: float = 200) -> str:
    said = process.communicate(timeout=seconds)[1]
    assert process.returncode == expected, said[-3000:]
    return said


def kill(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    """End a driver, and then what is left of the Ray that it started."""
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.communicate(timeout=60)
    for one in started:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(started, 20)


def first_words(line: str) -> str:
    """What is said before the first semicolon, without the name of the error."""
    return line.split(": ", 1)[1].split("; ")[0]
