"""Records as the Gateway makes them, without a graph."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from motet.data.parquet import write_parquet
from motet.recommend import Query, Recommender
from motet.records.record import Record, candidate_arrays
from motet.records.table import to_table


def record(recommender: Recommender, query: Query, name: str, release: str = "r1", moment_ms: int = 1_700_000_000_000):
    """The record of an answer at level full."""
    query = replace(query, request=name, recorded=True)
    user = recommender.embedder.run([query])[0]
    candidates = recommender.retriever.run(user, query)
    ranked = recommender.reranker.rank(user, candidates, query)
    surface = query.surface or next(iter(recommender.reranker.recipe.surfaces))
    return Record(
        name, release, moment_ms, query, surface, "full", user.level, user.known_to,
        **candidate_arrays(candidates, ranked.numbers),
    )  # fmt: skip


def ids_of(recommender: Recommender):
    ids = pa.array(recommender.reranker.items.ids, pa.string())
    return lambda release: ids


def write_records(folder: Path, recommender: Recommender, records: list[Record], name: str = "a") -> None:
    write_parquet(folder / f"{name}.parquet", to_table(records, ids_of(recommender)))
