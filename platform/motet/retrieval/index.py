"""The vector index: FAISS inner product over unit vectors, with an id for every row and a mask for every query.

The mask acts inside the search (IDSelector), which is widened by what the mask leaves out, and further until k answers
are found. If the mask leaves few items (`exact_below`), all of them are compared.
"""

import json
import math
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from motet.errors import RetrievalError
from motet.retrieval.index_kinds import SHORTENED, choose_kind, faiss, make, padded
from motet.settings import IndexSettings
from motet.storage import write_file_atomic, write_json

Scored = tuple[np.ndarray, np.ndarray]
_WIDER = 4.0
"""Factor by which a search that found too few is widened."""


class Vectors(Protocol):
    """Vectors by place."""

    def __getitem__(self, places: Any) -> np.ndarray:
        """Return the vectors of places."""


class Index(Protocol):
    """What retrieval asks of an index."""

    @property
    def is_exact(self) -> bool:
        """Whether the answer is that of a full scan."""

    def search(self, query_D: np.ndarray, k: int, allowed_I: np.ndarray | None = None) -> Scored:
        """Return (places, scores) of at most k items, best first."""


@dataclass
class VectorIndex:
    """A FAISS index whose row i is the item at place i."""

    index: Any
    kind: str
    settings: IndexSettings
    rows_ID: Vectors
    """The vectors themselves, which shortened ones are compared by in the end."""

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
        kind, _ = choose_kind(settings, len(vectors_ID))
        return cls(make(kind, vectors_ID, settings, gpu), kind, settings, vectors_ID)

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
        narrow = allowed_I is not None and passing <= self.settings.exact_below
        if self.kind in SHORTENED and narrow:
            assert allowed_I is not None
            return self._compared(np.flatnonzero(allowed_I), query_D, k)
        query_1D = padded(np.asarray(query_D).reshape(1, -1), self.index.d)
        selector = None if allowed_I is None else _selector(allowed_I)
        if self.kind in SHORTENED:
            places_N, _ = self._search(query_1D, min(wanted * self.settings.refine, passing), selector, passing)
            return self._compared(places_N, query_D, k)
        if narrow:
            return self._exact(query_1D, wanted, selector)
        return self._search(query_1D, wanted, selector, passing)

    def _compared(self, places_N: np.ndarray, query_D: np.ndarray, k: int) -> Scored:
        """Return the k best of some places by their vectors."""
        scores_N = np.asarray(self.rows_ID[places_N] @ query_D, np.float32)
        best_K = np.lexsort((places_N, -scores_N))[:k]
        return places_N[best_K], scores_N[best_K]

    def _search(self, query_1D: np.ndarray, wanted: int, selector: Any, passing: int) -> Scored:
        """Search wider and wider until all that are wanted are found."""
        effort = len(self) / passing
        while not self._covers(effort):
            found = _valid(self.index.search(query_1D, wanted, params=self._parameters(selector, effort)))
            if len(found[0]) == wanted:
                return found
            effort *= _WIDER
        return self._exact(query_1D, wanted, selector)

    @property
    def _has_lists(self) -> bool:
        return self.kind in ("ivf", "ivfpq")

    def _covers(self, effort: float) -> bool:
        """Return whether a search of this effort looks at everything."""
        if self.kind in ("flat", "sq8"):
            return True
        if self._has_lists:
            return self.settings.nprobe * effort >= self.index.nlist
        return self.settings.ef_search * effort >= len(self)

    def _parameters(self, selector: Any, effort: float) -> Any:
        """Return FAISS's parameters of a search that is `effort` times as wide as the recipe says."""
        if self._has_lists:
            return faiss.SearchParametersIVF(nprobe=math.ceil(self.settings.nprobe * effort), sel=selector)
        return faiss.SearchParametersHNSW(efSearch=math.ceil(self.settings.ef_search * effort), sel=selector)

    def _exact(self, query_1D: np.ndarray, wanted: int, selector: Any) -> Scored:
        """Compare all items that are selected."""
        if self._has_lists:
            parameters = faiss.SearchParametersIVF(nprobe=self.index.nlist, sel=selector)
            return _valid(self.index.search(query_1D, wanted, params=parameters))
        flat = faiss.downcast_index(self.index.storage) if self.kind == "hnsw" else self.index
        return _valid(flat.search(query_1D, wanted, params=faiss.SearchParameters(sel=selector)))

    def save(self, path: Path) -> None:
        """Write the index, and beside it its kind and settings."""
        write_file_atomic(path, lambda target: faiss.write_index(self.index, str(target)))
        self.save_settings(path)

    def save_settings(self, path: Path) -> None:
        """Write kind and settings beside an index that was written."""
        write_json(path.with_suffix(".json"), {"kind": self.kind, "settings": self.settings.model_dump(mode="json")})

    @classmethod
    def load(cls, path: Path, rows_ID: Vectors) -> "VectorIndex":
        """Read what `save` wrote of an index over these vectors."""
        about = _about(path)
        settings = IndexSettings.model_validate(about["settings"])
        return cls(_read(path), about["kind"], settings, rows_ID)


def _about(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.with_suffix(".json").read_text()))


def is_exact(path: Path) -> bool:
    """Return whether an index that was written gives the answer of a full scan."""
    return _about(path)["kind"] == "flat"


_reading = threading.Lock()
_LEAST_LIMIT, _TIMES = 256 << 20, 16
"""Bytes that one table of an index may take when it is read: some are made of shorter ones, as those of IVF-PQ."""


def _read(path: Path) -> Any:
    """Read an index whose file was checked; what it asks memory for is bounded by its size.

    Raises:
        RetrievalError: if FAISS cannot read it.
    """
    most = max(_LEAST_LIMIT, _TIMES * path.stat().st_size)
    with _reading:  # the limits are those of the process
        faiss.set_deserialization_vector_byte_limit(most)
        faiss.set_deserialization_loop_limit(most)
        try:
            return faiss.read_index(str(path))
        except RuntimeError as error:
            raise RetrievalError(f"{path} is no index that FAISS can read; run the index stage again") from error


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


def widened(
    index: VectorIndex, vectors_ID: np.ndarray, queries_QD: np.ndarray, floor: float
) -> tuple[VectorIndex, float]:
    """Return (the index with the least `nprobe`, of those doubled from its own, that reaches a recall; its recall)."""
    recall = measure_recall(index, vectors_ID, queries_QD)
    while recall < floor and index.kind == "ivf" and index.settings.nprobe < index.index.nlist:
        settings = index.settings.model_copy(update={"nprobe": 2 * index.settings.nprobe})
        index = replace(index, settings=settings)
        recall = measure_recall(index, vectors_ID, queries_QD)
    return index, recall


def require_recall(recall: float, kind: str, settings: IndexSettings) -> None:
    """Raise RetrievalError if an index finds less than the recipe's floor."""
    if recall < settings.recall_floor:
        raise RetrievalError(
            f"the {kind} finds {recall:.3f} of the exact 100 best, index.recall_floor is "
            f"{settings.recall_floor}; raise index.nprobe or index.ef_search, or use index.kind = flat"
        )
