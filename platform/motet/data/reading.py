"""Read parquet, csv and JSON lines, row by row traceable, and without trusting a single row.

A table is a list of splits; a split is what one task reads. Every batch carries `_file`, `_row`
(its place in the file, from 0) and `_problem` (why the row could not even be read, or null). Each
split ends with one extra row whose `_problem` is `#count` and whose `_row` is the number of rows that
were read: the ledger's own witness, that travels with the rows.

Values come as they are in parquet, and as text from csv and JSON lines, since a column's type must
not depend on a bad row. A missing or empty value is null.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from motet.data_settings import Table
from motet.errors import DataError
from motet.storage import open_filesystem

COUNT = "#count"
_ENDINGS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class Split:
    """What one task reads: a file, or some row groups of a parquet file."""

    path: str
    format: str
    separator: str = ","
    first_row: int = 0
    row_groups: tuple[int, ...] = ()


def list_files(table: Table) -> list[str]:
    """Return the table's files in sorted order.

    Raises:
        DataError: if there is none.
    """
    filesystem, inner = open_filesystem(table.path)
    try:
        info = filesystem.get_file_info(inner)
    except OSError as error:
        raise DataError(f"{table.path} cannot be reached ({error})") from error
    if info.type == pafs.FileType.File:
        return [table.path]
    prefix = "s3://" if table.path.startswith("s3://") else ""
    if info.type == pafs.FileType.Directory:
        files = filesystem.get_file_info(pafs.FileSelector(inner, recursive=True))
    elif "*" in PurePosixPath(inner).name:
        parent = filesystem.get_file_info(pafs.FileSelector(str(PurePosixPath(inner).parent), allow_not_found=True))
        files = [file for file in parent if PurePosixPath(file.path).match(PurePosixPath(inner).name)]
    else:
        raise DataError(f"{table.path}: no such file or folder")
    paths = sorted(f.path for f in files if f.type == pafs.FileType.File and not f.base_name.startswith(("_", ".")))
    if not paths:
        raise DataError(f"{table.path} holds no file; put parquet, csv or jsonl files there")
    return [prefix + path for path in paths]


def file_format(path: str, declared: str) -> str:
    """Return parquet, csv or jsonl.

    Raises:
        DataError: if the ending tells nothing and the recipe says auto.
    """
    if declared != "auto":
        return declared
    ending = PurePosixPath(path).suffix.lower()
    if ending not in _ENDINGS:
        raise DataError(f"{path}: the ending {ending!r} is not known; set `format` to parquet, csv or jsonl")
    return _ENDINGS[ending]


def list_splits(table: Table, rows_per_split: int = 500_000) -> list[Split]:
    """Divide a table into splits, reading the footers of parquet files.

    Raises:
        DataError: if a file is missing, truncated or of an unknown format.
    """
    splits: list[Split] = []
    for path in list_files(table):
        kind = file_format(path, table.format)
        if kind == "parquet":
            splits += _parquet_splits(path, rows_per_split)
        else:
            splits.append(Split(path, kind, table.separator))
    return splits


def _parquet_splits(path: str, rows_per_split: int) -> Iterator[Split]:
    metadata = _open_parquet(path).metadata
    groups: list[int] = []
    first, rows = 0, 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= rows_per_split or group == metadata.num_row_groups - 1:
            yield Split(path, "parquet", first_row=first, row_groups=tuple(groups))
            first, rows, groups = first + rows, 0, []


def _open_parquet(path: str) -> pq.ParquetFile:
    filesystem, inner = open_filesystem(path)
    try:
        return pq.ParquetFile(inner, filesystem=filesystem, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a whole parquet file ({reason}); write it again") from error


def column_names(table: Table) -> list[str]:
    """Return the columns of a table's first file (of JSON lines: of its first 100 lines).

    Raises:
        DataError: if the file cannot be read.
    """
    path = list_files(table)[0]
    kind = file_format(path, table.format)
    if kind == "parquet":
        return list(_open_parquet(path).schema_arrow.names)
    filesystem, inner = open_filesystem(path)
    with filesystem.open_input_stream(inner) as stream:
        head = stream.read(1 << 20).decode("utf-8", errors="replace").splitlines()
    if kind == "csv":
        return _csv_header(head, path, table.separator)
    names: dict[str, None] = {}
    for line in head[:100]:
        names.update(dict.fromkeys(_json_object(line)[0] or {}))
    return list(names)


def _csv_header(head: list[str], path: str, separator: str) -> list[str]:
    if not head:
        raise DataError(f"{path} is empty; a csv file starts with a line of column names")
    import csv

    return next(csv.reader([head[0].removeprefix("\ufeff")], delimiter=separator))


def read_split(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[pa.Table]:
    """Yield the batches of a split, and last its `#count` row.

    Args:
        split: from `list_splits`.
        columns: the columns wanted; one that the file lacks comes as nulls.
        batch_rows: rows per batch.
    """
    readers = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_jsonl}
    row, schema = split.first_row, None
    for table, problems in readers[split.format](split, columns, batch_rows):
        count = table.num_rows
        table = table.append_column("_file", pa.array([split.path] * count, pa.string()))
        table = table.append_column("_row", pa.array(range(row, row + count), pa.int64()))
        table = table.append_column("_problem", pa.array(problems, pa.string()))
        schema = table.schema
        row += count
        yield table
    yield _count_row(split, row - split.first_row, columns, schema)


def _count_row(split: Split, rows: int, columns: tuple[str, ...], schema: pa.Schema | None) -> pa.Table:
    values = {**dict.fromkeys(columns), "_file": split.path, "_row": rows, "_problem": COUNT}
    if schema is None:
        types = [(name, pa.string()) for name in columns]
        schema = pa.schema([*types, ("_file", pa.string()), ("_row", pa.int64()), ("_problem", pa.string())])
    return pa.Table.from_pylist([values], schema=schema)


def _read_parquet(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[tuple[pa.Table, list[None]]]:
    file = _open_parquet(split.path)
    present = [name for name in columns if name in file.schema_arrow.names]
    try:
        for batch in file.iter_batches(batch_rows, row_groups=list(split.row_groups), columns=present):
            table = pa.Table.from_batches([batch])
            for name in columns:
                if name not in present:
                    table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
            yield table.select(list(columns)), [None] * table.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{split.path} is damaged ({str(error).splitlines()[0]}); write it again") from error


def _read_csv(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[tuple[pa.Table, list[str | None]]]:
    filesystem, inner = open_filesystem(split.path)
    with filesystem.open_input_stream(inner) as stream:
        head = stream.read(1 << 20).decode("utf-8", errors="replace").splitlines()
    names = _csv_header(head, split.path, split.separator)
    invalid: list[tuple[str, str]] = []

    def keep_invalid(row: Any) -> str:
        invalid.append((row.text, f"row has {row.actual_columns} columns, expected {row.expected_columns}"))
        return "skip"

    with filesystem.open_input_stream(inner) as stream:
        reader = pacsv.open_csv(
            stream,
            pacsv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows=1),
            pacsv.ParseOptions(delimiter=split.separator, invalid_row_handler=keep_invalid, newlines_in_values=True),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), include_columns=names),
        )
        for batch in reader:
            for start in range(0, batch.num_rows, batch_rows):
                yield _decode(pa.Table.from_batches([batch.slice(start, batch_rows)]), columns)
    if invalid:
        rows = [{columns[0]: text[:2000]} for text, _ in invalid]
        table = pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in columns]))
        yield table, [problem for _, problem in invalid]


def _decode(table: pa.Table, columns: tuple[str, ...]) -> tuple[pa.Table, list[str | None]]:
    """Turn bytes into text, empty text into null, and name the rows that are not UTF-8."""
    problems: list[str | None] = [None] * table.num_rows
    decoded = []
    for name in columns:
        if name not in table.column_names:
            decoded.append(pa.nulls(table.num_rows, pa.string()))
            continue
        try:
            text = pc.cast(table.column(name), pa.string()).combine_chunks()
        except pa.ArrowInvalid:
            text = _decode_rows(table.column(name), name, problems)
        decoded.append(pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text))
    return pa.table(decoded, names=list(columns)), problems


def _decode_rows(column: pa.ChunkedArray, name: str, problems: list[str | None]) -> pa.Array:
    texts: list[str | None] = []
    for row, value in enumerate(column.to_pylist()):
        try:
            texts.append(value.decode("utf-8") if value is not None else None)
        except UnicodeDecodeError:
            texts.append(value.decode("utf-8", errors="replace"))
            problems[row] = f"{name} is not UTF-8"
    return pa.array(texts, pa.string())


def _read_jsonl(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[tuple[pa.Table, list[str | None]]]:
    filesystem, inner = open_filesystem(split.path)
    rows: list[dict[str, Any]] = []
    problems: list[str | None] = []
    with filesystem.open_input_file(inner) as file:
        for line in file:
            if not line.strip():
                continue
            row, problem = _json_object(line)
            rows.append(row if row is not None else {columns[0]: line[:2000].decode("utf-8", errors="replace")})
            problems.append(problem)
            if len(rows) == batch_rows:
                yield _json_table(rows, columns, problems), problems
                rows, problems = [], []
    if rows:
        yield _json_table(rows, columns, problems), problems


def _json_object(line: bytes | str) -> tuple[dict[str, Any] | None, str | None]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None, "line is not JSON"
    return (row, None) if isinstance(row, dict) else (None, "line is not a JSON object")


def _json_table(rows: list[dict[str, Any]], columns: tuple[str, ...], problems: list[str | None]) -> pa.Table:
    arrays = []
    for name in columns:
        has_list = any(isinstance(row.get(name), list) for row in rows)
        kind = pa.list_(pa.string()) if has_list else pa.string()
        values: list[Any] = []
        for number, row in enumerate(rows):
            try:
                values.append(_json_value(row.get(name), has_list))
            except ValueError as error:
                values.append(None)
                problems[number] = problems[number] or f"{name} {error}"
        arrays.append(pa.array(values, kind))
    return pa.table(arrays, names=list(columns))


def _json_value(value: Any, as_list: bool) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return [text for inner in value if (text := _json_value(inner, False)) is not None]
    if isinstance(value, dict):
        raise ValueError("is an object, not a value")  # noqa: TRY004
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("has a lone surrogate") from error
    return [text] if as_list else text
