"""Whether the parts of a bundle were made together: as many items everywhere, and vectors as wide as each other."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from motet.errors import MotetError, ReleaseError
from motet.model.io import load_model
from motet.recommend import read_recipe
from motet.retrieval.mapped import mapped_tensors
from motet.retrieval.sharded import INDEXES, load_parts


def require_one_version(folder: Path) -> None:
    """Refuse a bundle whose network, vectors, indexes and table of items are not of one another.

    Raises:
        ReleaseError: naming the two that differ.
    """
    try:
        problem = next(_differences(folder), None)
    except MotetError as error:
        raise ReleaseError(f"the draft's parts don't fit together: {error}; run the index stage again") from error
    if problem is not None:
        raise ReleaseError(f"the draft's parts are of different versions: {problem}; run the index stage again")


def _differences(folder: Path) -> Iterator[str]:
    recipe, (_, card) = read_recipe(folder), load_model(folder)
    tensors = mapped_tensors(folder / "vectors.safetensors")
    items = pq.read_metadata(folder / "items.parquet").num_rows
    counts = {name: len(tensors[name]) for name in ("items", "content", "log_count")}
    for name, rows in {"model.json": card.shapes.items, **counts}.items():
        if rows != items:
            yield f"{name} is of {rows} items, items.parquet of {items}"
    widths = {"index": tensors["items"].shape[1], "content": tensors["content"].shape[1]}
    if widths["index"] != card.settings.dim:
        yield f"vectors.safetensors has {widths['index']} numbers an item, model.json {card.settings.dim}"
    for name in INDEXES:
        parts = load_parts(folder / f"{name}.faiss", tensors["items"], items, recipe.index)
        if (rows := sum(map(len, parts))) != items:
            yield f"{name}.faiss is of {rows} items, items.parquet of {items}"
        if any(part.index.d < widths[name] or part.index.d >= widths[name] + recipe.index.pq_dims for part in parts):
            yield f"{name}.faiss is {parts[0].index.d} numbers wide, vectors.safetensors {widths[name]}"
