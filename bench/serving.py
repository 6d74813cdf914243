"""The endpoint beside a graph of the same four hops that does nothing: `python bench/serving.py`.

Makes a market of 10,000 items with four tasks, runs the pipeline on it (once; the workspace is kept), and serves it
beside the empty graph. Eight clients ask both, in turns; then requests come at a steady rate, whether answers come or
not. Prints one table, the CPU that each process takes for a request, and the histogram of all answers, and writes
bench/results/serving.json.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import typer  # noqa: E402

from bench.market import Market, market_recipe, write_market  # noqa: E402
from motet.release.publish import CURRENT, Releases  # noqa: E402
from motet.storage import write_json  # noqa: E402

MODEL = "${MOTET_CACHE:-~/.cache/motet}/all-MiniLM-L6-v2"
MARKET = Market(users=1_000, items=10_000, events=40)
GOALS = {"p50": 1.5, "p99": 2.0, "throughput": 0.6}
DEPLOYMENTS = ("gateway", "embedder", "retriever", "reranker")
"""One replica each: one that starts in the middle of a run would be measured with it."""
EDGES_MS = (5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)


def make_release(work: Path) -> Path:
    """Return the current release of the market, which is made if it is not there."""
    workspace = work / "workspace"
    if not (workspace / "releases" / CURRENT).is_file():
        write_market(work / "data", MARKET)
        recipe = market_recipe(
            work / "data", workspace, MODEL,
            model={"dim": 64, "history": 50}, train={"epochs": 1, "workers": 0, "negatives": 1024},
            retrieval={"moments": 1, "fit_users": 300},
            serve={"deadline_ms": 1000.0, **{name: {"max_replicas": 1} for name in DEPLOYMENTS}},
        )  # fmt: skip
        command = [sys.executable, str(ROOT / "jobs" / "pipeline.py"), str(recipe)]
        subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return Releases(workspace).current()


def start_both(release: Path, port: int) -> tuple[str, str]:
    """Serve the release and the empty graph; return the addresses of both."""
    from ray import serve

    from bench.empty_graph import build_empty
    from motet.recommend import read_recipe
    from serve.run import start

    address = start(release, port=port)
    serve.run(build_empty(read_recipe(release).serve), name="empty", route_prefix="/empty")
    return f"{address}/v1/recommend", f"{address}/empty/v1/recommend"


def load(kind: str, url: str, how_many: float, seconds: float) -> np.ndarray:
    """Return the milliseconds of the answers that a load generator got, in a process of its own.

    Raises:
        SystemExit: if an answer was not 200.
    """
    bodies = "\n".join(json.dumps({"user_id": f"u{user}", "k": 10}) for user in range(MARKET.users))
    command = [sys.executable, str(ROOT / "bench" / "load.py"), kind, url, str(how_many), str(seconds)]
    done = subprocess.run(command, input=bodies, capture_output=True, text=True, check=True)
    taken = json.loads(done.stdout)
    if None in taken:
        raise SystemExit(f"serving: {taken.count(None)} of {len(taken)} answers were not 200")
    return np.array(taken) * 1000


def row(what: str, ours: float, empty: float, goal: float, higher: bool = False) -> dict[str, Any]:
    """Return one line of the table."""
    ratio = ours / empty
    met = ratio >= goal if higher else ratio <= goal
    return {"what": what, "ours": ours, "against": empty, "ratio": ratio, "goal": goal, "met": bool(met)}


def compare(urls: tuple[str, str], clients: int, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Return the table of the closed loop: medians over rounds, ours and the empty graph in turns."""
    for url in urls:
        load("closed", url, clients, min(seconds, 5))
    runs = [[load("closed", url, clients, seconds) for url in urls] for _ in range(rounds)]
    found = {}
    for name, work in (
        ("p50", lambda ms: float(np.quantile(ms, 0.5))),
        ("p99", lambda ms: float(np.quantile(ms, 0.99))),
        ("throughput", lambda ms: len(ms) / seconds),
    ):
        ours, empty = (float(np.median([work(pair[side]) for pair in runs])) for side in (0, 1))
        found[name] = row(name, ours, empty, GOALS[name], higher=name == "throughput")
    return list(found.values())


