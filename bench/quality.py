"""Recommendation quality beside other libraries, on the same rows: `python bench/quality.py [--protocol T ...]`.

Writes the split files, runs the pipeline on them, runs each peer in a virtual environment of its own (their pins
don't go together), scores all lists with the same metrics, prints one table per protocol and writes
bench/results/quality.json.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import typer  # noqa: E402

from bench import protocols  # noqa: E402
from bench.parts import parts  # noqa: E402
from bench.peers import CHOSEN  # noqa: E402
from bench.runs import CACHE, LIBRARIES, ours, peer_python, say  # noqa: E402
from motet.evaluation.page import render  # noqa: E402
from motet.evaluation.ranking_metrics import bootstrap_interval, rank_metrics  # noqa: E402
from motet.kinds.metrics import binary_metrics, regression_metrics  # noqa: E402
from motet.storage import read_json, write_atomic, write_json  # noqa: E402

RANKERS = ("popularity", "implicit", "rectools")
RATERS = ("cornac", "rechub")
GOALS = {
    "T-roll": {"ndcg": 0.22},
    "T": {"ndcg": 0.31, "hit": 0.72, "coverage": 0.10},
    "L": {"ndcg": 0.155, "hit": 0.27},
    "T-new": {"ndcg": 1.15},
    "R": {"rmse": 0.885, "like auc": 0.805, "ok accuracy": 0.858, "like ece": 0.02, "ok ece": 0.02},
    "R-time": {"rmse": 0.930, "like auc": 0.805, "like ece": 0.02, "ok ece": 0.02},
}
LOWER = ("rmse", "like ece", "ok ece")
"""Metrics that should be small."""
Row = dict[str, Any]


def ask_peer(library: str, split: Path, least: float = 0.0) -> dict[str, Any]:
    """Return what a library makes of a split file whose targets are rated at least `least`; settings go to the log."""
    target = split.with_name(f"{split.stem}-{library}.json")
    command = [peer_python(library), ROOT / "bench" / "peers.py", split, target, library, least]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=target.parent)
    if done.returncode:
        raise SystemExit(f"quality: {library} failed:\n{done.stderr[-2000:]}")
    for line in done.stderr.splitlines():
        if line.startswith(CHOSEN):
            say(f"quality: {line}")
    return dict(read_json(target))


def targets_of(log: protocols.Log, part_N: np.ndarray, liked: bool) -> dict[str, set[int]]:
    """Return the test items of each user with a history: those liked, or all."""
    known = set(log.user_N[part_N < 2])
    chosen = (part_N == 2) & ((log.rating_N >= protocols.LIKED) | (not liked))
    found: dict[str, set[int]] = {}
    for user, item in zip(log.user_N[chosen], log.item_N[chosen], strict=True):
        if user in known:
            found.setdefault(str(user), set()).add(int(item))
    return found


def score(lists: dict[str, list[str]], targets: dict[str, set[int]]) -> dict[str, np.ndarray]:
    """Return metrics per user; a user without a list misses all."""
    rows = [rank_metrics([int(item) for item in lists.get(user, [])], wanted, 10) for user, wanted in targets.items()]
    shown = {item for user in targets for item in lists.get(user, [])}
    metrics = {name: np.array([row[name] for row in rows]) for name in ("ndcg", "hit")}
    return metrics | {"coverage": np.full(1, len(shown) / 1682)}


def peers_on(
    splits: list[tuple[Path, dict[str, set[int]]]], libraries: list[str], least: float
) -> dict[str, dict[str, np.ndarray]]:
    """Return {system: {metric: values}} pooled over the splits."""
    pooled: dict[str, dict[str, list[np.ndarray]]] = {}
    for split, targets in splits:
        for library in (name for name in RANKERS if name in libraries):
            for system, lists in ask_peer(library, split, least).items():
                for metric, values in score(lists, targets).items():
                    pooled.setdefault(system, {}).setdefault(metric, []).append(values)
    return {system: {name: np.concatenate(v) for name, v in metrics.items()} for system, metrics in pooled.items()}


def figure(values: np.ndarray) -> dict[str, float]:
    """Return mean and 95 % interval."""
    low, high = bootstrap_interval(values, 42) if len(values) > 1 else (float(values[0]),) * 2
    return {"mean": float(values.mean()), "low": low, "high": high}


def table(protocol: str, systems: dict[str, dict[str, Any]], goals: dict[str, float]) -> list[Row]:
    """Print one protocol's systems, and return its rows against the best peer."""
    metrics = list(goals)
    say(f"\n{protocol:32s}" + "".join(f"{name:>24s}" for name in metrics))
    for name, found in systems.items():
        cells = ""
        for metric in metrics:
            one = found.get(metric)
            shown = "" if one is None else f"{one['mean']:.4f} [{one['low']:.3f}, {one['high']:.3f}]"
            cells += f"{shown:>24s}"
        say(f"{name:32s}{cells}")
    rows: list[Row] = []
    for metric, goal in goals.items() if "motet" in systems else ():
        lower = metric in LOWER
        mine = systems["motet"][metric]["mean"]
        others = [found[metric]["mean"] for name, found in systems.items() if name != "motet" and metric in found]
        best = (min if lower else max)(others) if others else None
        met = mine <= goal if lower else mine >= goal
        ratio = mine / best if best else None
        row = {"what": f"{protocol} {metric}", "ours": mine, "against": best, "ratio": ratio, "goal": goal, "met": met}
        rows.append(row)
        say(f"  {protocol} {metric}: {mine:.4f}, goal {goal}: {'met' if met else 'not met'}")
    return rows


