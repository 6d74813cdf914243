"""What a release did for each test user, beside its report: `rows.parquet`, by which two releases are compared.

user, asked (see `offline`), ranked; ndcg, hit, ... of the release's own lists where ranked;
predicted:<score>, label:<score> and slate:<score> of each held-out event
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from motet.data.parquet import write_parquet
from motet.evaluation.offline import OURS
from motet.evaluation.ranking_metrics import METRICS
from motet.evaluation.table_rows import Rows, ranked_rows
from motet.recipe import Recipe

ROWS_NAME = "rows.parquet"
_PARTS = ("predicted", "label", "slate")


def write_rows(folder: Path, rows: Rows, recipe: Recipe) -> None:
    """Write the rows of `offline.evaluate_users`."""
    counted = {id(row) for row in ranked_rows(rows, recipe)}
    ranked = [id(row) in counted for row in rows]
    columns: dict[str, Any] = {name: pa.array([row[name] for row in rows], pa.string()) for name in ("user", "asked")}
    columns["ranked"] = pa.array(ranked)
    for metric in METRICS:
        values = [row["metrics"][OURS][metric] if one else None for row, one in zip(rows, ranked, strict=True)]
        columns[metric] = pa.array(values, pa.float64())
    for score in recipe.scores:
        found = [np.array(row["tasks"][score.name], np.float64).reshape(-1, 3) for row in rows]
        for place, part in enumerate(_PARTS):
            columns[f"{part}:{score.name}"] = pa.array([one[:, place] for one in found], pa.list_(pa.float64()))
    write_parquet(folder / ROWS_NAME, pa.table(columns))
