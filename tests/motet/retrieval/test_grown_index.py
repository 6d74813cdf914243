"""Exact search beside an index, against a scan of all vectors, for every kind of index."""

import numpy as np
import pyarrow as pa
import pytest

from motet.retrieval.catalogue import ItemTable
from motet.retrieval.grown_index import GrownIndex
from motet.retrieval.index import VectorIndex
from motet.settings import IndexSettings

RANDOM = np.random.default_rng(0)


def unit(count: int) -> np.ndarray:
    rows = RANDOM.normal(size=(count, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def rows_of(names: list[str]) -> pa.Table:
    return pa.table({"item": names, "title": names})


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_the_best_are_those_of_a_scan(kind: str) -> None:
    """500 of the release, of which three have other vectors now, and 40 new ones, one of them twice."""
    names = [f"i{n}" for n in range(500)]
    items = ItemTable(rows_of(names), unit(500), np.zeros((500, 0), np.float32), np.zeros(500, np.float32))
    settings = IndexSettings(kind=kind, nprobe=1000, ef_search=500, exact_below=50)
    index = GrownIndex(VectorIndex.build(items.unit_ID.base, settings), items.unit_ID, items)
    query = unit(1)[0]
    assert index.search(query, 5)[0].tolist() == index.index.search(query, 5)[0].tolist()
    new = [*(f"n{n}" for n in range(40)), "i3", "i77", "i499"]
    for part in (new, ["n7"]):
        items.add(rows_of(part), unit(len(part)), np.zeros((len(part), 0), np.float32))
    whole = np.asarray(items.unit_ID)
    assert whole.shape == (540, 8)
    for allowed in (np.ones(540, bool), RANDOM.random(540) < 0.3, np.arange(540) >= 500, np.arange(540) == 3):
        for k in (1, 10, 600):
            places, scores = index.search(query, k, allowed)
            exact = np.where(allowed, whole @ query, -np.inf)
            expected = np.argsort(-exact, kind="stable")[: min(k, int(allowed.sum()))]
            assert places.tolist() == expected.tolist()
            assert scores == pytest.approx(exact[expected], abs=1e-5)
    assert len(index.search(query, 600)[0]) == 540


def test_a_query_that_is_not_finite_finds_nothing() -> None:
    items = ItemTable(rows_of(["a"]), unit(1), np.zeros((1, 0), np.float32), np.zeros(1, np.float32))
    index = GrownIndex(VectorIndex.build(items.unit_ID.base, IndexSettings()), items.unit_ID, items)
    items.add(rows_of(["b"]), unit(1), np.zeros((1, 0), np.float32))
    assert len(index.search(np.full(8, np.nan, np.float32), 2, np.ones(2, bool))[0]) == 0
