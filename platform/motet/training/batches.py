"""Rows of windows to padded tensors.

B sequences, S inputs (padded on the left), P = S + 1 outputs, T scored tasks
"""

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from motet.model.items import pad_slots

Self = TypeVar("Self", bound="Batch")


@dataclass(frozen=True)
class Batch:
    """Sequences as the model reads them."""

    text_BX: Tensor
    slots_BL: Tensor
    numbers_BM: Tensor
    items_BS: Tensor
    """Places in the catalogue; 0 where `valid_BS` is false."""
    liking_BS: Tensor
    valid_BS: Tensor
    targets_BP: Tensor
    """Train: the item after each output, -1 for none. Validation: all targets of the user, -1 pads."""
    labels_BPT: Tensor
    """Labels of the targets; NaN is unknown."""
    seen_BN: Tensor | None = None
    """Validation: items to leave out of the ranking, -1 pads."""

    def to(self: Self, device: torch.device) -> Self:
        """Return the batch on a device; towards a GPU through pinned memory."""
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            moved[one.name] = value.pin_memory().to(device, non_blocking=True) if value is not None else None
        return type(self)(**moved)


def collate(table: pa.Table, tasks: list[str], history: int) -> Batch:
    """Pad rows of `windows.train_rows` or `windows.validation_rows`.

    Args:
        table: at least one row.
        tasks: scored tasks, in the order of the heads.
        history: S.
    """
    validation = "seen" in table.column_names
    items_BS, valid_BS = _left(table, "items", history, 0, np.int64)
    liking_BS, _ = _left(table, "liking", history, 2, np.int64)
    align = _right if validation else _outputs
    width = 0 if validation else history + 1
    labels = [align(table, f"label:{task}", width, np.nan, np.float32) for task in tasks]
    targets_BP = align(table, "targets", width, -1, np.int64)
    empty = np.zeros((*targets_BP.shape, 0), np.float32)
    text = table.column("user_text").combine_chunks()
    numbers_BM = _right(table, "user_numbers", 1, 0.0, np.float32)
    return Batch(
        text_BX=torch.from_numpy(text.flatten().to_numpy().reshape(len(text), -1).copy()),
        slots_BL=torch.from_numpy(pad_slots(table.column("user_slots").to_pylist())),
        numbers_BM=torch.from_numpy(numbers_BM),
        items_BS=torch.from_numpy(items_BS),
        liking_BS=torch.from_numpy(liking_BS),
        valid_BS=torch.from_numpy(valid_BS),
        targets_BP=torch.from_numpy(targets_BP),
        labels_BPT=torch.from_numpy(np.stack(labels, -1) if labels else empty),
        seen_BN=torch.from_numpy(_right(table, "seen", 1, -1, np.int64)) if validation else None,
    )


def _lists(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (lengths, flat values); null values become NaN."""
    column = table.column(name).combine_chunks()
    lengths_B = np.diff(column.offsets.to_numpy())
    return lengths_B, column.flatten().to_numpy(zero_copy_only=False)


def _place(lengths_B: np.ndarray, shift_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows_N = np.repeat(np.arange(len(lengths_B)), lengths_B)
    starts_N = np.repeat(np.cumsum(lengths_B) - lengths_B, lengths_B)
    return rows_N, np.arange(lengths_B.sum()) - starts_N + np.repeat(shift_B, lengths_B)


def _left(table: pa.Table, name: str, width: int, fill: float, kind: type) -> tuple[np.ndarray, np.ndarray]:
    lengths_B, flat_N = _lists(table, name)
    padded_BS: np.ndarray = np.full((len(lengths_B), width), fill, kind)
    valid_BS = np.zeros((len(lengths_B), width), bool)
    rows_N, columns_N = _place(lengths_B, width - lengths_B)
    padded_BS[rows_N, columns_N] = flat_N
    valid_BS[rows_N, columns_N] = True
    return padded_BS, valid_BS


def _right(table: pa.Table, name: str, width: int, fill: float, kind: type) -> np.ndarray:
    lengths_B, flat_N = _lists(table, name)
    padded_BN: np.ndarray = np.full((len(lengths_B), max(1, width, int(lengths_B.max(initial=0)))), fill, kind)
    rows_N, columns_N = _place(lengths_B, np.zeros_like(lengths_B))
    padded_BN[rows_N, columns_N] = flat_N
    return padded_BN


def _outputs(table: pa.Table, name: str, width: int, fill: float, kind: type) -> np.ndarray:
    """Align a list of 1 + S entries: the first to output 0, the rest to the right end."""
    lengths_B, flat_N = _lists(table, name)
    padded_BP: np.ndarray = np.full((len(lengths_B), width), fill, kind)
    rows_N, columns_N = _place(lengths_B, width - lengths_B)
    first_N = np.append(True, np.diff(rows_N) != 0) if len(rows_N) else np.zeros(0, bool)
    columns_N[first_N] = 0
    padded_BP[rows_N, columns_N] = flat_N
    return padded_BP
