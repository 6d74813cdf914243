"""Build seconds, queries a second and recall of each kind of index: `python bench/index.py [--sizes 10000,100000]`.

Vectors lie in clusters, as those of items do; queries lie beside items. One thread. A million items takes half an hour,
nearly all of it the graph. Prints one table, and writes bench/results/index.json and bench/results/index.svg.
"""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import faiss  # noqa: E402
import numpy as np  # noqa: E402
import typer  # noqa: E402

from motet.retrieval.index import VectorIndex  # noqa: E402
from motet.settings import IndexSettings  # noqa: E402
from motet.storage import write_json  # noqa: E402

DIM, CLUSTERS, QUERIES, K = 64, 500, 200, 100
WIDTHS: dict[str, list[dict[str, Any]]] = {
    "flat": [{}],
    "sq8": [{}],
    "ivf": [{"nprobe": width} for width in (8, 32, 128)],
    "ivfpq": [{"nprobe": width} for width in (8, 32, 128)],
    "hnsw": [{"ef_search": width} for width in (128, 256, 512)],
}
RESULTS = ROOT / "bench" / "results"


def vectors(items: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors [items, DIM] around centres, some of which have many items and most few."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    sizes = 1 / np.arange(1, CLUSTERS + 1)
    own = random.choice(CLUSTERS, items, p=sizes / sizes.sum())
    found = centres[own] + random.normal(size=(items, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def queries(rows_ID: np.ndarray, seed: int = 1) -> np.ndarray:
    """Return unit vectors [QUERIES, DIM] beside items."""
    random = np.random.default_rng(seed)
    near = rows_ID[random.choice(len(rows_ID), QUERIES)]
    found = near + 0.1 * random.normal(size=near.shape).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def ask(index: VectorIndex, asked_QD: np.ndarray, exact: list[np.ndarray]) -> tuple[float, float]:
    """Return (queries a second, recall@K), asked one by one as the Retriever does."""
    start = time.perf_counter()
    found = [index.search(query_D, K)[0] for query_D in asked_QD]
    seconds = time.perf_counter() - start
    shares = [len(np.intersect1d(one, other)) / K for one, other in zip(found, exact, strict=True)]
    return len(asked_QD) / seconds, float(np.mean(shares))


def measure(items: int) -> list[dict[str, Any]]:
    """Return the rows of one size."""
    rows_ID = vectors(items)
    asked_QD = queries(rows_ID)
    exact = [np.argpartition(-(rows_ID @ query_D), K)[:K] for query_D in asked_QD]
    rows = []
    for kind, widths in WIDTHS.items():
        start = time.perf_counter()
        built = VectorIndex.build(rows_ID, IndexSettings(kind=kind))  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        size = faiss.serialize_index(built.index).nbytes
        for width in widths:
            index = VectorIndex(built.index, built.kind, IndexSettings(kind=kind, **width), rows_ID)  # type: ignore[arg-type]
            rate, recall = ask(index, asked_QD, exact)
            row = {"items": items, "kind": kind, **width, "build_s": seconds, "queries_s": rate, "recall": recall,
                   "mb": size / 1e6}  # fmt: skip
            rows.append(row)
            said = ", ".join(f"{name} {value}" for name, value in width.items())
            print(f"{items:>10,} {kind:>6} {said:>14} {seconds:>9.1f} {rate:>11.0f} {recall:>11.3f} {size / 1e6:>8.1f}",
                  flush=True)  # fmt: skip
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw queries a second against recall, a panel for each size."""
    from matplotlib.figure import Figure

    sizes = sorted({row["items"] for row in rows})
    figure = Figure(figsize=(5 * len(sizes), 4), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    for panel, items in zip(panels, sizes, strict=True):
        for kind in WIDTHS:
            own = [row for row in rows if (row["items"], row["kind"]) == (items, kind)]
            recalls, rates = ([row[name] for row in own] for name in ("recall", "queries_s"))
            panel.plot(recalls, rates, marker="o", label=kind)
        panel.set(title=f"{items:,} items", xlabel=f"recall@{K}", ylabel="queries a second, one thread", yscale="log")
        panel.legend()
    figure.savefig(path)


def main(
    sizes: Annotated[str, typer.Option(help="Catalogues, separated by commas.")] = (
        "10000,100000,1000000" if os.environ.get("BENCH_FULL") else "10000,100000"
    ),
) -> None:
    """Measure all kinds at all sizes."""
    faiss.omp_set_num_threads(1)
    print(f"{'items':>10} {'kind':>6} {'':>14} {'build, s':>9} {'queries/s':>11} {'recall@100':>11} {'MB':>8}")
    rows = [row for size in sizes.split(",") for row in measure(int(size))]
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "index.json", rows)
    plot(rows, RESULTS / "index.svg")


if __name__ == "__main__":
    typer.run(main)
