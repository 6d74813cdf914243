"""What each shard of histories counts for the estimates, by folds of users."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from jobs.histories import flat
from jobs.tables import file_name
from motet.data.hashing import mix, text_hash
from motet.data.moments import AsOf
from motet.data.split import TRAIN
from motet.estimates import LabelSums, fold_of, residual_matrix, standardised
from motet.kinds import LabelScale

Scales = tuple[LabelScale, ...]
_SAMPLE, _LARGEST = np.uint64(0x5EED), 2.0**64 - 2048.0


@dataclass(frozen=True)
class Counting:
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
        rows = []
        for fold, task, mine in self._residuals(table, prior_TI):
            known = mine.copy()
            known.data[:] = 1.0
            gram_II, both_II = ((one.T @ one).astype(np.float32).toarray() for one in (mine, known))
            rows.append({"fold": fold, "task": task, "gram": gram_II.tobytes(), "both": both_II.tobytes()})
        return pa.Table.from_pylist(rows)

    def residuals(self, table: pa.Table, prior_TI: np.ndarray, share: float) -> pa.Table:
        """Return one row per fold and task with the residuals of a share of the users, as a sparse matrix's arrays."""
        order_U = mix(text_hash(table.column("user").combine_chunks()) ^ _SAMPLE)
        table = table.filter(pa.array(order_U <= np.uint64(share * _LARGEST)))
        rows = []
        for fold, task, mine in self._residuals(table, prior_TI):
            row = {"fold": fold, "task": task, "values": mine.data.tobytes()}
            row |= {"places": mine.indices.astype(np.int32).tobytes(), "ends": mine.indptr.astype(np.int64).tobytes()}
            rows.append(row)
        return pa.Table.from_pylist(rows)

    def _residuals(self, table: pa.Table, prior_TI: np.ndarray) -> Iterator[tuple[int, int, sp.csr_matrix]]:
        """Yield (fold, task, residuals of the fold's users)."""
        owner_N, items_N, labels_NT, fold_U = self._events(table)
        ends = np.cumsum(np.bincount(owner_N, minlength=len(fold_U)))[:-1]
        histories = np.split(items_N, ends) if len(fold_U) else []
        for task, labels_N in enumerate(labels_NT.T):
            matrix = residual_matrix(histories, np.split(labels_N, ends) if len(fold_U) else [], prior_TI[task])
            for fold in np.unique(fold_U).tolist():
                yield fold, task, matrix[fold_U == fold]

    def _events(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (owner, item, standardised labels) of the events fitted on, and the users' folds."""
        name, table = file_name(table), self.as_of.parts(table)
        train_N = flat(table, "parts") == TRAIN
        owner_N = np.repeat(np.arange(table.num_rows), pc.list_value_length(table.column("items")).to_numpy())[train_N]
        labels_NT = np.stack([flat(table, f"label:{task}").astype(np.float32)[train_N] for task in self.tasks], 1)
        fold_U = fold_of(table.column("user").to_pylist(), self.shards.index(name), len(self.shards))
        return owner_N, flat(table, "items")[train_N].astype(np.int64), standardised(labels_NT, self.scales), fold_U
