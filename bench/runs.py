"""Runs of the pipeline for benchmarks, each in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from motet.evaluation.report import JSON_NAME
from motet.storage import read_json

ROOT = Path(__file__).resolve().parent.parent


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def ours(recipe: str, workspace: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the report of a pipeline run."""
    command = [sys.executable, str(ROOT / "jobs" / "pipeline.py"), str(ROOT / "recipes" / recipe)]
    command += ["--until", "evaluate"]
    for name, value in {"workspace": workspace, **settings}.items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"quality: the pipeline failed:\n{done.stderr[-3000:]}")
    newest = max((workspace / "reports").glob(f"*/{JSON_NAME}"), key=lambda path: path.stat().st_mtime)
    return dict(read_json(newest)) | {"log": done.stderr.splitlines()}
