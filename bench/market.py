"""A synthetic market with a known taste, of any size: users and items have latent factors, popularity follows Zipf.

A user's events are drawn without replacement with the odds exp(affinity + log popularity) (Gumbel top-k), in sessions;
ratings follow the affinity, purchases are the upper tail of it. The same seed gives the same tables.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

FACTORS, CATEGORIES, DAY_S = 8, 20, 86_400
_WORDS = [
    "amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "haven", "ivory", "jetty", "karma", "lotus",
    "maple", "north", "ocean", "pearl", "quartz", "river", "sable", "tulip", "umber", "velvet", "willow", "xenon",
    "yarrow", "zephyr", "copper", "linen", "marble", "cobalt",
]  # fmt: skip


@dataclass(frozen=True)
class Market:
    """Sizes of a market."""

    users: int
    items: int
    events: int
    """Events of each user."""
    seed: int = 1


def write_market(folder: Path, market: Market) -> None:
    """Write events.parquet, items.parquet and users.parquet."""
    random = np.random.default_rng(market.seed)
    folder.mkdir(parents=True, exist_ok=True)
    category_I = random.integers(0, CATEGORIES, market.items)
    centres = random.normal(size=(CATEGORIES, FACTORS))
    items_IF = centres[category_I] + 0.5 * random.normal(size=(market.items, FACTORS))
    popularity_I = -1.0 * np.log(1 + random.permutation(market.items))
    pq.write_table(_items(random, category_I), folder / "items.parquet")
    users = {"user_id": [f"u{n}" for n in range(market.users)], "age": random.integers(16, 80, market.users)}
    pq.write_table(pa.table(users), folder / "users.parquet")
    parts = [_events_of(random, user, items_IF, popularity_I, market) for user in range(market.users)]
    pq.write_table(pa.concat_tables(parts), folder / "events.parquet")


def _items(random: np.random.Generator, category_I: np.ndarray) -> pa.Table:
    titles = [" ".join((*random.choice(_WORDS, 3), str(place))) for place in range(len(category_I))]
    return pa.table(
        {
            "item_id": [f"i{place}" for place in range(len(category_I))],
            "title": titles,
            "category": [f"{_WORDS[category]} goods" for category in category_I],
            "price": np.round(random.gamma(2.0, 10.0, len(category_I)), 2),
        }
    )


def _events_of(
    random: np.random.Generator, user: int, items_IF: np.ndarray, popularity_I: np.ndarray, market: Market
) -> pa.Table:
    affinity_I = items_IF @ random.normal(size=FACTORS) / np.sqrt(FACTORS)
    noisy_I = affinity_I + popularity_I + random.gumbel(size=market.items)
    chosen_N = np.argpartition(-noisy_I, market.events)[: market.events]
    affinity_N = affinity_I[chosen_N] + 0.5 * random.normal(size=market.events)
    moments_N = 1_600_000_000 + np.sort(random.integers(0, 365, market.events)) * DAY_S
    moments_N = moments_N + np.arange(market.events) * 60 + random.integers(0, 60)
    return pa.table(
        {
            "user_id": pa.array([f"u{user}"] * market.events),
            "item_id": pa.array([f"i{place}" for place in chosen_N]),
            "rating": np.clip(np.round(3 + affinity_N), 1, 5).astype(np.int64),
            "bought": (affinity_N > 1.5).astype(np.int64),
            "timestamp": moments_N.astype(np.int64),
        }
    )


def market_recipe(folder: Path, workspace: Path, encoder: str, **sections: Any) -> Path:
    """Write a recipe of four tasks over the tables; return its path.

    Args:
        folder: where the tables are.
        workspace: where the pipeline writes.
        encoder: folder of the language model.
        sections: replace or add top-level sections.
    """
    recipe = {
        "name": "market",
        "workspace": str(workspace),
        "data": {
            "interactions": {"path": str(folder / "events.parquet"), "ranges": {"rating": {"min": 1, "max": 5}}},
            "items": {
                "path": str(folder / "items.parquet"), "text": ["title", "category"], "categories": ["category"],
                "numbers": ["price"],
            },
            "users": {"path": str(folder / "users.parquet"), "numbers": ["age"]},
        },
        "tasks": [
            {"name": "next", "kind": "retrieval"},
            {"name": "like", "kind": "binary", "label": "rating >= 4"},
            {"name": "rating", "kind": "regression", "label": "rating"},
            {"name": "buy", "kind": "binary", "label": "bought == 1"},
        ],
        "encoder": {"model": encoder},
        "surfaces": {"home": {"weights": {"next": 1.0, "like": 0.2, "buy": 0.2}}},
        **sections,
    }  # fmt: skip
    path = folder / "market.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path
