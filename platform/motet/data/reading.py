"""Read parquet, csv and JSON lines, row by row traceable, and without trusting a single row.

A table is a list of splits; a split is what one task reads. Every batch carries `_file`, `_row`
(its place in the file, from 0) and `_problem` (why the row could not even be read, or null). Each
split ends with one extra row whose `_problem` is `#count` and whose `_row` is the number of rows that
were read: the ledger's own witness, that travels with the rows.

Values come as they are in parquet, and as text from csv and JSON lines, since a column's type must
not depend on a bad row. A missing or empty value is null.
"""

import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from motet.data.columns import plain
from motet.data.csv_reading import csv_header, read_csv_rows
from motet.data_settings import Table
from motet.errors import DataError
from motet.storage import open_filesystem

COUNT = "#count"
_ENDINGS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_Part = tuple[pa.Table, list[str | None], Sequence[int]]
"""Some rows, the problem of each, and its place in the file."""


@dataclass(frozen=True)
class Split:
    """What one task reads: a file, or some row groups of a parquet file."""

    path: str
    format: str
    separator: str = ","
    multiline: bool = False
    first_row: int = 0
    row_groups: tuple[int, ...] = ()


def list_files(table: Table) -> list[str]:
    """Return the table's files, those of each of its sources in sorted order.

    Raises:
        DataError: if a source has none, or its place cannot be reached.
    """
    return [file for source in table.sources for file in _files_of(source)]


def _files_of(table: Table) -> list[str]:
    try:
        return _list_files(table)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{table.path} cannot be reached ({error})") from error


def _list_files(table: Table) -> list[str]:
    filesystem, inner = open_filesystem(table.path)
    info = filesystem.get_file_info(inner)
    if info.type == pafs.FileType.File:
        return [table.path]
    if info.type == pafs.FileType.Directory:
        folder, files = inner, filesystem.get_file_info(pafs.FileSelector(inner, recursive=True))
    elif "*" in PurePosixPath(inner).name:
        folder = str(PurePosixPath(inner).parent)
        parent = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        files = [file for file in parent if PurePosixPath(file.path).match(PurePosixPath(inner).name)]
    else:
        raise DataError(f"{table.path}: no such file or folder")
    hidden = re.compile(r"(^|/)[._]")  # such as _SUCCESS, _delta_log/ and .part.crc
    found = [file for file in files if file.type == pafs.FileType.File]
    paths = sorted(file.path for file in found if not hidden.search(file.path[len(folder) :]))
    if not paths:
        raise DataError(f"{table.path} holds no file; put parquet, csv or jsonl files there")
    return [_like(table.path, path) for path in paths]


def _like(given: str, inner: str) -> str:
    """Return a path on the same file system as the given one, with its credentials and options."""
    scheme, separator, rest = given.partition("://")
    if scheme != "s3":
        return inner
    user, at, _ = rest.partition("@")
    _, mark, options = rest.partition("?")
    return f"{scheme}{separator}{user + at if at else ''}{inner}{mark}{options}"


def file_format(path: str, declared: str) -> str:
    """Return parquet, csv or jsonl.

    Raises:
        DataError: if the ending tells nothing and the recipe says auto.
    """
    if declared != "auto":
        return declared
    ending = PurePosixPath(path.partition("?")[0] if path.startswith("s3://") else path).suffix.lower()
    if ending not in _ENDINGS:
        raise DataError(f"{path}: the ending {ending!r} is not known; set `format` to parquet, csv or jsonl")
    return _ENDINGS[ending]


def list_splits(table: Table, rows_per_split: int = 500_000) -> list[Split]:
    """Divide a table into splits, reading the footers of parquet files.

    Raises:
        DataError: if a file is missing, truncated or of an unknown format.
    """
    splits: list[Split] = []
    for source in table.sources:
        for path in _files_of(source):
            kind = file_format(path, source.format)
            if kind == "parquet":
                splits += _parquet_splits(path, rows_per_split)
            else:
                splits.append(Split(path, kind, source.csv_separator, source.multiline))
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
    return _columns_of(_files_of(table)[0], table)


def columns_by_file(table: Table) -> Iterator[tuple[str, list[str]]]:
    """Yield (path, columns) of every file of one source; of JSON lines, whose rows may lack columns, of the first only.

    Raises:
        DataError: if a file cannot be read.
    """
    for number, path in enumerate(_files_of(table)):
        if number == 0 or file_format(path, table.format) != "jsonl":
            yield path, _columns_of(path, table)


def _columns_of(path: str, table: Table) -> list[str]:
    kind = file_format(path, table.format)
    if kind == "parquet":
        return list(_open_parquet(path).schema_arrow.names)
    filesystem, inner = open_filesystem(path)
    with filesystem.open_input_stream(inner) as stream:
        if kind == "csv":
            return csv_header(stream, path, table.csv_separator, table.multiline)[0]
        head = stream.read(1 << 20).split(b"\n")
    names: dict[str, None] = {}
    for line in head[:100]:
        names.update(dict.fromkeys(_json_object(line)[0] or {}))
    return list(names)


