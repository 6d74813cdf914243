"""Records as the Gateway makes them, without a graph."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from motet.recommend import Query, Recommender
from motet.records.record import Record
from motet.records.replay import record_of
from motet.records.table import to_table, write_table


def record(recommender: Recommender, query: Query, name: str, release: str = "r1") -> Record:
    """The record of an answer at level full."""
    return record_of(recommender, replace(query, request=name), release, 1_700_000_000_000)


def ids_of(recommender: Recommender):
    ids = pa.array(recommender.reranker.items.ids, pa.string())
    return lambda release: ids


def rows_of(recommender: Recommender, records: list[Record]) -> list[dict]:
    return to_table(records, ids_of(recommender)).to_pylist()


def write_records(folder: Path, recommender: Recommender, records: list[Record], name: str = "a") -> None:
    write_table(folder / f"{name}.parquet", to_table(records, ids_of(recommender)))
