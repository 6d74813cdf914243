"""Vectors by content: the same text is encoded once, for all runs of all recipes of a workspace.

A cache folder holds Arrow files, each with `key` (16 bytes of the text's SHA-256) and `vector` (float32). Files
appear whole and are never changed; two writers that encode the same text leave two equal rows. Keys are kept in sorted
runs; a run is merged with the one before if that is not twice as large, so there are few, however many files come.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from motet.errors import EncoderError
from motet.mirror import at_hand
from motet.storage import write_file_atomic

KEY_BYTES = 16
_NO_KEYS = np.zeros(0, f"S{KEY_BYTES}")


def text_keys(texts: Sequence[str]) -> np.ndarray:
    """Return the key of each text, as an array of 16-byte values."""
    digests = [hashlib.sha256(text.encode("utf-8")).digest()[:KEY_BYTES] for text in texts]
    return np.array(digests, dtype=f"S{KEY_BYTES}")


def hex_keys(texts: Sequence[str]) -> list[str]:
    """Return the key of each text in hex."""
    return in_hex(text_keys(texts))


def in_hex(keys_N: np.ndarray) -> list[str]:
    """Return keys in hex."""
    return [key.ljust(KEY_BYTES, b"\0").hex() for key in keys_N.tolist()]


@dataclass(frozen=True)
class _Run:
    """Sorted keys of some files, and for each the number of its file and the row there."""

    keys_K: np.ndarray
    places_K2: np.ndarray

    @classmethod
    def of(cls, keys_N: np.ndarray, places_N2: np.ndarray) -> "_Run":
        keys_K, first = np.unique(keys_N, return_index=True)
        return cls(keys_K, places_N2[first])

    def find(self, keys_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (found [N], places [N, 2], which mean nothing where it is not)."""
        if not len(self.keys_K):
            return np.zeros(len(keys_N), bool), np.zeros((len(keys_N), 2), np.int64)
        nearest_N = np.searchsorted(self.keys_K, keys_N).clip(max=len(self.keys_K) - 1)
        return self.keys_K[nearest_N] == keys_N, self.places_K2[nearest_N]


class VectorCache:
    """Memory-mapped vectors of one encoder, found by key.

    Args:
        folder: the encoder's folder; made if it is not there.
        dim: width of the vectors.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        folder.mkdir(parents=True, exist_ok=True)
        self._parts: list[np.ndarray] = []
        self._runs: list[_Run] = []
        for path in sorted(at_hand(folder).glob("*.arrow")):
            self._open(path)

    def __len__(self) -> int:
        return len(np.unique(np.concatenate([_NO_KEYS, *(run.keys_K for run in self._runs)])))

    def _open(self, path: Path) -> None:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
            vectors = table.column("vector").combine_chunks()
            rows_ND = vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)
        except (pa.ArrowInvalid, KeyError, AttributeError) as error:
            raise EncoderError(
                f"{path} is not a vector file ({error}); delete it, its texts are encoded anew"
            ) from error
        if rows_ND.shape[1] != self.dim:
            raise EncoderError(
                f"{path} holds vectors of {rows_ND.shape[1]} numbers, the model gives {self.dim}; delete it"
            )
        self._parts.append(rows_ND)
        keys_N = np.array(table.column("key").to_pylist(), _NO_KEYS.dtype)
        places_N2 = np.stack([np.full(len(keys_N), len(self._parts) - 1), np.arange(len(keys_N))], 1)
        run = _Run.of(keys_N, places_N2)
        while self._runs and len(self._runs[-1].keys_K) <= 2 * len(run.keys_K):
            older = self._runs.pop()
            run = _Run.of(np.concatenate([older.keys_K, run.keys_K]), np.concatenate([older.places_K2, run.places_K2]))
        self._runs.append(run)

    def get(self, keys_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (vectors [N, dim], found [N]); rows that are not found are zero."""
        vectors_ND = np.zeros((len(keys_N), self.dim), np.float32)
        found_N = np.zeros(len(keys_N), bool)
        for run in self._runs:
            hit_N, places_N2 = run.find(keys_N)
            hit_N &= ~found_N
            for part in np.unique(places_N2[hit_N, 0]):
                rows = np.flatnonzero(hit_N & (places_N2[:, 0] == part))
                vectors_ND[rows] = self._parts[part][places_N2[rows, 1]]
            found_N |= hit_N
        return vectors_ND, found_N

    def add(self, keys_N: np.ndarray, vectors_ND: np.ndarray) -> None:
        """Write new vectors as one more file and make them available."""
        flat = pa.array(np.ascontiguousarray(vectors_ND, np.float32).reshape(-1))
        table = pa.table(
            {
                "key": pa.array([key.ljust(KEY_BYTES, b"\0") for key in keys_N.tolist()], pa.binary(KEY_BYTES)),
                "vector": pa.FixedSizeListArray.from_arrays(flat, self.dim),
            }
        )
        path = self.folder / f"part-{uuid.uuid4().hex}.arrow"

        def write(target: Path) -> None:
            with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)

        write_file_atomic(path, write)
        self._open(path)
