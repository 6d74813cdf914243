"""Fitting the factors of items for the estimates: residuals of a sample of users, then one task per fold (Ray)."""

from functools import partial
from pathlib import Path

import numpy as np
import ray
import scipy.sparse as sp

from jobs.estimates_counting import Counting
from jobs.tables import over_files
from motet.data.parquet import read_parquet
from motet.estimates import FOLDS, LabelSums, Latent, contents_of, fit_latent

_MOST_LABELS = 2_000_000
"""Labels per task that factors are fitted on; of more, those of a sample of users."""


def fit_latents(
    files: list[Path], counting: Counting, whole: LabelSums, prepared: Path, seed: int
) -> dict[int | None, list[Latent]]:
    """Return the factors by the fold that they are fitted without (None: on all), one entry per task.

    Args:
        files: shards of histories.
        counting: how they are read.
        whole: sums over all users.
        prepared: the prepare stage's folder.
        seed: of the start.
    """
    labels = float(whole.counts_TI.sum(1).max(initial=1.0))
    work = partial(counting.residuals, prior_TI=whole.prior_TI, share=min(1.0, _MOST_LABELS / labels))
    parts: dict[tuple[int, int], list[sp.csr_matrix]] = {}
    for row in over_files(files, work):
        ends = np.frombuffer(row["ends"], np.int64)
        arrays = (np.frombuffer(row["values"]), np.frombuffer(row["places"], np.int32), ends)
        matrix = sp.csr_matrix(arrays, shape=(len(ends) - 1, counting.items))
        parts.setdefault((row["fold"], row["task"]), []).append(matrix)
    items = read_parquet(prepared / "items", ["place", "slots", "numbers"]).sort_by("place")
    numbers_IM = np.asarray(items.column("numbers").to_pylist(), np.float32).reshape(items.num_rows, -1)
    contents = ray.put(contents_of(items.column("slots").to_pylist(), numbers_IM))
    fit = ray.remote(fit_latent)
    nobody = sp.csr_matrix((0, counting.items))
    fitting = {}
    for without in (*range(FOLDS), None):
        for task in range(len(counting.tasks)):
            others = [one for (fold, of), found in parts.items() if of == task and fold != without for one in found]
            fitting[without, task] = fit.remote(sp.vstack([nobody, *others]).tocsr(), contents, seed)
    return {
        without: [ray.get(fitting[without, task]) for task in range(len(counting.tasks))]
        for without in (*range(FOLDS), None)
    }
