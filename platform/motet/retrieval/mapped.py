"""Tensors of a file that are not read until they are asked for, and rows that are made of others when they are.

For catalogues whose vectors are more than a process should hold: the operating system keeps of the file what is used.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from motet.errors import RetrievalError

_KINDS = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32}


def mapped_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file, mapped; what is written to them stays in this process.

    Raises:
        RetrievalError: for a tensor of another kind than vectors are.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        if about["dtype"] not in _KINDS:
            raise RetrievalError(f"{path}: tensor {name!r} is {about['dtype']}; it can't be mapped")
        start, shape = 8 + length + about["data_offsets"][0], tuple(about["shape"])
        kind = _KINDS[about["dtype"]]
        found[name] = np.memmap(path, kind, "c", start, shape) if np.prod(shape) else np.zeros(shape, kind)
    return found


class Derived:
    """Rows that are made of others whenever they are asked for.

    Args:
        base_IX: the others.
        work: makes rows [N, Y] of rows [N, X], each of one.
    """

    def __init__(self, base_IX: np.ndarray, work: Callable[[np.ndarray], np.ndarray]) -> None:
        self.base, self.work = base_IX, work
        none = work(np.asarray(base_IX[:0]))
        self.shape, self.dtype = (len(base_IX), *none.shape[1:]), none.dtype

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, places: Any) -> np.ndarray:
        """Return the row of a place, or the rows of several."""
        rows = np.asarray(self.base[places])
        made = self.work(rows.reshape(-1, rows.shape[-1]))
        return made.reshape(*rows.shape[:-1], made.shape[-1])

    def __setitem__(self, places: Any, rows: np.ndarray) -> None:
        """Do nothing: what they are made of was changed already."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as one array."""
        del copy
        whole = self.work(np.asarray(self.base))
        return whole if dtype is None else whole.astype(dtype)
