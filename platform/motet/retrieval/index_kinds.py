"""Kinds of vector indices: what FAISS builds for each, and which one `auto` takes.

flat    all vectors, compared one by one: exact
sq8     the same with a byte for each number
ivf     inverted lists, `nprobe` of them searched
ivfpq   inverted lists of short codes, a byte for each `pq_dims` numbers
hnsw    a navigable graph, `ef_search` wide

What sq8 and ivfpq find by their codes is compared again by the vectors themselves.
"""

import math
from typing import Any

import faiss as _faiss
import numpy as np

from motet.errors import RetrievalError
from motet.settings import IndexSettings

faiss: Any = _faiss  # its published types lack the search parameters
SHORTENED = ("sq8", "ivfpq")
"""Kinds that do not hold the vectors themselves."""
LEAST_FOR_PQ = 39 * 256
"""Vectors below which FAISS has too few to learn 256 codes from."""
_LINKS, _CONSTRUCTION = 32, 200


def choose_kind(settings: IndexSettings, items: int) -> tuple[str, str]:
    """Return (kind, why): the recipe's word, or by the catalogue's size under auto.

    Lists, since they reach a floor at more queries a second than a graph does, and are built in a tenth of its time
    (bench/index.py); how many of them are searched, `index.widened` finds out.
    """
    kind = settings.kind
    if kind == "ivfpq" and items < LEAST_FOR_PQ:
        return "flat", f"{items:,} items are too few for the codes of ivfpq, which want {LEAST_FOR_PQ:,}"
    if kind != "auto":
        return kind, "the recipe says so"
    if items <= settings.flat_limit:
        return "flat", f"{items:,} items are at most index.flat_limit = {settings.flat_limit:,}"
    return "ivf", f"{items:,} items are more than index.flat_limit = {settings.flat_limit:,}"


def make(kind: str, vectors_ID: np.ndarray, settings: IndexSettings, gpu: bool = False) -> Any:
    """Return a trained FAISS index that holds the vectors, contiguous float32, built on a GPU if that is asked for.

    Raises:
        RetrievalError: if there is no GPU.
    """
    vectors_ID = padded(vectors_ID, width_of(kind, vectors_ID.shape[1], settings))
    dim = vectors_ID.shape[1]
    return _filled(_empty(kind, dim, len(vectors_ID), settings), vectors_ID, gpu)


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


def _empty(kind: str, dim: int, items: int, settings: IndexSettings) -> Any:
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    if kind == "sq8":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _CONSTRUCTION
        return index
    lists = max(1, min(items // 39, round(4 * math.sqrt(items))))
    if kind == "ivf":
        return faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    codes = dim // settings.pq_dims
    return faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, lists, codes, 8, faiss.METRIC_INNER_PRODUCT)


def width_of(kind: str, dim: int, settings: IndexSettings) -> int:
    """Return how wide vectors are that an index of this kind takes: ivfpq wants whole bytes."""
    return dim if kind != "ivfpq" else settings.pq_dims * math.ceil(dim / settings.pq_dims)


def padded(vectors_ND: np.ndarray, width: int) -> np.ndarray:
    """Return vectors with zeros behind them up to a width, contiguous float32."""
    missing = width - vectors_ND.shape[1]
    wide_NW = np.pad(vectors_ND, ((0, 0), (0, missing))) if missing else vectors_ND
    return np.ascontiguousarray(wide_NW, np.float32)
