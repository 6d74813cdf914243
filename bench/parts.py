"""What ids and contents of items are each worth: leave one out, with a tenth of the items unseen before the test.

Each variant reads items by ids and contents, by ids alone or by contents alone, in the item tower and in the sources.
All order all items for everybody, and the unseen ones alone for those whose next item is one of them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bench import protocols
from bench.runs import ours, say

CROWD = ("item_knn", "user_knn", "transitions", "ease")
POPULAR = ("popularity", "popularity_all")
PARTS = {
    "both": ("vectors", *CROWD, "profile", *POPULAR),
    "ids": ("vectors", *CROWD, *POPULAR),
    "contents": ("vectors", "profile", *POPULAR),
}
"""Sources by what the item tower reads: the crowd knows items by their ids, `profile` by their contents."""


def _measured(report: dict[str, Any]) -> dict[str, float]:
    every, new = (report[name]["systems"] for name in ("ranking", "ranking_cold_items"))
    columns = {
        "fused, all": every["motet"],
        "tower, all": every["vectors"],
        "fused, new": new["motet"],
        "popular, new": new["popularity"],
        "random, new": new["random"],
    }
    return {name: float(one["ndcg"]["mean"]) for name, one in columns.items()}


def parts(work: Path, log: protocols.Log, seeds: int) -> list[dict[str, Any]]:
    """Print the table of all variants, and return the rows of two goals."""
    whole = work / "parts" / "interactions.csv"
    log = protocols.with_random_ties(log)
    log.write(whole, np.zeros(len(log.user_N), int))
    means: dict[str, dict[str, float]] = {}
    for what, sources in PARTS.items():
        found = []
        for seed in range(42, 42 + seeds):
            settings: dict[str, Any] = {"data.interactions.path": whole, "data.interactions.timestamp_unit": "ms"}
            settings |= {"data.split.unseen_items": 0.1, "evaluate.cold_events": 0, "seed": seed}
            settings |= {"model.item_parts": what, "retrieval.sources": f"[{', '.join(sources)}]"}
            report = ours("movielens_next.yaml", work / "parts" / "workspace", settings)
            found.append(_measured(report))
            new = report["ranking_cold_items"]
            gains = {name: new["differences"][name] for name in ("random", "popularity")}
            said = (f"{name} by {g['mean']:.4f} [{g['low']:.4f}, {g['high']:.4f}]" for name, g in gains.items())
            say(f"quality: parts, {what}, seed {seed}, {new['users']} people took a new item: above {', '.join(said)}")
        means[what] = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    columns = list(means["both"])
    say(f"\n{'NDCG@10':12s}" + "".join(f"{name:>14s}" for name in columns))
    for what, row in means.items():
        say(f"{what:12s}" + "".join(f"{row[name]:>14.4f}" for name in columns))
    both, alone = means["both"], max(means[what]["fused, all"] for what in ("ids", "contents"))
    goals = [
        ("parts, all against the better of ids and contents", both["fused, all"], alone, 1.0),
        ("parts, new items against random", both["fused, new"], both["random, new"], 3.0),
    ]
    for what, mine, other, goal in goals:
        say(f"  {what}: {mine / other:.2f} times, goal {goal}: {'met' if mine >= goal * other else 'not met'}")
    return [
        {"what": what, "ours": mine, "against": other, "ratio": mine / other, "goal": goal, "met": mine >= goal * other}
        for what, mine, other, goal in goals
    ]
