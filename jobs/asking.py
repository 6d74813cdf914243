"""Held-out users on Ray's workers: which they are, their rows, and the three steps loaded once per process."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from jobs.tables import over_files
from motet.data.hashing import mix, text_hash
from motet.data.parquet import read_parquet
from motet.mirror import at_hand, names_in
from motet.storage import read_json

_USERS_PER_TASK = 500


def held_out_users(histories: Path, part: int, most: int, seed: int) -> ray.data.Dataset:
    """Return rows {file, users}, one per task, of the users with events in a part.

    Above `most` users it is a seeded sample: those of lowest hash, whatever shard they are in.
    """
    files = names_in(histories)
    found = list(over_files(files, partial(_users_in, part=part, most=most, seed=seed)))
    order_N = np.concatenate([np.frombuffer(row["order"], np.uint64) for row in found])
    limit = np.sort(order_N)[most - 1] if len(order_N) > most else None
    chunks = []
    for row in found:
        kept = [
            u for u, o in zip(row["users"], np.frombuffer(row["order"], np.uint64), strict=True) if _within(o, limit)
        ]
        for start in range(0, len(kept), _USERS_PER_TASK):
            chunks.append({"file": row["file"], "users": kept[start : start + _USERS_PER_TASK]})
    return ray.data.from_items(chunks, override_num_blocks=len(chunks)) if chunks else ray.data.from_items([])


def _within(order: np.uint64, limit: np.uint64 | None) -> bool:
    return limit is None or bool(order <= limit)


def _users_in(table: pa.Table, part: int, most: int, seed: int) -> pa.Table:
    rows = zip(table.column("user").to_pylist(), table.column("parts").to_pylist(), strict=True)
    users = pa.array([user for user, parts in rows if part in parts], pa.string())
    order_N = mix(text_hash(users) ^ mix(np.array([seed], np.uint64)))
    first = np.sort(np.argsort(order_N, kind="stable")[:most])
    return pa.table({"users": [users.take(pa.array(first)).to_pylist()], "order": [order_N[first].tobytes()]})


def asked_at(prepared: Path, part: int) -> int | None:
    """Return the moment at which users of a part ask: its beginning under a split by time, else their own."""
    boundaries = read_json(prepared / "features.json")["boundaries"]
    return int(boundaries[part - 1]) if boundaries else None


@lru_cache(maxsize=2)
def load_recommender(folder: str, fitted: str | None = None, network: str = "") -> Any:
    """Load the three steps once per worker process, on one torch thread.

    Args:
        folder: a bundle or a draft.
        fitted: of sources as of another moment.
        network: which one is in the folder now, if it changes there; another one is loaded anew.
    """
    from motet.recommend import Recommender

    at_fit = at_hand(Path(fitted)) if fitted else None
    return Recommender(at_hand(Path(folder)), threads=1, fitted=at_fit)


def held_out_rows(
    file: str, users: list[str], part: int, liked: str | None, known: str = "parts", asked_ms: int | None = None,
    least: int = 0,
) -> list[Any]:  # fmt: skip
    """Return the held-out rows of some users of one shard."""
    from motet.evaluation.held_out import held_out

    table = read_parquet(Path(file))
    table = table.filter(pc.is_in(table.column("user"), value_set=pa.array(users)))
    return held_out(table, part, liked, known, asked_ms, least)