def cpu_by_process() -> dict[str, float]:
    """Return the seconds of CPU that the proxy and each replica have taken, by the title of the process."""
    found: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        title = " ".join(process.cmdline()).strip()
        if title.startswith(("ray::ServeReplica", "ray::ProxyActor")):
            times = process.cpu_times()
            found[title.removeprefix("ray::").removeprefix("ServeReplica:")] += times.user + times.system
    return found


def cost(url: str, clients: int, seconds: float) -> dict[str, float]:
    """Return the milliseconds of CPU that a request takes, by process."""
    before = cpu_by_process()
    answers = len(load("closed", url, clients, seconds))
    taken = {name: (end - before.get(name, 0.0)) / answers * 1000 for name, end in cpu_by_process().items()}
    return {name: round(ms, 2) for name, ms in taken.items() if ms >= 1}


def show(rows: list[dict[str, Any]], rate: float, opened: np.ndarray) -> None:
    """Print the table and the histogram."""
    print(f"\n{'':<22}{'Motet':>10}{'empty graph':>14}{'ratio':>8}{'goal':>8}")
    units = {"p50": "ms", "p99": "ms", "throughput": "requests/s"}
    for one in rows:
        what, sign = f"{one['what']} ({units[one['what']]})", ">=" if one["what"] == "throughput" else "<="
        print(f"{what:<22}{one['ours']:>10.1f}{one['against']:>14.1f}{one['ratio']:>8.2f}{sign + str(one['goal']):>8}")
    print(f"\nopen loop, {rate:.1f} requests/s, {len(opened)} answers:")
    print(
        "  " + ", ".join(f"p{q} {np.quantile(opened, q / 100):.0f} ms" for q in (50, 90, 99)),
        f"most {opened.max():.0f}",
    )
    counts = np.histogram(opened, [0, *EDGES_MS, np.inf])[0]
    for end, count in zip((*EDGES_MS, None), counts, strict=True):
        if count:
            name = f"<= {end} ms" if end else f"> {EDGES_MS[-1]} ms"
            print(f"  {name:>10} {count:>6} {'#' * round(60 * count / max(counts))}")


def main(
    work: Annotated[Path, typer.Option(help="Where the market and its workspace are kept.")] = ROOT / "workspace-bench",
    clients: Annotated[int, typer.Option(help="Clients of the closed loop.")] = 8,
    seconds: Annotated[float, typer.Option(help="Seconds of each run.")] = 15.0,
    rounds: Annotated[int, typer.Option(help="Runs of each side, in turns.")] = 3,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8090,
) -> None:
    """Measure the cost of the graph."""
    urls = start_both(make_release(work.absolute()), port)
    rows = compare(urls, clients, seconds, rounds)
    rate = 0.5 * rows[-1]["ours"]
    spent = [cost(url, clients, seconds) for url in urls]
    opened = load("open", urls[0], rate, seconds)
    show(rows, rate, opened)
    print("\nCPU of a request by process, ms (1 at least):")
    for name, found in zip(("Motet", "empty graph"), spent, strict=True):
        print(f"  {name}: " + ", ".join(f"{title} {ms:.1f}" for title, ms in found.items()))
    steady = {"rate": rate, "p50": float(np.quantile(opened, 0.5)), "p99": float(np.quantile(opened, 0.99))}
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    cpu_ms = dict(zip(("ours", "against"), spent, strict=True))
    write_json(ROOT / "bench" / "results" / "serving.json", {"rows": rows, "cpu_ms": cpu_ms, "open": steady})


if __name__ == "__main__":
    typer.run(main)
