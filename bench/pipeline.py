"""The demo by stage, cold and warm: `python bench/pipeline.py`.

Runs the pipeline of recipes/movielens.yaml into an empty workspace, and again over what it left. Prints one table and
writes bench/results/pipeline.json.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import typer  # noqa: E402

from motet.storage import write_json  # noqa: E402

STAGES = ("prepare", "embed", "train", "index", "evaluate", "release")


def run(workspace: Path) -> dict[str, float]:
    """Return the seconds of each stage that ran, 0 for one that was up to date, and of all with start-up."""
    command = [sys.executable, str(ROOT / "jobs" / "pipeline.py"), str(ROOT / "recipes" / "movielens.yaml")]
    command += ["--set", f"workspace={workspace}"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"pipeline: it failed:\n{done.stderr[-2000:]}")
    found = {}
    for stage in STAGES:
        took = re.search(rf"^{stage}: .* in ([\d.]+) s$", done.stderr, re.MULTILINE)
        found[stage] = float(took[1]) if took else 0.0
    return {**found, "all, with start-up": seconds}


def main(
    work: Annotated[Path, typer.Option(help="The workspace, which is emptied.")] = ROOT / "workspace-bench" / "demo",
) -> None:
    """Measure both runs."""
    shutil.rmtree(work, ignore_errors=True)
    cold, warm = run(work.absolute()), run(work.absolute())
    print(f"{'seconds':20}{'cold':>8}{'warm':>8}")
    rows: list[dict[str, Any]] = []
    for stage, seconds in cold.items():
        print(f"{stage:20}{seconds:>8.1f}{warm[stage]:>8.1f}")
        rows.append({"what": stage, "cold": seconds, "warm": warm[stage]})
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    write_json(ROOT / "bench" / "results" / "pipeline.json", rows)


if __name__ == "__main__":
    typer.run(main)
