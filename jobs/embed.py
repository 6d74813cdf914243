"""embed: the texts of items and users to vectors, through a pool of encoder actors (Ray Data).

    texts -> cached? -> encode the rest, batched by token length -> vectors by place -> whitening fitted on items

A vector is cached under its text's hash, so a second run encodes nothing and one changed title encodes one row. A text
that kills the process which encodes it, twice when it is alone in hand, counts as empty and is listed in
`quarantine.jsonl`.
"""

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from jobs.cluster import devices_for
from jobs.stages import Result, Run, code_version, run_stage
from motet.data.parquet import read_parquet, write_parquet
from motet.devices import EncoderDevices, Place
from motet.encoders.cache import VectorCache, in_hex, text_keys
from motet.encoders.in_hand import FOLDER, MOST_KILLED, InHand
from motet.encoders.text import TextEncoder, actor_threads, encoder_key, model_dim
from motet.encoders.whitening import Moments, Whitening
from motet.errors import DataError
from motet.mirror import at_hand, mirror_of, names_in
from motet.settings import EncoderSettings
from motet.storage import fingerprint, write_atomic, write_json

CODE = ("platform/motet/encoders", "platform/motet/devices.py", "jobs/embed.py")
_ROWS, _ROWS_READ = 1024, 16_384


def embed(run: Run, prepared: Result) -> Result:
    """Run the stage."""
    settings = run.recipe.encoder
    inputs = {
        "encoder": encoder_key(settings),
        "whitening": [settings.whitening, settings.whitening_shrinkage],
        "prepared": prepared.id,
        "code": code_version(*CODE),
    }
    return run_stage(run, "embed", "embedded", inputs, partial(_work, run=run, prepared=prepared))


def _work(folder: Path, run: Run, prepared: Result) -> dict[str, Any]:
    settings = run.recipe.encoder
    devices = devices_for(run.recipe, "embed").encoder
    dim = model_dim(settings)
    cache = run.workspace / "embeddings" / encoder_key(settings)
    rows = encode(_texts(prepared.folder), folder, cache, settings, dim, devices)
    counts = {kind: sum(r["rows"] for r in rows if r["kind"] == kind) for kind in ("items", "users")}
    expected = {"items": prepared.summary["items"], "users": prepared.summary["users"]}
    if counts != expected:
        raise DataError(f"embed wrote {counts} rows, prepare left {expected}; rows were lost or doubled, run again")
    _whitening(rows, settings, dim).save(folder / "whitening.safetensors")
    write_json(folder / "encoder.json", {**settings.model_dump(mode="json"), "dim": dim, "key": cache.name})
    embedded = sum(row["embedded"] for row in rows)
    line = f"{counts['items']:,} items and {counts['users']:,} users, embedded {embedded:,} texts, rest from the cache"
    if left_out := _quarantine(folder, rows):
        line += f"; {left_out:,} texts are left out, since they kill the process that encodes them (quarantine.jsonl)"
    return {"line": line, **counts, "embedded": embedded, "left_out": left_out, "dim": dim, "seconds": span(rows)}


def _quarantine(folder: Path, rows: list[dict[str, Any]]) -> int:
    """List whose texts were left out, if any; return how many."""
    reason = f"killed the process that encoded it, {MOST_KILLED} times alone"
    lines = [
        json.dumps({"kind": row["kind"], "key": key, "reason": reason})
        for row in rows
        for key in row["left_out"].split("\n")
        if key
    ]
    if lines:
        write_atomic(folder / "quarantine.jsonl", ("\n".join(lines) + "\n").encode())
    return len(lines)


def _texts(prepared: Path) -> ray.data.Dataset:
    """Return kind, key (place of the item, or user's id) and text."""
    datasets = []
    for kind, key in (("items", "place"), ("users", "user")):
        files = [{"file": str(path)} for path in names_in(prepared / kind)]
        dataset = ray.data.from_items(files, override_num_blocks=len(files))
        read = partial(_read_texts, kind=kind, key=key)
        rows = dataset.map_batches(read, batch_size=1, batch_format="pyarrow")
        datasets.append(rows.repartition(target_num_rows_per_block=_ROWS))  # a file has many, for all actors
    return datasets[0].union(datasets[1])


def _read_texts(batch: pa.Table, kind: str, key: str) -> Iterator[pa.Table]:
    for path in batch.column("file").to_pylist():
        file = pq.ParquetFile(at_hand(Path(path)), page_checksum_verification=True)
        for part in file.iter_batches(_ROWS_READ, columns=[key, "text"]):
            keys, text = part.column(key).cast(pa.string()), pc.fill_null(part.column("text"), "")
            yield pa.table({"kind": pa.array([kind] * part.num_rows, pa.string()), "key": keys, "text": text})


def encode(
    texts: ray.data.Dataset, folder: Path, cache: Path, settings: EncoderSettings, dim: int, devices: EncoderDevices
) -> list[dict[str, Any]]:
    """Encode texts by a pool of actors; return what they did, a row for each kind of each batch.

    Args:
        texts: from `_texts`.
        folder: where the vectors of items go.
        cache: folder of the cache.
        settings: the recipe's encoder.
        dim: width of its vectors.
        devices: what the actors compute on.
    """
    given = {"settings": settings, "folder": str(folder), "cache": str(cache), "dim": dim, "place": devices.place}
    done = texts.map_batches(
        EncoderActor,
        fn_constructor_kwargs=given,
        compute=ray.data.ActorPoolStrategy(min_size=devices.first, max_size=devices.most),
        batch_size=_ROWS,
        batch_format="pyarrow",
        num_cpus=devices.num_cpus,
        num_gpus=devices.num_gpus or None,
    )
    return list(done.iter_rows())


