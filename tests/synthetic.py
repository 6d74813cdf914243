"""A small shop with a known taste: even users like even films, odd users odd ones."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

USERS, ITEMS = 40, 30
GENRES = ("comedy", "drama", "crime")


def events(seed: int = 1) -> list[dict[str, Any]]:
    """20 events for each of 40 users: most of the user's own parity, rated high; a few of the other, rated low."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        own = random.permutation([item for item in range(ITEMS) if item % 2 == user % 2])[:14]
        other = random.permutation([item for item in range(ITEMS) if item % 2 != user % 2])[:6]
        for step, item in enumerate(random.permutation(np.concatenate([own, other]))):
            good = item % 2 == user % 2
            rating = int(random.integers(4, 6) if good else random.integers(1, 4))
            moment = 1_600_000_000 + 86_400 * step + user
            rows.append({"user_id": f"u{user}", "item_id": f"i{item}", "rating": rating, "timestamp": moment})
    return rows


def items() -> list[dict[str, Any]]:
    """30 films."""
    return [
        {
            "item_id": f"i{n}",
            "title": f"{'Even' if n % 2 == 0 else 'Odd'} film number {n}",
            "genres": "|".join(sorted({GENRES[n % 3], GENRES[n % 2]})),
            "year": 1990 + n,
        }
        for n in range(ITEMS)
    ]


def users() -> list[dict[str, Any]]:
    """40 people."""
    return [{"user_id": f"u{n}", "gender": "MF"[n % 2], "age": 20 + n} for n in range(USERS)]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe(folder: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """A recipe over the shop's csv files in `folder`; `changes` replace top-level sections."""
    return {
        "name": "shop",
        "workspace": str(folder / "workspace"),
        "data": {
            "interactions": {"path": str(folder / "events.csv"), "ranges": {"rating": {"min": 1, "max": 5}}},
            "items": {
                "path": str(folder / "items.csv"),
                "text": ["title", "genres"],
                "categories": ["genres"],
                "numbers": ["year"],
                "multi": {"genres": "|"},
            },
            "users": {
                "path": str(folder / "users.csv"),
                "text": ["gender"],
                "categories": ["gender"],
                "numbers": ["age"],
            },
            "split": {"kind": "leave_one_out"},
        },
        "tasks": [
            {"name": "watch", "kind": "retrieval"},
            {"name": "like", "kind": "binary", "label": "rating >= 4"},
            {"name": "rating", "kind": "regression", "label": "rating"},
        ],
        "encoder": {"model": str(model), "max_tokens": 16, "num_cpus": 0.5},
        "model": {"dim": 16, "history": 10, "layers": 1, "num_experts": 2, "expert_dim": 16, "dropout": 0.0},
        "train": {
            "workers": 0,
            "epochs": 20,
            "patience": 20,
            "batch_size": 16,
            "learning_rate": 0.01,
            "warmup_steps": 2,
        },
        "retrieval": {"candidates": 30, "neighbours": 20},
        "surfaces": {
            "home": {"weights": {"watch": 1.0, "like": 0.1}},
            "comedy": {"weights": {"like": 1.0}, "filters": {"genres": "comedy"}},
        },
        "release": {"max_below_popularity": 1.0},  # a few epochs over a few people
        "serve": {"deadline_ms": 20_000},  # what is tested with it is not how fast a busy machine is
        "resources": {"num_cpus": 2, "object_store_mb": 200},
        **changes,
    }


def write_shop(folder: Path, model: Path, **changes: Any) -> Path:
    """Write the shop's tables and recipe into a folder; return the recipe's file."""
    write_csv(folder / "events.csv", events())
    write_csv(folder / "items.csv", items())
    write_csv(folder / "users.csv", users())
    return write_recipe(folder / "shop.yaml", recipe(folder, model, **changes))


def write_recipe(path: Path, content: dict[str, Any]) -> Path:
    """Write a recipe."""
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
