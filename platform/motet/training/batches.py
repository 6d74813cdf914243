"""Rows of windows to padded tensors.

B sequences, S inputs (padded on the left), P = S + 1 outputs, T scored tasks, N targets of a validation row
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
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
    events_BST: Tensor
    """Labels of the inputs, then their signals; NaN is unknown."""
    gaps_BS: Tensor
    """Seconds between each input and the event before; NaN is unknown."""
    valid_BS: Tensor
    away_BP: Tensor
    """Seconds between each output's last event and its target; NaN is unknown."""
    targets_BP: Tensor
    """Train: the item after each output, -1 for none. Validation: all targets of the user, -1 pads."""
    labels_BPT: Tensor
    """Labels of the targets; NaN is unknown."""
    weights_BPT: Tensor | None = None
    """Weight of each label in its task's loss, if a task has one."""
    slates_BPT: Tensor | None = None
    """Train: the output before the target's slate. Validation: the slate's number. -1 for none; if a task has one."""
    estimates_BPF: Tensor | None = None
    """Columns of `motet.estimates` of the targets, if the heads read them."""
    seen_BN: Tensor | None = None
    """Validation: items to leave out of the ranking, -1 pads."""

    def to(self: Self, device: torch.device, pinned: bool = False) -> Self:
        """Return the batch on a device; through page-locked memory the copy is not waited for."""
        if device.type == "cpu" and not pinned:
            return self
        values: dict[str, Tensor | None] = {one.name: getattr(self, one.name) for one in fields(self)}
        if pinned:
            values = {name: None if value is None else value.pin_memory() for name, value in values.items()}
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device, non_blocking=pinned) for name, value in values.items()
        }
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
    align = _right if validation else _outputs
    width = 0 if validation else history + 1
    labels = [align(table, f"label:{task}", width, np.nan, np.float32) for task in tasks]
    read = [*(f"event:{task}" for task in tasks), *(n for n in table.column_names if n.startswith("signal:"))]
    events = [_left(table, name, history, np.nan, np.float32)[0] for name in read]
    targets_BP = align(table, "targets", width, -1, np.int64)
    gaps_BP, _ = _left(table, "gaps", history + 1, np.nan, np.float32)
    away_BP = _outputs(table, "gaps", history + 1, np.nan, np.float32)
    if validation:
        away_BP[:, :-1] = np.nan
    text = table.column("user_text").combine_chunks()
    numbers_BM = _right(table, "user_numbers", 1, 0.0, np.float32)
    return Batch(
        text_BX=torch.from_numpy(text.flatten().to_numpy().reshape(len(text), -1).copy()),
        slots_BL=torch.from_numpy(pad_slots(table.column("user_slots").to_pylist())),
        numbers_BM=torch.from_numpy(numbers_BM),
        items_BS=torch.from_numpy(items_BS),
        events_BST=_stack(events, items_BS),
        gaps_BS=torch.from_numpy(gaps_BP[:, :-1].copy()),
        valid_BS=torch.from_numpy(valid_BS),
        away_BP=torch.from_numpy(away_BP),
        targets_BP=torch.from_numpy(targets_BP),
        labels_BPT=_stack(labels, targets_BP),
        weights_BPT=_optional(
            table, "weight", tasks, targets_BP, lambda name: align(table, name, width, 1, np.float32)
        ),
        slates_BPT=_optional(table, "slate", tasks, targets_BP, partial(_slates, table, width)),
        estimates_BPF=_estimates(table, targets_BP, validation),
        seen_BN=torch.from_numpy(_right(table, "seen", 1, -1, np.int64)) if validation else None,
    )


def _stack(columns: list[np.ndarray], like_BP: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(columns, -1) if columns else np.zeros((*like_BP.shape, 0), np.float32))


def _optional(
    table: pa.Table, kind: str, tasks: list[str], like_BP: np.ndarray, read: Callable[[str], np.ndarray]
) -> Tensor | None:
    """Return what only some tasks have, the others' filled up: 1 for weights, -1 for slates; None if none has it."""
    names = [f"{kind}:{task}" for task in tasks]
    if not any(name in table.column_names for name in names):
        return None
    blank = np.ones(like_BP.shape, np.float32) if kind == "weight" else np.full(like_BP.shape, -1, np.int64)
    return _stack([read(name) if name in table.column_names else blank for name in names], like_BP)


def _slates(table: pa.Table, width: int, name: str) -> np.ndarray:
    """Return slates; those of training, which are places in the window's list of outputs, as places among P."""
    if width == 0:
        return _right(table, name, 0, -1, np.int64)
    slates_BP = _outputs(table, name, width, -1, np.int64)
    lengths_B, _ = _lists(table, name)
    return np.where(slates_BP > 0, slates_BP + (width - lengths_B)[:, None], slates_BP)


def _estimates(table: pa.Table, targets_BP: np.ndarray, validation: bool) -> Tensor | None:
    """Return the estimates of the targets; zeros where there is none."""
    if "estimates" not in table.column_names:
        return None
    lengths_B, _ = _lists(table, "targets")
    rows_N, columns_N = _place(lengths_B, np.zeros_like(lengths_B) if validation else targets_BP.shape[1] - lengths_B)
    if not validation:
        columns_N[_firsts(rows_N)] = 0
    _, flat_M = _lists(table, "estimates")
    flat_NF = flat_M.reshape(len(rows_N), -1).astype(np.float32)
    padded_BPF = np.zeros((*targets_BP.shape, flat_NF.shape[1]), np.float32)
    padded_BPF[rows_N, columns_N] = flat_NF
    return torch.from_numpy(padded_BPF)


def _firsts(rows_N: np.ndarray) -> np.ndarray:
    """Return which entries are the first of their row."""
    return np.append(True, np.diff(rows_N) != 0) if len(rows_N) else np.zeros(0, bool)


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
    columns_N[_firsts(rows_N)] = 0
    padded_BP[rows_N, columns_N] = flat_N
    return padded_BP
