"""Answers that a user was given, out of the log of answers."""

import time
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from motet.forgetting.receipt import Place
from motet.mirror import remove
from motet.records.reader import read_records
from motet.records.table import write_table

_HALF_WRITTEN_S = 60.0


def clean_records(folder: Path, names: Collection[str]) -> Place:
    """Rewrite the files that hold answers of users; a file with no other answer is deleted.

    What a writer that died left half written goes too, if it is older than a minute.

    Raises:
        DataError: if a file is damaged.
    """
    removed, wanted = 0, pa.array(list(names), pa.string())
    for path in folder.glob(".*.parquet"):
        if time.time() - path.stat().st_mtime > _HALF_WRITTEN_S:
            path.unlink(missing_ok=True)
    files = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    for path in files:
        gone = pc.is_in(read_records(path, ["user"]).column("user"), value_set=wanted)
        if (found := pc.sum(gone).as_py() or 0) == 0:
            continue
        kept = read_records(path).filter(pc.invert(gone))
        if kept.num_rows:
            write_table(path, kept)
        else:
            remove(path)
        removed += found
    return Place("recommendations", len(files), removed)
