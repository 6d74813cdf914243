"""Fitting `motet.estimates` over histories (Ray Data): sums of labels, then pairs of items, per fold of users."""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.histories import flat
from jobs.tables import file_name, over_files
from motet.data.moments import AsOf
from motet.data.split import TRAIN
from motet.estimates import ESTIMATES, FOLDS, Estimates, LabelSums, fold_of, nearness, residual_matrix, standardised
from motet.kinds import LabelScale

Scales = tuple[LabelScale, ...]


@dataclass(frozen=True)
class Folds:
    """The estimates fitted without each fold of users.

    Attributes:
        folder: of their files.
        scales: of the scored tasks' labels.
        shards: names of the files of histories.
    """

    folder: str
    scales: Scales
    shards: tuple[str, ...]

    def of(self, shard: str, users: list[str]) -> dict[str, Estimates]:
        """Return the estimates for each user of a shard."""
        fold_U = fold_of(users, self.shards.index(shard), len(self.shards))
        paths = [f"{self.folder}/fold-{fold}.safetensors" for fold in fold_U]
        return {user: _load(path, self.scales) for user, path in zip(users, paths, strict=True)}

    def whole(self) -> Estimates:
        """Return the estimates fitted on all users."""
        return _load(str(Path(self.folder).parent / ESTIMATES), self.scales)


@cache
def _load(path: str, scales: Scales) -> Estimates:
    return Estimates.load(Path(path), scales)


def write_estimates(folder: Path, prepared: Path, as_of: AsOf, tasks: tuple[str, ...], scales: Scales, items: int,
                    near: bool) -> Folds:  # fmt: skip
    """Write estimates.safetensors of all users, and `folds/` with one file per fold left out.

    Args:
        folder: where to.
        prepared: the prepare stage's folder.
        as_of: the events that are fitted on.
        tasks: the scored tasks.
        scales: of their labels.
        items: size of the catalogue.
        near: whether nearness of items is counted: items x items numbers.
    """
    files = sorted((prepared / "histories").glob("*.parquet"))
    shards = tuple(path.name for path in files)
    counting = _Counting(as_of, tasks, scales, items, shards)
    parts = [_zero(len(tasks), items) for _ in range(FOLDS)]
    for row in over_files(files, counting.sums):
        parts[row["fold"]] += LabelSums(_read(row["sums"], len(tasks), items), _read(row["counts"], len(tasks), items))
    whole = sum(parts[1:], parts[0])
    others = [whole - part for part in parts]
    pairs = _pairs(files, counting, whole) if near else None
    for fold in range(FOLDS):
        near_TII = pairs.without(fold).nearness() if pairs is not None else None
        Estimates.fit(scales, others[fold], near_TII).save(folder / "folds" / f"fold-{fold}.safetensors")
    near_TII = pairs.without(None).nearness() if pairs is not None else None
    Estimates.fit(scales, whole, near_TII).save(folder / ESTIMATES)
    return Folds(str(folder / "folds"), scales, shards)


def _zero(tasks: int, items: int) -> LabelSums:
    return LabelSums(np.zeros((tasks, items)), np.zeros((tasks, items)))


def _read(raw: bytes, tasks: int, items: int) -> np.ndarray:
    return np.frombuffer(raw).reshape(tasks, items)


@dataclass(frozen=True)
class _Pairs:
    """X'X of the residuals, and how many people labelled both items, [K, T, I, I] each; K folds, or one sum."""

    grams_KTII: np.ndarray
    both_KTII: np.ndarray

    def without(self, fold: int | None) -> "_Pairs":
        """Return the sum over the other folds."""
        kept = [k for k in range(FOLDS) if k != fold]
        return _Pairs(self.grams_KTII[kept].sum(0, keepdims=True), self.both_KTII[kept].sum(0, keepdims=True))

    def nearness(self) -> np.ndarray:
        """Return [T, I, I]."""
        return np.stack([nearness(*one) for one in zip(self.grams_KTII[0], self.both_KTII[0], strict=True)])


def _pairs(files: list[Path], counting: "_Counting", whole: LabelSums) -> _Pairs:
    """Count pairs of items over the shards."""
    shape = (FOLDS, len(counting.tasks), counting.items, counting.items)
    found = _Pairs(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    for row in over_files(files, partial(counting.pairs, prior_TI=whole.prior_TI)):
        place = (row["fold"], row["task"])
        found.grams_KTII[place] += np.frombuffer(row["gram"], np.float32).reshape(shape[2:])
        found.both_KTII[place] += np.frombuffer(row["both"], np.float32).reshape(shape[2:])
    return found


@dataclass(frozen=True)
class _Counting:
    """Counts a shard of histories."""

    as_of: AsOf
    tasks: tuple[str, ...]
    scales: Scales
    items: int
    shards: tuple[str, ...]

    def sums(self, table: pa.Table) -> pa.Table:
        """Return one row per fold with sums and counts of labels."""
        owner_N, items_N, labels_NT, fold_U = self._events(table)
        rows = []
        for fold in np.unique(fold_U).tolist():
            mine_N = fold_U[owner_N] == fold
            found = LabelSums.of(items_N[mine_N], labels_NT[mine_N], self.items)
            rows.append({"fold": fold, "sums": found.sums_TI.tobytes(), "counts": found.counts_TI.tobytes()})
        return pa.Table.from_pylist(rows)

    def pairs(self, table: pa.Table, prior_TI: np.ndarray) -> pa.Table:
        """Return one row per fold and task with X'X of the residuals, and how many people labelled both items."""
        owner_N, items_N, labels_NT, fold_U = self._events(table)
        ends = np.cumsum(np.bincount(owner_N, minlength=len(fold_U)))[:-1]
        histories = np.split(items_N, ends)
        rows = []
        for task, labels_N in enumerate(labels_NT.T):
            matrix = residual_matrix(histories, np.split(labels_N, ends), prior_TI[task])
            for fold in np.unique(fold_U).tolist():
                mine = matrix[fold_U == fold]
                known = mine.copy()
                known.data[:] = 1.0
                gram_II, both_II = ((one.T @ one).astype(np.float32).toarray() for one in (mine, known))
                rows.append({"fold": fold, "task": task, "gram": gram_II.tobytes(), "both": both_II.tobytes()})
        return pa.Table.from_pylist(rows)

    def _events(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (owner, item, standardised labels) of the events fitted on, and the users' folds."""
        name, table = file_name(table), self.as_of.parts(table)
        train_N = flat(table, "parts") == TRAIN
        owner_N = np.repeat(np.arange(table.num_rows), pc.list_value_length(table.column("items")).to_numpy())[train_N]
        labels_NT = np.stack([flat(table, f"label:{task}").astype(np.float32)[train_N] for task in self.tasks], 1)
        fold_U = fold_of(table.column("user").to_pylist(), self.shards.index(name), len(self.shards))
        return owner_N, flat(table, "items")[train_N].astype(np.int64), standardised(labels_NT, self.scales), fold_U