def _ranking(report: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    ranking = report["ranking"]
    return int(ranking["users"]), dict(ranking["systems"]["motet"])


def _mean(reports: list[dict[str, Any]], metric: str) -> dict[str, float]:
    """Return the pooled mean of a metric over reports, each weighed by its users, and its mean interval."""
    found = [_ranking(report) for report in reports]
    users = np.array([count for count, _ in found], float)
    figures = [one[metric] if isinstance(one[metric], dict) else dict.fromkeys(("mean", "low", "high"), one[metric])
               for _, one in found]  # fmt: skip
    return {key: float(np.average([one[key] for one in figures], weights=users)) for key in ("mean", "low", "high")}


def ranking(protocol: str, work: Path, log: protocols.Log, seeds: int, libraries: list[str]) -> list[Row]:
    """Run T, T-roll or L."""
    loo = protocol == "L"
    log = protocols.with_random_ties(log) if loo else log
    whole = work / protocol / "interactions.csv"
    log.write(whole, np.zeros(len(log.user_N), int))
    ends = [1.0] if protocol != "T-roll" else [round(start + 0.1, 1) for start in protocols.WINDOWS]
    splits, reports = [], []
    for end in ends:
        part_N = protocols.leave_one_out(log) if loo else protocols.by_time(log, end)
        split = work / protocol / f"split-{end}.csv"
        log.write(split, part_N)
        splits.append((split, targets_of(log, part_N, liked=not loo)))
        for seed in range(seeds):
            settings = {"data.interactions.path": whole, "data.interactions.timestamp_unit": "ms", "seed": 42 + seed}
            if not loo:
                settings["data.split.until"] = end
            found = ours(
                "movielens_next.yaml" if loo else "movielens_time.yaml", work / protocol / "workspace", settings
            )
            users, _ = _ranking(found)
            expected = sum(len(one) > 0 for one in splits[-1][1].values())
            if users != expected:
                raise SystemExit(f"quality: {users} users were ranked and the split file has {expected}")
            reports.append(found)
            ndcg = _mean([found], "ndcg")["mean"]
            say(f"quality: {protocol}, until {end}, seed {42 + seed}: NDCG@10 {ndcg:.4f}; {found['log'][-1]}")
    systems = {"motet": {metric: _mean(reports, metric) for metric in ("ndcg", "hit", "coverage")}} if seeds else {}
    for name, metrics in peers_on(splits, libraries, 0.0 if loo else protocols.LIKED).items():
        systems[name] = {metric: figure(values) for metric, values in metrics.items()}
    if reports:
        write_page(work / protocol, protocol, reports[-1], systems)
    return table(protocol, systems, GOALS[protocol])


def write_page(folder: Path, protocol: str, report: dict[str, Any], systems: dict[str, dict[str, Any]]) -> None:
    """Write the last run's report as a page, with the other libraries on the same rows beside it."""
    about = {**report, "peers": {"k": 10, "systems": systems}}
    target = folder / f"{protocol}.html"
    write_atomic(target, render(about).encode(errors="xmlcharrefreplace"))
    say(f"quality: {protocol} as a page: {target}")


def newcomers(work: Path, log: protocols.Log, seeds: int, _: list[str]) -> list[Row]:
    """Run T for people who are new in the test part, event by event from their sixth on, against recent popularity."""
    whole = work / "T-new" / "interactions.csv"
    log.write(whole, np.zeros(len(log.user_N), int))
    ours_S, popular_S = [], []
    for seed in range(seeds):
        settings = {"data.interactions.path": whole, "data.interactions.timestamp_unit": "ms", "seed": 42 + seed}
        settings |= {"evaluate.history": "rolling", "evaluate.least_history": 5}
        found = ours("movielens_time.yaml", work / "T-new" / "workspace", settings)["ranking_new_users"]
        motet, popularity = (found["systems"][name]["ndcg"] for name in ("motet", "popularity"))
        gain = found["differences"]["popularity"]
        say(f"quality: T-new, seed {42 + seed}, {found['users']} people, {found['lists']} lists: NDCG@10 "
            f"{motet['mean']:.4f} [{motet['low']:.3f}, {motet['high']:.3f}], popularity {popularity['mean']:.4f} "
            f"[{popularity['low']:.3f}, {popularity['high']:.3f}], difference {gain['mean']:.4f} "
            f"[{gain['low']:.4f}, {gain['high']:.4f}]")  # fmt: skip
        ours_S.append(motet["mean"])
        popular_S.append(popularity["mean"])
    mine, best, goal = float(np.mean(ours_S)), float(np.mean(popular_S)), GOALS["T-new"]["ndcg"]
    met = mine / best >= goal
    say(f"  T-new: {mine / best:.3f} times popularity, goal {goal}: {'met' if met else 'not met'}")
    return [{"what": "T-new ndcg", "ours": mine, "against": best, "ratio": mine / best, "goal": goal, "met": met}]


def ratings(protocol: str, work: Path, log: protocols.Log, seeds: int, libraries: list[str]) -> list[Row]:
    """Run R on the random split, or on that by time for the rows of people with a history; calibration on all rows."""
    by_time = protocol == "R-time"
    part_N = protocols.by_time(log, 1.0) if by_time else protocols.at_random(log)
    split = work / protocol / "split.csv"
    log.write(split, part_N)
    recipe = "movielens_ratings_time.yaml" if by_time else "movielens_ratings.yaml"
    whom = ", users with a history" if by_time else ""
    judged = {
        "rmse": (f"rating{whom}", "rmse"),
        "like auc": (f"like{whom}", "auc"),
        "ok accuracy": (f"ok{whom}", "accuracy"),
        "like ece": ("like", "ece"),
        "ok ece": ("ok", "ece"),
    }
    found: dict[str, list[float]] = {name: [] for name in judged}
    for seed in range(seeds):
        settings = {"data.interactions.path": split, "data.interactions.timestamp_unit": "ms", "seed": 42 + seed}
        tasks = ours(recipe, work / protocol / "workspace", settings)["tasks"]
        for metric, (task, key) in judged.items():
            found[metric].append(float(tasks[task][key]))
        said = ", ".join(f"{name} {values[-1]:.4f}" for name, values in found.items())
        say(f"quality: {protocol}, seed {42 + seed}: {said}")
    systems: dict[str, dict[str, Any]] = {}
    if seeds:
        systems["motet"] = {
            name: {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
            for name, values in found.items()
        }
    test_N = part_N == 2
    judged_N = np.isin(log.user_N[test_N], log.user_N[part_N < 2]) if by_time else np.ones(test_N.sum(), bool)
    truth_N = log.rating_N[test_N][judged_N]
    for library in (name for name in RATERS if name in libraries):
        for name, answer in ask_peer(library, split).items():
            predicted_N = np.array(answer["predictions"])[judged_N]
            like_N = np.array(answer["like"])[judged_N] if "like" in answer else (predicted_N - 1) / 4
            like = binary_metrics((truth_N >= 4).astype(float), like_N)
            said_N = np.array(answer["ok"])[judged_N] >= 0.5 if "ok" in answer else predicted_N >= 2.5
            ok = float((said_N == (truth_N >= 3)).mean())
            rmse = regression_metrics(truth_N, predicted_N)["rmse"]
            values = {"rmse": rmse, "like auc": like["auc"], "ok accuracy": ok}
            systems[name] = {key: dict.fromkeys(("mean", "low", "high"), value) for key, value in values.items()}
    return table(protocol, systems, GOALS[protocol])


def main(
    protocol: Annotated[
        list[str] | None, typer.Option(help="T-roll, T, L, T-new, parts, R, R-time; all if not given.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of ours per split; 0: peers alone.")] = 3,
    peers: Annotated[str, typer.Option(help="Libraries, separated by commas.")] = ",".join(LIBRARIES),
    work: Annotated[Path, typer.Option(help="Folder of split files and workspaces.")] = Path("workspace-quality"),
) -> None:
    """Run the protocols and write bench/results/quality.json."""
    work = work.absolute()
    log = protocols.Log.read(CACHE / "ml-100k" / "interactions.csv")
    libraries = [name for name in peers.split(",") if name]
    runs: dict[str, Callable[[], list[Row]]] = {
        name: lambda name=name: ranking(name, work, log, seeds, libraries)
        for name in ("T-roll", "T", "L")  # type: ignore[misc]
    }
    runs["T-new"] = lambda: newcomers(work, log, seeds, libraries)
    runs["parts"] = lambda: parts(work, log, seeds)
    for name in ("R", "R-time"):
        runs[name] = lambda name=name: ratings(name, work, log, seeds, libraries)  # type: ignore[misc]
    target = ROOT / "bench" / "results" / "quality.json"
    rows = {row["what"]: row for row in (read_json(target) if target.exists() else [])}
    for name in protocol or list(runs):
        if name not in runs:
            raise SystemExit(f"quality: --protocol {name} is none; protocols: {', '.join(runs)}")
        if not seeds and name in ("T-new", "parts"):
            raise SystemExit(f"quality: --protocol {name} has no peers, so --seeds must be at least 1")
        rows |= {row["what"]: row for row in runs[name]()}
        write_json(target, list(rows.values()))


if __name__ == "__main__":
    typer.run(main)
