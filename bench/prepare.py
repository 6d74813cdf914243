"""Rows a second of the prepare stage at growing sizes, beside polars on one core: `python bench/prepare.py`.

Writes logs of 100,000 and 1,000,000 events (BENCH_FULL=1: 10,000,000 too) of a market with popular items, sessions, and
dirty rows whose number is known, runs the stage on each in a process of its own, and checks its ledger. polars does the
same to the same files: checks, quarantine, one row a user and item, parts by time, lists by user. Prints one table and
writes bench/results/prepare.json.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import typer  # noqa: E402

from bench.market import DAY_S, Market, market_recipe, write_market  # noqa: E402
from bench.runs import peer_python, say  # noqa: E402
from motet.storage import read_json, write_json  # noqa: E402

ITEMS, EVENTS_OF_A_USER, ROWS_OF_A_FILE = 10_000, 50, 500_000
DIRTY = {"no item": 0.004, "unknown item": 0.002, "rating": 0.003, "timestamp": 0.001}
"""Share of the rows with each fault."""
MODEL = "${MOTET_CACHE:-~/.cache/motet}/all-MiniLM-L6-v2"


def write_log(folder: Path, rows: int, seed: int = 1) -> int:
    """Write events/*.parquet, items and users; return how many rows are bad."""
    users = max(1, rows // EVENTS_OF_A_USER)
    write_market(folder, Market(users=2, items=ITEMS, events=10))  # for its items
    (folder / "events.parquet").unlink()
    pq.write_table(pa.table({"user_id": [f"u{n}" for n in range(users)], "age": np.full(users, 40)}),
                   folder / "users.parquet")  # fmt: skip
    (folder / "events").mkdir()
    bad = 0
    for number, start in enumerate(range(0, rows, ROWS_OF_A_FILE)):
        random = np.random.default_rng([seed, number])
        table, wrong = _events(random, min(ROWS_OF_A_FILE, rows - start), users)
        pq.write_table(table, folder / "events" / f"part-{number:04d}.parquet")
        bad += wrong
    return bad


def _events(random: np.random.Generator, rows: int, users: int) -> tuple[pa.Table, int]:
    """Return rows in sessions of about five, and how many of them are bad."""
    popularity = 1 / np.arange(1, ITEMS + 1)
    item_N = random.choice(ITEMS, rows, p=popularity / popularity.sum())
    starts_N = random.random(rows) < 0.2
    starts_N[0] = True
    session_N = np.cumsum(starts_N) - 1
    user_N = random.integers(0, users, session_N[-1] + 1)[session_N]
    moment_N = 1_600_000_000 + random.integers(0, 365 * DAY_S, session_N[-1] + 1)[session_N] + np.arange(rows) % 600
    rating_N = random.integers(1, 6, rows)
    fault_N = np.digitize(random.random(rows), np.cumsum(list(DIRTY.values())))
    names = pa.array([f"i{place}" for place in range(ITEMS)]).take(pa.array(item_N))
    named = np.where(fault_N == 1, "nobody knows", names.to_numpy(zero_copy_only=False))
    columns = {
        "user_id": pa.array(np.char.add("u", user_N.astype(str))),
        "item_id": pa.array(named, pa.string(), mask=fault_N == 0),
        "rating": np.where(fault_N == 2, 17, rating_N),
        "bought": (rating_N == 5).astype(np.int64),
        "timestamp": np.where(fault_N == 3, -5, moment_N),
    }
    return pa.table(columns), int((fault_N < len(DIRTY)).sum())


class Watch(threading.Thread):
    """Notes the most memory that a process and its descendants held: the largest of them, without what they share."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.most, self.ends = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        """Look five times a second."""
        while not self.ends.wait(0.2):
            try:
                everybody = [self.root, *self.root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for one in everybody:
                try:
                    held = one.memory_info()
                except psutil.NoSuchProcess:
                    continue
                self.most = max(self.most, held.rss - held.shared)


def stage(folder: Path) -> tuple[float, int]:
    """Run the stage; return (seconds of the stage, most bytes of a process)."""
    events = {"path": str(folder / "events"), "ranges": {"rating": {"min": 1, "max": 5}}}
    recipe = market_recipe(folder, folder / "workspace", MODEL)
    text = recipe.read_text().replace(str(folder / "events.parquet"), events["path"])
    recipe.write_text(text)
    command = [sys.executable, str(ROOT / "jobs" / "pipeline.py"), str(recipe), "--until", "prepare"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        watch = Watch(process.pid)
        watch.start()
        assert process.stderr is not None
        said = process.stderr.read()
    watch.ends.set()
    found = re.search(r"^prepare: read .* in ([\d.]+) s$", said, re.MULTILINE)
    if process.returncode or found is None:
        raise SystemExit(f"prepare: the stage failed:\n{said[-2000:]}")
    return float(found[1]), watch.most


def check_ledger(folder: Path, rows: int, bad: int) -> None:
    """Refuse a ledger that does not balance or has other bad rows than were written."""
    (path,) = (folder / "workspace" / "prepared").glob("*/ledger.json")
    ledger = read_json(path)["interactions"]
    found = (ledger["read"], ledger["quarantined"], ledger["kept"] + ledger["quarantined"] + ledger["merged"])
    if found != (rows, bad, rows):
        raise SystemExit(f"prepare: the ledger says {ledger}, and {bad} of {rows} rows are bad")


def polars(folder: Path) -> float:
    """Let polars do the same on one core; return its seconds."""
    script = ROOT / "bench" / "prepare_polars.py"
    command = [str(peer_python("polars")), str(script), str(folder), str(folder / "polars")]
    environment = os.environ | {"POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"prepare: polars failed:\n{done.stderr[-2000:]}")
    return float(done.stdout)


def main(
    sizes: Annotated[str, typer.Option(help="Rows, separated by commas.")] = (
        "100000,1000000,10000000" if os.environ.get("BENCH_FULL") else "100000,1000000"
    ),
    work: Annotated[Path, typer.Option(help="Where logs are written.")] = ROOT / "workspace-bench" / "prepare",
    rounds: Annotated[int, typer.Option(help="Runs of each side, in turns.")] = 1,
) -> None:
    """Measure all sizes."""
    print(f"{'rows':>12} {'seconds':>9} {'rows/s':>10} {'us/row':>8} {'MiB of a process':>17} {'polars, s':>10}")
    found: list[dict[str, Any]] = []
    for rows in map(int, sizes.split(",")):
        folder = work.absolute() / str(rows)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        bad = write_log(folder, rows)
        runs = []
        for _ in range(rounds):
            shutil.rmtree(folder / "workspace", ignore_errors=True)
            seconds, most = stage(folder)
            runs.append((seconds, most, polars(folder)))
        check_ledger(folder, rows, bad)
        seconds, most, other = (float(np.median([run[place] for run in runs])) for place in range(3))
        row = {"rows": rows, "seconds": seconds, "rows_s": rows / seconds, "mib": most / 2**20, "polars_s": other}
        found.append(row)
        say(f"{rows:>12,} {seconds:>9.1f} {rows / seconds:>10,.0f} {1e6 * seconds / rows:>8.2f} {most / 2**20:>17.0f} "
            f"{other:>10.2f}")  # fmt: skip
        shutil.rmtree(folder)
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    write_json(ROOT / "bench" / "results" / "prepare.json", found)


if __name__ == "__main__":
    typer.run(main)
