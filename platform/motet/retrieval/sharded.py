"""An index in parts, each over a range of places, so that none is larger than a process can hold.

    index-0.faiss  index-1.faiss ...   with `index.shards` above 1, in place of index.faiss

Each part is asked for k under its part of the mask; the best k of all that they find are the answer. It is that of one
index wherever the parts are exact, since each of the k best is among the k best of its part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from motet.errors import RetrievalError
from motet.retrieval.catalogue import unit_rows
from motet.retrieval.index import Index, Scored, VectorIndex, Vectors, is_exact
from motet.retrieval.mapped import Derived, mapped_tensors
from motet.settings import IndexSettings

INDEXES = ("index", "content")
"""Over the vectors of the item tower, and over the contents."""
AskParts = Callable[[np.ndarray, int, Sequence[np.ndarray | None]], Sequence[Scored]]
"""Asks each part with (query, k, its part of the mask); returns what each found, by its own places."""


def part_bounds(items: int, shards: int) -> list[int]:
    """Return where the parts of a catalogue begin, and the end of the last: all equally long, but for one item.

    Raises:
        RetrievalError: if there are more parts than items.
    """
    if shards > items:
        raise RetrievalError(f"index.shards = {shards} is above the {items} items of the catalogue; lower it")
    return [items * number // shards for number in range(shards + 1)]


def part_paths(path: Path, shards: int) -> list[Path]:
    """Return the files of the parts of an index; the index's own if there is one part."""
    if shards == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(shards)]


def build_parts(vectors_ID: np.ndarray, settings: IndexSettings, path: Path, gpu: bool = False) -> None:
    """Build the parts of an index and write each; see `VectorIndex.build`."""
    bounds = part_bounds(len(vectors_ID), settings.shards)
    for part, (start, end) in zip(part_paths(path, settings.shards), pairwise(bounds), strict=True):
        VectorIndex.build(vectors_ID[start:end], settings, gpu).save(part)


def load_parts(path: Path, rows_ID: Vectors, items: int, settings: IndexSettings) -> list[VectorIndex]:
    """Read all parts of an index over these vectors."""
    bounds = part_bounds(items, settings.shards)
    starts = zip(part_paths(path, settings.shards), bounds[:-1], strict=True)
    return [VectorIndex.load(part, _From(rows_ID, start)) for part, start in starts]


def load_part(folder: Path, settings: IndexSettings, number: int) -> dict[str, VectorIndex]:
    """Read one part of both indexes of a bundle, by name; the vectors themselves are mapped."""
    tensors = mapped_tensors(folder / "vectors.safetensors")
    matrices: dict[str, Vectors] = {"index": Derived(tensors["items"], unit_rows), "content": tensors["content"]}
    start, found = part_bounds(len(tensors["items"]), settings.shards)[number], {}
    for name, matrix in matrices.items():
        path = part_paths(folder / f"{name}.faiss", settings.shards)[number]
        found[name] = VectorIndex.load(path, _From(matrix, start))
    return found


def open_index(path: Path, rows_ID: Vectors, items: int, settings: IndexSettings, ask: AskParts | None = None) -> Index:
    """Return an index that this process holds, in one part or several, or whose parts others hold.

    Args:
        path: of the whole index.
        rows_ID: its vectors.
        items: how many.
        settings: how it was built.
        ask: asks those who hold its parts; if None this process reads them.
    """
    if settings.shards == 1:
        return VectorIndex.load(path, rows_ID)
    bounds = tuple(part_bounds(items, settings.shards))
    if ask is not None:
        return ShardedIndex(bounds, ask, all(is_exact(part) for part in part_paths(path, settings.shards)))
    parts = load_parts(path, rows_ID, items, settings)

    def ask_here(query_D: np.ndarray, k: int, masks: Sequence[np.ndarray | None]) -> list[Scored]:
        return [part.search(query_D, k, mask) for part, mask in zip(parts, masks, strict=True)]

    return ShardedIndex(bounds, ask_here, all(part.is_exact for part in parts))


@dataclass(frozen=True)
class ShardedIndex:
    """An index whose parts are asked.

    Args:
        bounds: from `part_bounds`.
        ask: asks them.
        is_exact: whether each gives the answer of a full scan.
    """

    bounds: tuple[int, ...]
    ask: AskParts
    is_exact: bool

    def search(self, query_D: np.ndarray, k: int, allowed_I: np.ndarray | None = None) -> Scored:
        """Return (places, scores) of the k best items, best first; see `VectorIndex.search`."""
        ranges = list(pairwise(self.bounds))
        masks = [None if allowed_I is None else allowed_I[start:end] for start, end in ranges]
        found = self.ask(query_D, k, masks)
        places_N = np.concatenate([places + start for (places, _), (start, _) in zip(found, ranges, strict=True)])
        scores_N = np.concatenate([scores for _, scores in found])
        order = np.lexsort((places_N, -scores_N))[:k]
        return places_N[order], scores_N[order]


@dataclass(frozen=True)
class _From:
    """Vectors by place, counted from a start."""

    rows_ID: Vectors
    start: int

    def __getitem__(self, places: Any) -> np.ndarray:
        """Return the vectors of places."""
        return self.rows_ID[np.asarray(places) + self.start]
