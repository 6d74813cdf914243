"""Held-out users on Ray's workers: who they are, their rows, and the three steps loaded once per process."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from jobs.tables import over_files
from motet.data.parquet import read_parquet
from motet.recipe import Recipe

_USERS_PER_TASK = 500


def user_chunks(users: list[str]) -> ray.data.Dataset:
    """Return a dataset of rows {users}, one per task."""
    chunks = [{"users": users[start : start + _USERS_PER_TASK]} for start in range(0, len(users), _USERS_PER_TASK)]
    return ray.data.from_items(chunks, override_num_blocks=max(1, len(chunks)))


def sample_users(prepared: Path, part: int, recipe: Recipe, most: int) -> list[str]:
    """Return the users with events in a part, or a seeded sample of `most` of them."""
    names: list[str] = []
    for row in over_files(sorted((prepared / "histories").glob("*.parquet")), partial(_users_in, part=part)):
        names += row["users"]
    if len(names) > most:
        names = np.random.default_rng(recipe.seed).choice(np.array(sorted(names)), most, replace=False).tolist()
    return sorted(names)


def _users_in(table: pa.Table, part: int) -> pa.Table:
    rows = zip(table.column("user").to_pylist(), table.column("parts").to_pylist(), strict=True)
    return pa.table({"users": pa.array([[user for user, parts in rows if part in parts]], pa.list_(pa.string()))})


@cache
def load_recommender(folder: str) -> Any:
    """Load the three steps once per worker process, on one torch thread."""
    from motet.recommend import Recommender

    return Recommender(Path(folder), threads=1)


def held_out_rows(prepared: str, users: list[str], part: int, liked: str | None) -> list[Any]:
    """Return the held-out rows of some users."""
    from motet.evaluation.held_out import held_out

    table = read_parquet(Path(prepared) / "histories")
    chosen = table.filter(pc.is_in(table.column("user"), value_set=pa.array(users)))
    return held_out(chosen, part, liked)


def users_with(prepared: Path, part: int, recipe: Recipe) -> list[str]:
    """Return the users to evaluate on a part, at most `evaluate.max_users`."""
    return sample_users(prepared, part, recipe, recipe.evaluate.max_users)
