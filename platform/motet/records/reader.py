"""The files of records in a folder, oldest first; a file that is still being written is not among them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from motet.data.hashing import uniform
from motet.errors import DataError
from motet.mirror import at_hand, names_in
from motet.records.table import SCHEMA


def record_files(folder: Path) -> list[Path]:
    """Return the whole files.

    Raises:
        DataError: if there is none.
    """
    files = names_in(folder)
    if not files:
        raise DataError(f"{folder} holds no records; serve a release with serve.records.store = parquet and ask it")
    return files


def record_tables(folder: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the records of one file after another.

    Raises:
        DataError: if there is none, or one is damaged.
    """
    for path in record_files(folder):
        yield read_records(path, columns)


def read_records(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return the records of a file.

    Raises:
        DataError: if it is damaged.
    """
    try:
        found = pq.ParquetFile(at_hand(path), page_checksum_verification=True).read(columns=columns)
        return found.select(columns or SCHEMA.names)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{path} is damaged or no file of records ({said}); move it away") from error


def sample_rows(folder: Path, most: int | None = None, surface: str | None = None) -> list[dict[str, Any]]:
    """Return records as rows, ordered by moment: all, or those `most` whose ids hash lowest.

    Args:
        folder: of the files.
        most: how many; all if None.
        surface: only of this one.

    Raises:
        DataError: if there is none, or one is damaged.
    """
    asked: list[tuple[float, str]] = []
    for table in record_tables(folder, ["request_id", "surface"]):
        for row in table.to_pylist():
            if surface in (None, row["surface"]):
                asked.append((uniform(row["request_id"], "sample"), row["request_id"]))
    chosen = pa.array([name for _, name in sorted(asked)[:most]], pa.string())
    rows: list[dict[str, Any]] = []
    for table in record_tables(folder):
        rows += table.filter(pc.is_in(table.column("request_id"), value_set=chosen)).to_pylist()
    return sorted(rows, key=lambda row: (row["moment"], row["request_id"]))
