"""The item log as a parquet file that can stand among a recipe's items."""

from pathlib import Path

import pyarrow.parquet as pq

from motet.events.store import Store
from motet.itemlog.entry import ItemEntry
from motet.itemlog.fold import Fold
from motet.itemlog.rows import raw_rows
from motet.recipe import Recipe
from motet.storage import write_file_atomic


def export_items(store: Store[ItemEntry], target: Path, recipe: Recipe) -> tuple[int, int]:
    """Write the latest of each item with the columns of the recipe's items; return (items, removed ones).

    Args:
        store: the log.
        target: the file, replaced as a whole.
        recipe: whose columns count.
    """
    fold = Fold.of(entry for _, entry in store.read())
    table = raw_rows(fold.adds, recipe).select(list(recipe.data.items.columns))
    write_file_atomic(target, lambda path: pq.write_table(table, path, compression="zstd", write_page_checksum=True))
    return len(fold.adds), len(fold.gone)
