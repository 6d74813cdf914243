"""The sources of a bundle, built from its files in the order of the recipe."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from safetensors.numpy import load_file

from motet.data.parquet import read_parquet
from motet.recipe import Recipe
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.crowd import PopularitySource, SegmentSource
from motet.retrieval.factors import FactorSource
from motet.retrieval.grown_index import GrownIndex
from motet.retrieval.linear import LinearSource
from motet.retrieval.pairs import Fading
from motet.retrieval.rows import Rows
from motet.retrieval.sharded import AskParts, open_index
from motet.retrieval.sources import NeighbourSource, OwnSource, Source, UserSource, VectorSource
from motet.retrieval.trends import Trends

SOURCE_FILES = {
    "item_knn": "neighbours.parquet", "transitions": "neighbours.parquet", "user_knn": "met.parquet",
    "ease": "ease.safetensors", "als": "als.safetensors", "popularity_segment": "segments.parquet",
}  # fmt: skip
"""What a source reads besides the catalogue, its indexes and the trends."""


def load_sources(
    folder: Path,
    recipe: Recipe,
    items: ItemTable,
    only: tuple[str, ...] | None = None,
    fitted: Path | None = None,
    ask: Callable[[str], AskParts] | None = None,
) -> dict[str, Source]:
    """Return {name: source} for the recipe's sources.

    Args:
        folder: a bundle.
        recipe: its recipe.
        items: its catalogue.
        only: those of the sources that are wanted; all if None.
        fitted: folder of what was fitted on the crowd, if it is not the bundle's own.
        ask: returns who asks the parts of an index by its name, if others hold them.
    """
    settings, crowd, count = recipe.retrieval, fitted or folder, len(items)

    def by_vectors(name: str, rows: Rows, uses_content: bool) -> VectorSource:
        index = open_index(folder / f"{name}.faiss", rows, items.of_release, recipe.index, ask and ask(name))
        return VectorSource(GrownIndex(index, rows, items), rows, uses_content)

    makers: dict[str, Callable[[], Source]] = {
        "vectors": lambda: by_vectors("index", items.unit_ID, uses_content=False),
        "profile": lambda: by_vectors("content", items.content_IW, uses_content=True),
        "item_knn": lambda: _neighbour_source(crowd, "item_knn", count, None),
        "transitions": lambda: _neighbour_source(crowd, "transitions", count, Fading.of(settings)),
        "user_knn": lambda: UserSource(*_met(crowd), count, settings.neighbours, settings.shrinkage),
        "again": OwnSource,
        "ease": lambda: LinearSource(load_file(crowd / "ease.safetensors")["weights"], settings.disliked_weight),
        "als": lambda: FactorSource(load_file(crowd / "als.safetensors")["items"], settings.als_ridge),
        "popularity": lambda: PopularitySource(
            Trends.load(crowd), settings.popularity_half_life_days, settings.popularity_of_liked
        ),
        "popularity_all": lambda: PopularitySource(Trends.load(crowd)),
        "popularity_segment": lambda: SegmentSource(_segments(crowd, count)),
    }
    return {name: makers[name]() for name in settings.names if only is None or name in only}


def _neighbour_source(folder: Path, kind: str, items: int, fading: Fading | None) -> NeighbourSource:
    table = read_parquet(folder / "neighbours.parquet")
    return NeighbourSource(table.filter(pc.equal(table.column("kind"), kind)), items, fading)


def _met(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    table = read_parquet(folder / "met.parquet", ["items", "weights"])
    return _lists(table.column("items"), np.int64), _lists(table.column("weights"), np.float32)


def _lists(column: pa.ChunkedArray, kind: type) -> list[np.ndarray]:
    array = column.combine_chunks()
    return np.split(array.flatten().to_numpy().astype(kind), array.offsets.to_numpy()[1:-1])


def _segments(folder: Path, items: int) -> sp.csr_matrix:
    table = read_parquet(folder / "segments.parquet")
    slot_N, item_N, count_N = (table.column(name).to_numpy() for name in ("slot", "item", "count"))
    shape = (int(slot_N.max(initial=0)) + 1, items)
    return sp.coo_matrix((count_N, (slot_N, item_N)), shape=shape).tocsr()
