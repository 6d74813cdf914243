"""Records as a table: one row a request, its candidates a list of structs. One schema for all recipes.

`scores` and `sources` name what stands in the lists `raw`, `calibrated` and `listed` of each candidate.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from motet.recommend.query import Query
from motet.records.record import Record, query_from_json, query_to_json
from motet.storage import write_file_atomic

_FLOATS = pa.list_(pa.float32())
CANDIDATE = pa.struct(
    [
        ("item", pa.string()), ("fused", pa.float32()), ("value", pa.float32()), ("position", pa.int16()),
        ("propensity", pa.float64()), ("explored", pa.bool_()), ("listed", _FLOATS), ("raw", _FLOATS),
        ("calibrated", _FLOATS),
    ]
)  # fmt: skip
"""A candidate; `position` and `propensity` are null if it was not shown, a number of `listed` if the source did not."""
_ROW: dict[str, tuple[pa.DataType, Callable[[Record], Any]]] = {
    "request_id": (pa.string(), lambda one: one.request_id),
    "release": (pa.string(), lambda one: one.release),
    "moment": (pa.timestamp("ms", "UTC"), lambda one: one.moment_ms),
    "user": (pa.string(), lambda one: one.query.user),
    "surface": (pa.string(), lambda one: one.surface),
    "level": (pa.string(), lambda one: one.level),
    "recognised": (pa.string(), lambda one: one.recognised),
    "k": (pa.int32(), lambda one: one.query.k),
    "history": (pa.list_(pa.string()), lambda one: one.query.history),
    "query": (pa.string(), lambda one: query_to_json(one.query)),
    "has_text": (pa.bool_(), lambda one: one.query.text is not None),
    "known_to": (pa.string(), lambda one: one.known_to),
    "items_to": (pa.string(), lambda one: one.items_to),
    "sources": (pa.list_(pa.string()), lambda one: one.sources),
    "scores": (pa.list_(pa.string()), lambda one: one.names),
}
_INSIDE = "candidates.list.element."
_SPLIT = [f"{_INSIDE}{name}" for name in ("fused", "value")]
_SPLIT += [f"{_INSIDE}{name}.list.element" for name in ("listed", "raw", "calibrated")]
"""Floats whose bytes are put first with first, which makes files 40 % smaller and three times faster to write."""
_REPEATED = [name for name in _ROW if name not in ("request_id", "moment")]
_REPEATED += [f"{name}.list.element" for name in ("sources", "scores", "history")]
_REPEATED += [f"{_INSIDE}{name}" for name in ("item", "position", "explored")]
SCHEMA = pa.schema([*((name, kind) for name, (kind, _) in _ROW.items()), ("candidates", pa.list_(CANDIDATE))])


def to_table(records: Sequence[Record], ids_of: Callable[[str], pa.Array]) -> pa.Table:
    """Return records as a table.

    Args:
        records: N of them.
        ids_of: gives the item ids by place of a release.
    """
    columns = {name: pa.array([value(one) for one in records], kind) for name, (kind, value) in _ROW.items()}
    offsets = np.append(0, np.cumsum([len(one.places_C) for one in records])).astype(np.int32)
    columns["candidates"] = pa.ListArray.from_arrays(pa.array(offsets), _candidates(records, ids_of))
    return pa.table(columns, schema=SCHEMA)


def _candidates(records: Sequence[Record], ids_of: Callable[[str], pa.Array]) -> pa.Array:
    position_N = np.concatenate([one.position_C for one in records])
    arrays = {
        "item": pa.concat_arrays([ids_of(one.release).take(pa.array(one.places_C)) for one in records]),
        "fused": _numbers([one.fused_C for one in records], np.float32),
        "value": _numbers([one.values_C for one in records], np.float32),
        "position": pa.array(position_N, pa.int16(), mask=position_N == 0),
        "propensity": _numbers([one.propensity_C for one in records], np.float64),
        "explored": pa.array(np.concatenate([one.drawn_C for one in records])),
        "listed": _lists([one.sources_CS for one in records]),
        "raw": _lists([one.raw_CT for one in records]),
        "calibrated": _lists([one.scores_CT for one in records]),
    }
    return pa.StructArray.from_arrays(list(arrays.values()), fields=list(CANDIDATE))


def _numbers(parts: list[np.ndarray], kind: Any) -> pa.Array:
    return pa.array(np.concatenate(parts).astype(kind), from_pandas=True)


def _lists(parts: list[np.ndarray]) -> pa.Array:
    """Return the rows of matrices [C, W], whose widths may differ, as lists."""
    widths_N = np.concatenate([np.full(len(one), one.shape[1]) for one in parts])
    offsets = np.append(0, np.cumsum(widths_N)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), _numbers([one.reshape(-1) for one in parts], np.float32))


def write_table(path: Path | pa.NativeFile, table: pa.Table) -> None:
    """Write records as parquet; a file is there whole or not at all."""
    layout = {"use_byte_stream_split": _SPLIT, "use_dictionary": _REPEATED}
    write = partial(pq.write_table, table, compression="zstd", write_page_checksum=True, **layout)
    if isinstance(path, Path):
        write_file_atomic(path, write)
    else:
        write(path)


def to_query(row: dict[str, Any]) -> Query:
    """Return the query of a row; its text, which is not kept, is missing."""
    return Query(
        user=row["user"],
        history=tuple(row["history"]) if row["history"] is not None else None,
        surface=row["surface"],
        k=row["k"],
        request=row["request_id"],
        recorded=True,
        **query_from_json(row["query"]),
    )


def to_record(row: dict[str, Any], places: Callable[[list[str]], np.ndarray]) -> Record:
    """Return the record of a row.

    Args:
        row: from `Table.to_pylist`.
        places: of items in the catalogue of the row's release.
    """
    found = row["candidates"]
    moment_ms = round(row["moment"].timestamp() * 1000)
    return Record(
        row["request_id"], row["release"], moment_ms, to_query(row), row["surface"], row["level"], row["recognised"],
        row["known_to"], row["items_to"], tuple(row["sources"]), tuple(row["scores"]),
        places_C=places([one["item"] for one in found]),
        fused_C=_column(found, "fused"),
        sources_CS=_matrix(found, "listed", len(row["sources"])),
        raw_CT=_matrix(found, "raw", len(row["scores"])),
        scores_CT=_matrix(found, "calibrated", len(row["scores"])),
        values_C=_column(found, "value"),
        position_C=np.array([one["position"] or 0 for one in found], np.int16),
        propensity_C=np.array([one["propensity"] for one in found], np.float64),
        drawn_C=np.array([one["explored"] for one in found], bool),
    )  # fmt: skip


def _column(found: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([one[name] for one in found], np.float32)


def _matrix(found: list[dict[str, Any]], name: str, width: int) -> np.ndarray:
    return np.array([one[name] for one in found], np.float32).reshape(len(found), width)
