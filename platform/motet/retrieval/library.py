"""The sources of a bundle, built from its files in the order of the recipe."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from motet.data.parquet import read_parquet
from motet.recipe import Recipe
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.index import VectorIndex
from motet.retrieval.sources import NeighbourSource, PopularitySource, Source, UserSource, VectorSource


def load_sources(
    folder: Path, recipe: Recipe, items: ItemTable, only: tuple[str, ...] | None = None
) -> dict[str, Source]:
    """Return {name: source} for the recipe's sources, or those of them that are in `only`."""
    settings = recipe.retrieval
    names = [name for name in settings.sources if only is None or name in only]
    makers: dict[str, Callable[[], Source]] = {
        "vectors": lambda: VectorSource(VectorIndex.load(folder / "index.faiss"), items.unit_ID),
        "profile": lambda: VectorSource(
            VectorIndex.load(folder / "content.faiss"), items.content_IW, uses_content=True
        ),
        "item_knn": lambda: _neighbour_source(folder, "item_knn", len(items), None),
        "transitions": lambda: _neighbour_source(folder, "transitions", len(items), settings.transition_decay),
        "user_knn": lambda: UserSource(_met_items(folder), len(items), settings.neighbours, settings.shrinkage),
        "popularity": lambda: PopularitySource(
            read_parquet(folder / "popularity.parquet").column("score").to_numpy().astype(np.float32)
        ),
    }
    return {name: makers[name]() for name in names}


def _neighbour_source(folder: Path, kind: str, items: int, decay: float | None) -> NeighbourSource:
    table = read_parquet(folder / "neighbours.parquet")
    return NeighbourSource(table.filter(pc.equal(table.column("kind"), kind)), items, decay)


def _met_items(folder: Path) -> list[np.ndarray]:
    column = read_parquet(folder / "met.parquet", ["items"]).column("items").combine_chunks()
    flat = column.flatten().to_numpy().astype(np.int64)
    return np.split(flat, column.offsets.to_numpy()[1:-1])
