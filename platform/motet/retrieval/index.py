"""The vector index: FAISS inner product over unit vectors, with an id for every row and a mask for every query.

flat   exact
ivf    inverted lists, `nprobe` of them searched
hnsw   a navigable graph, `ef_search` wide

The mask acts inside the search (IDSelector), which is widened by what the mask leaves out, and further until k answers
are found. If the mask leaves few items (`exact_below`), all of them are compared.
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
_WIDER = 4.0
"""Factor by which a search that found too few is widened."""
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
    def build(cls, vectors_ID: np.ndarray, settings: IndexSettings, gpu: bool = False) -> "VectorIndex":
        """Build from vectors.

        Args:
            vectors_ID: float32.
            settings: the recipe's index section.
            gpu: build on the process's first GPU; the index is one for CPUs all the same.

        Raises:
            RetrievalError: if a vector is not finite (it could never be found) or there is none, or if there is no GPU.
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
        return cls(_filled(index, vectors_ID, gpu), kind, settings)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def is_exact(self) -> bool:
        """Whether the answer is that of a full scan."""
        return self.kind == "flat"

    def search(self, query_D: np.ndarray, k: int, allowed_I: np.ndarray | None = None) -> Scored:
        """Return (places, scores) of the k best items, best first; fewer only if fewer are allowed.

        Args:
            query_D: float32; a query that is not finite finds nothing.
            k: at least 1.
            allowed_I: true for the items that may be found; all if None.
        """
        passing = len(self) if allowed_I is None else int(np.count_nonzero(allowed_I))
        wanted = min(k, passing)
        if wanted == 0 or not np.isfinite(query_D).all():
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        query_1D = np.ascontiguousarray(query_D, np.float32).reshape(1, -1)
        selector = None if allowed_I is None else _selector(allowed_I)
        narrow = allowed_I is not None and passing <= self.settings.exact_below
        effort = len(self) / passing
        while not (self.is_exact or narrow or self._covers(effort)):
            found = _valid(self.index.search(query_1D, wanted, params=self._parameters(selector, effort)))
            if len(found[0]) == wanted:
                return found
            effort *= _WIDER
        return self._exact(query_1D, wanted, selector)

    def _covers(self, effort: float) -> bool:
        """Return whether a search of this effort looks at everything."""
        if self.kind == "ivf":
            return self.settings.nprobe * effort >= self.index.nlist
        return self.settings.ef_search * effort >= len(self)

    def _parameters(self, selector: Any, effort: float) -> Any:
        """Return FAISS's parameters of a search that is `effort` times as wide as the recipe says."""
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=math.ceil(self.settings.nprobe * effort), sel=selector)
        return faiss.SearchParametersHNSW(efSearch=math.ceil(self.settings.ef_search * effort), sel=selector)

    def _exact(self, query_1D: np.ndarray, wanted: int, selector: Any) -> Scored:
        """Compare all items that are selected."""
        if self.kind == "ivf":
            parameters = faiss.SearchParametersIVF(nprobe=self.index.nlist, sel=selector)
            return _valid(self.index.search(query_1D, wanted, params=parameters))
        flat = faiss.downcast_index(self.index.storage) if self.kind == "hnsw" else self.index
        return _valid(flat.search(query_1D, wanted, params=faiss.SearchParameters(sel=selector)))

    def save(self, path: Path) -> None:
        """Write the index, and beside it its kind and settings."""
        write_file_atomic(path, lambda target: faiss.write_index(self.index, str(target)))
        write_json(path.with_suffix(".json"), {"kind": self.kind, "settings": self.settings.model_dump(mode="json")})

    @classmethod
    def load(cls, path: Path) -> "VectorIndex":
        """Read what `save` wrote."""
        about = json.loads(path.with_suffix(".json").read_text())
        return cls(faiss.read_index(str(path)), about["kind"], IndexSettings.model_validate(about["settings"]))


def _filled(index: Any, vectors_ID: np.ndarray, gpu: bool) -> Any:
    """Train an empty index and add the vectors."""
    if not gpu:
        index.train(vectors_ID)
        index.add(vectors_ID)
        return index
    if problem := _no_gpu():
        raise RetrievalError(f"index.gpu = true and {problem}; install one that does, or set index.gpu to false")
    there = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    return faiss.index_gpu_to_cpu(_filled(there, vectors_ID, gpu=False))


def _no_gpu() -> str | None:
    """Return why FAISS cannot build on a GPU here, or None."""
    if not hasattr(faiss, "StandardGpuResources"):
        return f"faiss {faiss.__version__} was built without GPU support"
    return None if faiss.get_num_gpus() else "faiss sees no GPU in this process"


def _selector(allowed_I: np.ndarray) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(allowed_I, bitorder="little"))


def _valid(found: tuple[np.ndarray, np.ndarray]) -> Scored:
    """Return (places, scores) of one query without the places of -1 that FAISS fills up with."""
    scores_1K, places_1K = found
    found_K = places_1K[0] >= 0
    return places_1K[0][found_K], scores_1K[0][found_K]


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
