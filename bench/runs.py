"""What benchmarks run: the pipeline and other libraries, each in a process of its own."""

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from motet.evaluation.report import JSON_NAME
from motet.storage import read_json

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("MOTET_CACHE") or "~/.cache/motet").expanduser()
LIBRARIES = {
    "popularity": ["numpy", "scipy"],
    "implicit": ["numpy", "scipy", "implicit==0.7.3"],
    "rectools": ["rectools==0.19.0", "torch==2.13.0", "pytorch-lightning"],
    "cornac": ["cornac==3.0.1"],
    "polars": ["polars==2.1.0"],
    "sentence_transformers": ["sentence-transformers==6.2.0", "torch==2.13.0"],
    "rechub": ["torch-rechub==0.9.0", "torch==2.13.0"],
}


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def peer_python(library: str) -> Path:
    """Return the interpreter of a library's environment, which is made if it is not there."""
    folder = CACHE / "peers" / library
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        say(f"bench: installing {library} into {folder}")
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *LIBRARIES[library]], check=True)
        (folder / "ready").touch()
    return python


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
