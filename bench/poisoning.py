"""Made-up users who push one item, and what the gate makes of it: `python bench/poisoning.py`.

MovieLens-100k with 1 % more users, whose profiles are a film that hardly anybody knows, at five stars, and 100 others
(Lam & Riedl, WWW 2004; Burke et al., 2005):

    random      any films, at about the mean of all ratings
    average     any films, each at its own mean
    bandwagon   the most watched films, at five stars

How many real users have the film among their ten before and after, with and without the recipe's defences
(`data.clean.duplicate_profiles`, `retrieval.user_cap`), what these cost where nobody attacks, and whether the gate lets
that release pass. Prints one table, and writes bench/results/poisoning.json.
"""

import csv
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import typer  # noqa: E402

from bench.runs import CACHE, say  # noqa: E402
from motet.release.bundle import read_report  # noqa: E402
from motet.release.gate import refusals  # noqa: E402
from motet.release.publish import Releases  # noqa: E402
from motet.settings import ReleaseSettings  # noqa: E402
from motet.storage import write_json  # noqa: E402

ATTACKS = ("random", "average", "bandwagon")
FILLERS = 100
"""Films in a made-up profile besides the pushed one; real users have 106 on average."""
DEFENCES = {"data.clean.duplicate_profiles": "{least_items: 20}", "retrieval.user_cap": 50}
Rows = list[dict[str, str]]


def read_log() -> Rows:
    """Return the ratings."""
    with (CACHE / "ml-100k" / "interactions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def target_of(rows: Rows, seed: int) -> str:
    """Return a film that at most three people rated, drawn at random."""
    items, counts = np.unique([row["item_id"] for row in rows], return_counts=True)
    return str(np.random.default_rng(seed).choice(items[counts <= 3]))


def profiles(rows: Rows, attack: str, target: str, users: int, seed: int) -> Rows:
    """Return the ratings of so many made-up users, at moments of real ones."""
    chance = np.random.default_rng(seed)
    items, place_N, counts = np.unique([row["item_id"] for row in rows], return_inverse=True, return_counts=True)
    ratings = np.array([float(row["rating"]) for row in rows])
    means, moments = np.bincount(place_N, ratings) / counts, np.array([row["timestamp"] for row in rows])
    known = np.argsort(-counts)[:FILLERS]
    found = []
    for number in range(users):
        chosen = known if attack == "bandwagon" else chance.choice(len(items), FILLERS, replace=False)
        if attack == "bandwagon":
            stars = np.full(FILLERS, 5.0)
        else:
            middle = means[chosen] if attack == "average" else np.full(FILLERS, ratings.mean())
            stars = np.clip(np.round(middle + chance.normal(0, 0.5, FILLERS)), 1, 5)
        start = int(chance.choice(moments))
        rated = [(str(items[place]), star) for place, star in zip(chosen, stars, strict=True) if items[place] != target]
        for step, (item, star) in enumerate([(target, 5.0), *rated]):  # the last ones are held out
            moment = str(start + 60 * step)
            row = {"user_id": f"made-up-{number}", "item_id": item, "rating": f"{star:g}", "timestamp": moment}
            found.append({name: row[name] for name in rows[0]})
    return found


def run(work: Path, name: str, rows: Rows, epochs: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of a release of these ratings, which is published whatever the gate says."""
    log, workspace = work / f"{name}.csv", work / "workspace"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    settings = {"workspace": workspace, "data.interactions.path": log, "train.epochs": epochs, "train.workers": 0,
                "evaluate.max_users": 2000, **more}  # fmt: skip
    command = [sys.executable, str(ROOT / "jobs" / "pipeline.py"), str(ROOT / "recipes" / "movielens.yaml"), "--force"]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    subprocess.run(command, check=True, capture_output=True)
    return dict(read_report(Releases(workspace).current()))


def row_of(report: dict[str, Any], clean: dict[str, Any], target: str) -> dict[str, Any]:
    """Return what came of the film, and what the gate says of the release beside that of clean data.

    A report has the 200 films that are in most lists: of one that is not there, `hit_rate` is what it is `below`.
    """
    shares = report["exposure"]["shares"]
    return {
        "hit_rate": float(shares.get(target, min(shares.values()))), "below": target not in shares,
        "ndcg": float(report["ranking"]["systems"]["motet"]["ndcg"]["mean"]),
        "left_out": report["ledger"]["interactions"]["quarantined"],
        "refused": refusals(report, clean, ReleaseSettings()),
    }  # fmt: skip


def main(
    work: Annotated[Path, typer.Option(help="Where logs and the workspace are kept.")] = ROOT / "workspace-poisoning",
    epochs: Annotated[int, typer.Option(help="Of training, in each run.")] = 2,
    share: Annotated[float, typer.Option(help="Made-up users, as a share of the real ones.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Of the film that is pushed and of the profiles.")] = 0,
) -> None:
    """Measure what each kind of profile reaches, and what the gate says of it."""
    rows = read_log()
    target, users = target_of(rows, seed), round(share * len({row["user_id"] for row in rows}))
    logs = {"clean": rows, "50 rows less": rows[:-50]}
    logs |= {attack: rows + profiles(rows, attack, target, users, seed) for attack in ATTACKS}
    say(f"film {target}, {users} made-up users of {FILLERS + 1} films each")
    say(f"{'':<14}{'defended':>9}{'left out':>10}{'in the lists of':>17}{'NDCG@10':>10}  the gate")
    results: list[dict[str, Any]] = []
    for defended in (False, True):
        clean: dict[str, Any] = {}
        for name, log in logs.items():
            place = f"{name.replace(' ', '-')}{'-defended' if defended else ''}"
            report = run(work, place, log, epochs, DEFENCES if defended else {})
            clean = clean or report
            results.append(row := row_of(report, clean, target) | {"data": name, "defended": defended})
            reached = f"{'< ' if row['below'] else ''}{row['hit_rate']:.1%}"
            figures = f"{row['left_out']:>10}{reached:>17}{row['ndcg']:>10.4f}"
            say(f"{name:<14}{'yes' if defended else '':>9}{figures}  {'; '.join(row['refused']) or 'lets it pass'}")
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    write_json(ROOT / "bench" / "results" / "poisoning.json", {"target": target, "users": users, "rows": results})


if __name__ == "__main__":
    typer.run(main)
