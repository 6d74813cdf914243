"""What later stages read of the prepared histories and embedded texts, shard by shard."""

import json
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.embed import load_vectors
from jobs.tables import over_files
from motet.data.features import FeatureSpec
from motet.data.moments import BEFORE_VALIDATION, AsOf
from motet.data.parquet import read_parquet
from motet.data.split import TRAIN
from motet.encoders.cache import VectorCache, text_keys
from motet.encoders.whitening import Whitening
from motet.errors import DataError
from motet.kinds import LabelScale
from motet.mirror import names_in
from motet.model.items import ItemInputs, pad_slots
from motet.model.recommender import Shapes
from motet.storage import read_json

LABEL, SIGNAL = "label:", "signal:"


@dataclass(frozen=True)
class Statistics:
    """Counts per item and the scale of each label and signal, over the events that are trained on."""

    counts_I: np.ndarray
    scales: dict[str, LabelScale]
    signals: dict[str, LabelScale]


def train_statistics(prepared: Path, items: int, as_of: AsOf = BEFORE_VALIDATION) -> Statistics:
    """Gather the statistics over all shards (Ray Data)."""
    files = names_in(prepared / "histories")
    counts_I = np.zeros(items, np.int64)
    sums: dict[str, list[list[float]]] = {}
    for row in over_files(files, partial(_shard_statistics, items=items, as_of=as_of)):
        counts_I += np.frombuffer(row["counts"], np.int64)
        for name, moments in json.loads(row["labels"]).items():
            sums.setdefault(name, []).append(moments)
    scales, signals = (
        {name.removeprefix(kind): _scale(moments) for name, moments in sums.items() if name.startswith(kind)}
        for kind in (LABEL, SIGNAL)
    )
    return Statistics(counts_I, scales, signals)


def _scale(parts: list[list[float]]) -> LabelScale:
    counts, totals, squares, lows, highs, whole = np.array(parts).T
    count = max(counts.sum(), 1)
    mean = totals.sum() / count
    std = float(np.sqrt(max(squares.sum() / count - mean**2, 0.0))) or 1.0
    return LabelScale(float(mean), std, float(lows.min()), float(highs.max()), bool(whole.all()))


def _shard_statistics(table: pa.Table, items: int, as_of: AsOf) -> pa.Table:
    table = as_of.parts(table)
    train_N = flat(table, "parts") == TRAIN
    counts_I = np.bincount(flat(table, "items")[train_N], minlength=items).astype(np.int64)
    labels = {}
    for name in table.column_names:
        if name.startswith((LABEL, SIGNAL)):
            values_N = flat(table, name)[train_N].astype(np.float64)
            known_N = values_N[~np.isnan(values_N)]
            if len(known_N):
                moments = [len(known_N), known_N.sum(), (known_N**2).sum(), known_N.min(), known_N.max()]
                moments.append((known_N == known_N.round()).all())
                labels[name] = [float(value) for value in moments]
    return pa.table({"counts": [counts_I.tobytes()], "labels": [json.dumps(labels)]})


def flat(table: pa.Table, name: str) -> np.ndarray:
    """Return the values of a list column one after another; null values as NaN."""
    return np.asarray(table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False))


def log_counts(counts_I: np.ndarray) -> np.ndarray:
    """Return log(1 + count) scaled to [0, 1], float32."""
    logs_I = np.log1p(counts_I.astype(np.float64))
    return np.asarray(logs_I / max(float(logs_I.max()), 1.0), np.float32)


def item_inputs(prepared: Path, embedded: Path, counts_I: np.ndarray) -> ItemInputs:
    """Return what the item tower reads of the whole catalogue, by place."""
    table = read_parquet(prepared / "items", ["place", "slots", "numbers"])
    keys, vectors_KX = load_vectors(embedded / "items")
    places_K = np.array(keys, np.int64)
    if sorted(places_K.tolist()) != list(range(table.num_rows)):
        raise DataError(f"{embedded} does not hold one vector per item; delete it and run jobs/pipeline.py again")
    text_IX = np.zeros_like(vectors_KX)
    text_IX[places_K] = Whitening.load(embedded / "whitening.safetensors").apply(vectors_KX)
    numbers_IM = np.asarray(table.column("numbers").to_pylist(), np.float32).reshape(table.num_rows, -1)
    return ItemInputs(text_IX, pad_slots(table.column("slots").to_pylist()), numbers_IM, log_counts(counts_I))


def shapes(prepared: Path, inputs: ItemInputs) -> Shapes:
    """Return the sizes of the network."""
    fitted = read_json(prepared / "features.json")
    items, users = (FeatureSpec.model_validate(fitted[name]) for name in ("items", "users"))
    text = inputs.text_IX.shape[1]
    return Shapes(len(inputs), text, items.slots, len(items.numbers), text, users.slots, len(users.numbers))


@dataclass(frozen=True)
class UserTexts:
    """Whitened vectors of users' texts, from the cache of the encoder (opened once per process)."""

    cache: str
    embedded: str
    dim: int

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Return [len(texts), dim]; an empty text is zero, as for someone of whom nothing is known.

        Raises:
            DataError: if a text was never encoded.
        """
        cache, whitening = _open_texts(self.cache, self.embedded, self.dim)
        vectors_UX, found_U = cache.get(text_keys(texts))
        empty_U = np.array([not text for text in texts], bool)
        if not (found_U | empty_U).all():
            lacking = int((~(found_U | empty_U)).sum())
            raise DataError(
                f"{self.cache} lacks {lacking} texts; delete {self.embedded} and run jobs/pipeline.py again"
            )
        vectors_UX = whitening.apply(vectors_UX)
        vectors_UX[empty_U] = 0.0
        return vectors_UX


@cache
def _open_texts(cache_folder: str, embedded: str, dim: int) -> tuple[VectorCache, Whitening]:
    return VectorCache(Path(cache_folder), dim), Whitening.load(Path(embedded) / "whitening.safetensors")


def shards_of(prepared: Path) -> list[dict[str, str]]:
    """Return one row per shard with the paths of its histories and users, which hold the same people."""
    names = [path.name for path in names_in(prepared / "histories")]
    return [{"histories": str(prepared / "histories" / n), "users": str(prepared / "users" / n)} for n in names]
