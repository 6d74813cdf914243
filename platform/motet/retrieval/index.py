"""The vector index: FAISS inner product over unit vectors, with an id for every row and a mask for every query.

flat   exact
ivf    inverted lists, `nprobe` of them searched
hnsw   a navigable graph, `ef_search` wide
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faiss as _faiss
import numpy as np

from motet.errors import RetrievalError
from motet.settings import IndexSettings
from motet.storage import write_file_atomic, write_json

Scored = tuple[np.ndarray, np.ndarray]
faiss: Any = _faiss  # its published types lack the search parameters


class Index(Protocol):
    """What retrieval asks of an index."""

    @property
    def is_exact(self) -> bool:
        """Whether the answer is that of a full scan."""

    def search(self, query_D: np.ndarray, k: int, allowed_I: np.ndarray | None = None) -> Scored:
        """Return (places, scores) of at most k items, best first."""


def choose_kind(settings: IndexSettings, items: int) -> str:
    """Return flat, ivf or hnsw: the recipe's word, or by the catalogue's size under auto."""
    if settings.kind != "auto":
        return settings.kind
    return "flat" if items <= settings.flat_limit else "ivf"


@dataclass
class VectorIndex:
    """A FAISS index whose row i is the item at place i."""

    index: Any
    kind: str
    settings: IndexSettings

    @classmethod
    def build(cls, vectors_ID: np.ndarray, settings: IndexSettings) -> "VectorIndex":
        """Build from vectors, float32.

        Raises:
            RetrievalError: if a vector is not finite (it could never be found) or there is none.
        """
        bad = np.flatnonzero(~np.isfinite(vectors_ID).all(1))
        if len(vectors_ID) == 0 or len(bad):
            what = f"{len(bad)} vectors are not finite, the first at place {bad[0]}" if len(bad) else "there is no item"
            raise RetrievalError(f"the index cannot be built: {what}; train again with a lower learning rate")
        kind, dim = choose_kind(settings, len(vectors_ID)), vectors_ID.shape[1]
        vectors_ID = np.ascontiguousarray(vectors_ID, np.float32)
        index: Any
        if kind == "flat":
            index = faiss.IndexFlatIP(dim)
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 200
        else:
            lists = max(1, min(len(vectors_ID) // 39, round(4 * math.sqrt(len(vectors_ID)))))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
            index.train(vectors_ID)
        index.add(vectors_ID)
        return cls(index, kind, settings)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def is_exact(self) -> bool:
        """Whether the answer is that of a full scan."""
        return self.kind == "flat"

    def _parameters(self, allowed_I: np.ndarray | None) -> Any:
        selector = None
        if allowed_I is not None:
            selector = faiss.IDSelectorBatch(np.flatnonzero(allowed_I).astype(np.int64))
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=min(self.settings.nprobe, self.index.nlist), sel=selector)
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=self.settings.ef_search, sel=selector)
        return faiss.SearchParameters(sel=selector)

    def search(self, query_D: np.ndarray, k: int, allowed_I: np.ndarray | None = None) -> Scored:
        """Return (places, scores) of at most k items, best first; fewer if fewer are allowed.

        Args:
            query_D: float32; a query that is not finite finds nothing.
            k: at least 1.
            allowed_I: true for the items that may be found; all if None.
        """
        if not np.isfinite(query_D).all():
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        query_1D = np.ascontiguousarray(query_D, np.float32).reshape(1, -1)
        parameters = self._parameters(allowed_I)
        scores_1K, places_1K = self.index.search(query_1D, min(k, len(self)), params=parameters)
        found_K = places_1K[0] >= 0
        return places_1K[0][found_K], scores_1K[0][found_K]

    def save(self, path: Path) -> None:
        """Write the index, and beside it its kind and settings."""
        write_file_atomic(path, lambda target: faiss.write_index(self.index, str(target)))
        write_json(path.with_suffix(".json"), {"kind": self.kind, "settings": self.settings.model_dump(mode="json")})

    @classmethod
    def load(cls, path: Path) -> "VectorIndex":
        """Read what `save` wrote."""
        about = json.loads(path.with_suffix(".json").read_text())
        return cls(faiss.read_index(str(path)), about["kind"], IndexSettings.model_validate(about["settings"]))


def measure_recall(index: VectorIndex, vectors_ID: np.ndarray, queries_QD: np.ndarray, k: int = 100) -> float:
    """Return the share of the exact k best items that the index finds, mean over queries."""
    if index.is_exact or len(queries_QD) == 0:
        return 1.0
    shares = []
    for query_D in queries_QD:
        exact_K = np.argsort(-(vectors_ID @ query_D), kind="stable")[:k]
        found, _ = index.search(query_D, k)
        shares.append(len(np.intersect1d(exact_K, found)) / len(exact_K))
    return float(np.mean(shares))


def require_recall(recall: float, kind: str, settings: IndexSettings) -> None:
    """Raise RetrievalError if an index finds less than the recipe's floor."""
    if recall < settings.recall_floor:
        raise RetrievalError(
            f"the {kind} finds {recall:.3f} of the exact 100 best, index.recall_floor is "
            f"{settings.recall_floor}; raise index.nprobe or index.ef_search, or use index.kind = flat"
        )