def _refuse_repeated(names: list[str], wanted: tuple[str, ...], path: str) -> None:
    repeated = [name for name in wanted if names.count(name) > 1]
    if repeated:
        raise DataError(f"{path} has {names.count(repeated[0])} columns named {repeated[0]!r}; rename all but one")


def read_split(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[pa.Table]:
    """Yield the batches of a split, and last its `#count` row.

    Args:
        split: from `list_splits`.
        columns: the columns wanted; one that the file lacks comes as nulls.
        batch_rows: rows per batch.
    """
    readers = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_jsonl}
    count, schema = 0, None
    for table, problems, rows in readers[split.format](split, columns, batch_rows):
        table = table.append_column("_file", pa.array([split.path] * len(rows), pa.string()))
        table = table.append_column("_row", pa.array(rows, pa.int64()))
        table = table.append_column("_problem", pa.array(problems, pa.string()))
        schema = table.schema
        count += len(rows)
        yield table
    yield _count_row(split, count, columns, schema)


def _count_row(split: Split, rows: int, columns: tuple[str, ...], schema: pa.Schema | None) -> pa.Table:
    values = {**dict.fromkeys(columns), "_file": split.path, "_row": rows, "_problem": COUNT}
    if schema is None:
        types = [(name, pa.string()) for name in columns]
        schema = pa.schema([*types, ("_file", pa.string()), ("_row", pa.int64()), ("_problem", pa.string())])
    return pa.Table.from_pylist([values], schema=schema)


def _read_parquet(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[_Part]:
    file = _open_parquet(split.path)
    _refuse_repeated(file.schema_arrow.names, columns, split.path)
    present = [name for name in columns if name in file.schema_arrow.names]
    row = split.first_row
    try:
        for batch in file.iter_batches(batch_rows, row_groups=list(split.row_groups), columns=present):
            problems: list[str | None] = [None] * batch.num_rows
            arrays = [
                plain(batch.column(name), name, problems) if name in present else pa.nulls(batch.num_rows, pa.string())
                for name in columns
            ]
            yield pa.table(arrays, names=list(columns)), problems, range(row, row + batch.num_rows)
            row += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{split.path} is damaged ({str(error).splitlines()[0]}); write it again") from error


def _read_csv(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[_Part]:
    filesystem, inner = open_filesystem(split.path)
    with filesystem.open_input_stream(inner) as stream:
        header = csv_header(stream, split.path, split.separator, split.multiline)
    _refuse_repeated(header[0], columns, split.path)
    with filesystem.open_input_stream(inner) as stream:
        parts = read_csv_rows(stream, split.path, split.separator, header, columns, split.multiline)
        for table, problems, rows in parts:
            for at in range(0, len(rows), batch_rows):
                to = at + batch_rows
                yield table.slice(at, batch_rows), problems[at:to], rows[at:to]


def _read_jsonl(split: Split, columns: tuple[str, ...], batch_rows: int) -> Iterator[_Part]:
    filesystem, inner = open_filesystem(split.path)
    with filesystem.open_input_file(inner) as file:
        lines = (line for line in io.BufferedReader(file, 1 << 20) if line.strip())
        first = 0
        while batch := list(itertools.islice(lines, batch_rows)):
            parsed = [_json_object(line) for line in batch]
            problems = [problem for _, problem in parsed]
            rows = [
                {columns[0]: line.strip()[:2000].decode("utf-8", errors="replace")} if row is None else row
                for line, (row, _) in zip(batch, parsed, strict=True)
            ]
            yield json_table(rows, columns, problems), problems, range(first, first + len(batch))
            first += len(batch)


def _json_object(line: bytes | str) -> tuple[dict[str, Any] | None, str | None]:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return None, "line is not UTF-8"
    except (ValueError, RecursionError):
        return None, "line is not JSON"
    return (row, None) if isinstance(row, dict) else (None, "line is not a JSON object")


def json_table(rows: list[dict[str, Any]], columns: tuple[str, ...], problems: list[str | None]) -> pa.Table:
    """Return columns as text, or lists of text, of JSON objects.

    Args:
        rows: the objects.
        columns: the columns wanted; one that a row lacks is null.
        problems: per row; filled for rows with a value that is none.
    """
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
        if any(isinstance(inner, list) for inner in value):
            raise ValueError("is a list of lists")
        return [text for inner in value if (text := _json_value(inner, False)) is not None]
    if isinstance(value, dict):
        raise ValueError("is an object, not a value")  # noqa: TRY004
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("has a lone surrogate") from error
    return [text] if as_list else text
