"""What the pipeline left of a user: rows of stages, exports of a refresh, vectors of texts that nobody else has.

A stage's folder keeps its id, by which others know what they were made from; its manifest lists the files as they are
now. The next run prepares anew anyway, since the tombstones are among its inputs.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa

from motet.data.parquet import read_parquet
from motet.encoders.cache import KEY_BYTES, text_keys
from motet.errors import DataError
from motet.forgetting.receipt import Place
from motet.forgetting.rows import USER_COLUMNS, remove_met, remove_rows
from motet.mirror import remove
from motet.storage import MANIFEST, describe_files, read_manifest, write_file_atomic, write_json

KINDS = ("prepared", "embedded", "runs", "drafts", "reports", "trials", "feedback")


def clean_stages(workspace: Path, names: Collection[str], user_column: str | None) -> list[Place]:
    """Remove a user's rows from all stages, and what was made of the user's texts.

    Args:
        workspace: of the user.
        names: the users.
        user_column: what the recipe's interactions call the user.

    Raises:
        DataError: if a file is damaged.
    """
    columns = {*USER_COLUMNS, *([user_column] if user_column else [])}
    places, texts = [], set[str]()
    for kind in KINDS:
        files = sorted((workspace / kind).rglob("*.parquet"))
        removed = 0
        for path in files:
            rows = remove_rows(path, names, columns)
            if rows is not None:
                removed += rows.num_rows + (remove_met(path.with_name("met.parquet"), rows) if kind == "drafts" else 0)
                if kind == "prepared" and "text" in rows.column_names:
                    texts |= {text for text in rows.column("text").to_pylist() if text}
                _describe_anew(workspace / kind, path)
        if files:
            places.append(Place(kind, len(files), removed))
    return [*places, *_clean_vectors(workspace, texts)]


def _describe_anew(kind: Path, path: Path) -> None:
    """Say in the manifest of the stage that a file lies in what the file is like now."""
    folder = kind / path.relative_to(kind).parts[0]
    if (folder / MANIFEST).is_file():
        write_json(folder / MANIFEST, {**read_manifest(folder), "files": describe_files(folder)})


def _clean_vectors(workspace: Path, texts: set[str]) -> list[Place]:
    """Remove the vectors of texts that no user and no item has any more."""
    files = sorted((workspace / "embeddings").rglob("*.arrow"))
    if not files:
        return []
    for folder in (workspace / "prepared").glob("*"):
        for kind in ("users", "items"):
            if texts and (folder / kind).is_dir():
                texts -= set(read_parquet(folder / kind, ["text"]).column("text").to_pylist())
    keys_K = text_keys(sorted(texts))
    removed = sum(_remove_keys(path, keys_K) for path in files) if len(keys_K) else 0
    return [Place("embeddings", len(files), removed, "vectors of texts that the user alone had")]


def _remove_keys(path: Path, keys_K: np.ndarray) -> int:
    try:
        with pa.OSFile(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a vector file ({error}); delete it, its texts are encoded anew") from error
    found_N = np.array(table.column("key").to_pylist(), f"S{KEY_BYTES}")
    gone_N = np.isin(found_N, keys_K)
    if not gone_N.any():
        return 0
    kept = table.filter(pa.array(~gone_N))
    if not kept.num_rows:
        remove(path)
        return int(gone_N.sum())

    def write(target: Path) -> None:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, kept.schema) as writer:
            writer.write_table(kept)

    write_file_atomic(path, write)
    return int(gone_N.sum())
