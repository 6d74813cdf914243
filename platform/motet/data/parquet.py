"""Parquet as Motet writes it: page checksums, zstd, whole or absent; and how it is read back."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from motet.errors import DataError
from motet.mirror import at_hand, names_in, remove
from motet.storage import write_file_atomic


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table with a checksum on every page."""
    write_file_atomic(path, lambda target: pq.write_table(table, target, compression="zstd", write_page_checksum=True))


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a file, or all files of a folder in sorted order, verifying page checksums.

    Raises:
        DataError: if there is none, or one is damaged.
    """
    at_hand(path)
    files = names_in(path) if path.is_dir() else [path] if path.exists() else []
    if not files:
        raise DataError(f"{path} holds no parquet file; run the stage that writes it (jobs/pipeline.py)")
    try:
        return pa.concat_tables(
            [pq.ParquetFile(f, page_checksum_verification=True).read(columns=columns) for f in files]
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}); run its stage again") from error


def merge_parquet(folder: Path, target: Path) -> None:
    """Put the files of a folder one after another into one, a row group at a time, and delete the folder.

    Raises:
        DataError: if there is none.
    """
    files = names_in(at_hand(folder))
    if not files:
        raise DataError(f"{folder} holds no parquet file; run the stage that writes it (jobs/pipeline.py)")

    def write(path: Path) -> None:
        schema = pq.read_schema(files[0])
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for file in files:
                source = pq.ParquetFile(file, page_checksum_verification=True)
                for group in range(source.num_row_groups):
                    writer.write_table(source.read_row_group(group))

    write_file_atomic(target, write)
    remove(folder)