class EncoderActor:
    """One member of the pool: takes texts, fills the cache, leaves the items' vectors in the folder, says what it did.

    The model is loaded at the first text that the cache does not hold.
    """

    def __init__(self, settings: EncoderSettings, folder: str, cache: str, dim: int, place: Place) -> None:
        self.settings, self.folder, self.place = settings, Path(folder), place
        self.cache = VectorCache(Path(cache), dim)
        self.hand = InHand(_of_node(Path(cache)) / FOLDER)
        self.encoder: TextEncoder | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        """Encode a batch; return one row per kind: rows, embedded, moments, and seconds since 1970 of begin and end."""
        began = time.time()
        texts = table.column("text").to_pylist()
        keys_N = text_keys(texts)
        vectors_ND, found_N = self.cache.get(keys_N)
        found_N |= np.array([not text for text in texts], bool)
        embedded, out_N = 0, np.zeros(len(texts), bool)
        if not found_N.all():
            began += self._load()
            missing_M, first_M = np.unique(keys_N[~found_N], return_index=True)
            rows_M = np.flatnonzero(~found_N)[first_M]
            embedded = self._encode(missing_M, [texts[row] for row in rows_M])
            vectors_ND, there_N = self.cache.get(keys_N)
            out_N = ~found_N & ~there_N
        rows = self._write(table, vectors_ND, embedded, out_N)
        return pa.Table.from_pylist([{**row, "began": began, "ended": time.time()} for row in rows])

    def _load(self) -> float:
        """Load the model, if it is not; return the seconds that took, which count as start-up."""
        start = time.perf_counter()
        if self.encoder is None:
            self.encoder = TextEncoder(self.settings, actor_threads(self.settings), self.place)
        return time.perf_counter() - start

    def _encode(self, keys_M: np.ndarray, texts: list[str]) -> int:
        """Encode texts into the cache, all but those that kill; return how many."""
        assert self.encoder is not None
        names, done = in_hex(keys_M), 0
        self.hand.look()
        killers = self.hand.killers()
        rest = [row for row, name in enumerate(names) if name not in killers]
        free, groups = self.hand.groups([names[row] for row in rest])
        for group in (free, *groups):
            rows = [rest[place] for place in group]
            take = partial(self._take, [names[row] for row in rows])
            if rows:
                self.cache.add(keys_M[rows], self.encoder.encode([texts[row] for row in rows], take))
            done += len(rows)
        self.hand.take([])
        return done

    def _take(self, names: list[str], rows: Sequence[int]) -> None:
        self.hand.take([names[row] for row in rows])

    def _write(self, table: pa.Table, vectors_ND: np.ndarray, embedded: int, out_N: np.ndarray) -> list[dict[str, Any]]:
        kinds_N = np.array(table.column("kind").to_pylist())
        rows = []
        for kind in np.unique(kinds_N):
            chosen = np.flatnonzero(kinds_N == kind)
            if kind == "items":
                keys = table.column("key").take(pa.array(chosen))
                flat = pa.array(vectors_ND[chosen].reshape(-1))
                part = pa.table({"key": keys, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors_ND.shape[1])})
                write_parquet(self.folder / "items" / f"part-{fingerprint(keys.to_pylist())}.parquet", part)
            moments = Moments.of(vectors_ND[chosen])
            packed = np.concatenate([moments.sum_D, moments.outer_DD.reshape(-1)]) if kind == "items" else np.zeros(0)
            out = table.column("key").take(pa.array(chosen[out_N[chosen]], pa.int64())).to_pylist()
            said = {"embedded": embedded, "left_out": "\n".join(out), "moments": packed.tobytes()}
            rows.append({"kind": str(kind), "rows": len(chosen), **said})
            embedded = 0
        return rows


def _of_node(cache: Path) -> Path:
    """Return a folder for files that are locked, which only a folder that all nodes see can be for all nodes."""
    return cache if mirror_of(cache) is None else cache / ".node"


def span(rows: list[dict[str, Any]]) -> float:
    """Return the seconds from the first batch of a run to the end of its last, without start-up."""
    return max(float(row["ended"]) for row in rows) - min(float(row["began"]) for row in rows)


def _whitening(rows: list[dict[str, Any]], settings: EncoderSettings, dim: int) -> Whitening:
    if not settings.whitening:
        return Whitening.identity(dim)
    total = Moments(0, np.zeros(dim), np.zeros((dim, dim)))
    for row in rows:
        if row["kind"] == "items":
            packed = np.frombuffer(row["moments"])
            total.add(Moments(row["rows"], packed[:dim], packed[dim:].reshape(dim, dim)))
    return Whitening.fit(total, settings.whitening_shrinkage)


def load_vectors(folder: Path) -> tuple[list[str], np.ndarray]:
    """Return (keys, vectors [N, D]) of one kind."""
    table = read_parquet(folder)
    vectors = table.column("vector").combine_chunks()
    return table.column("key").to_pylist(), vectors.flatten().to_numpy().reshape(table.num_rows, -1)
