"""Texts a second of the embed stage beside sentence-transformers and a plain map_batches: `python bench/embedding.py`.

The same model on one thread each, over film titles with genres, and over a mix of texts of 1 to 16 of them. Seconds run
from the first batch to the end of the last: starting actors and loading the model is left out on all sides. On a CPU
with instructions for bfloat16 the stage runs in that as well, and what it costs in nearest films is counted. Then 1 %
of the texts change, and the stage runs again. Prints one table and writes bench/results/embedding.json.
"""

import csv
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import ray  # noqa: E402
import typer  # noqa: E402

from bench.runs import CACHE, peer_python, say  # noqa: E402
from jobs.cluster import quiet_ray_data  # noqa: E402
from jobs.embed import encode, span  # noqa: E402
from motet.devices import EncoderDevices, of_encoder  # noqa: E402
from motet.encoders.text import TextEncoder, model_dim  # noqa: E402
from motet.settings import EncoderSettings  # noqa: E402
from motet.storage import write_json  # noqa: E402

MODEL = CACHE / "all-MiniLM-L6-v2"
SETTINGS = EncoderSettings(model=str(MODEL), max_tokens=256, batch_size=64)
COARSE = SETTINGS.model_copy(update={"precision": "bfloat16"})
MOST_TITLES = 16


def catalogue() -> list[str]:
    """Return the texts of the films."""
    with (CACHE / "ml-100k" / "items.csv").open(encoding="utf-8") as file:
        return [f"title: {row['title']}; year: {row['year']}; genres: {row['genres']}" for row in csv.DictReader(file)]


def mixed(texts: list[str], count: int) -> list[str]:
    """Return texts of 1 to 16 films, most of them short."""
    random = np.random.default_rng(1)
    lengths = np.minimum(random.geometric(0.2, count), MOST_TITLES)
    return [". ".join(random.choice(texts, length)) for length in lengths]


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 itself."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return bool({"avx512_bf16", "amx_bf16"} & set(flags))


def stage(texts: list[str], cache: Path, settings: EncoderSettings = SETTINGS) -> float:
    """Run the stage over texts with one actor of one thread; return its seconds after start-up."""
    one = EncoderDevices(of_encoder(settings, 0), num_cpus=1, num_gpus=0, first=1, most=1)
    with tempfile.TemporaryDirectory() as folder:
        keys = [str(place) for place in range(len(texts))]
        table = pa.table({"kind": ["items"] * len(texts), "key": keys, "text": texts})
        rows = encode(ray.data.from_arrow(table), Path(folder), cache, settings, model_dim(settings), one)
    assert sum(row["rows"] for row in rows) == len(texts)
    return span(rows)


class InOrder:
    """Encodes texts in batches as they come, padded to the longest of each batch."""

    def __init__(self) -> None:
        self.encoder = TextEncoder(SETTINGS, 1)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return when the batch began and ended, in seconds since 1970."""
        began = time.time()
        self.encoder.encode(table.column("text").to_pylist())
        return pa.table({"began": [began], "ended": [time.time()], "rows": [table.num_rows]})


def plain(texts: list[str]) -> float:
    """Encode by a map_batches of 64 texts with one actor of one thread; return its seconds after start-up."""
    done = ray.data.from_arrow(pa.table({"text": texts})).map_batches(
        InOrder, compute=ray.data.ActorPoolStrategy(size=1), batch_size=64, batch_format="pyarrow", num_cpus=1
    )
    rows = list(done.iter_rows())
    assert sum(row["rows"] for row in rows) == len(texts)
    return span(rows)


def sentence_transformers(texts: list[str]) -> float:
    """Let sentence-transformers encode on one thread; return its seconds without loading."""
    command = [peer_python("sentence_transformers"), ROOT / "bench" / "embedding_peer.py", MODEL, SETTINGS.max_tokens]
    done = subprocess.run(list(map(str, command)), input="\n".join(texts), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"embedding: sentence-transformers failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def fresh(texts: list[str], settings: EncoderSettings = SETTINGS) -> float:
    """Run the stage with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        return stage(texts, Path(folder), settings)


def stay(texts: list[str], settings: EncoderSettings, nearest: int = 10) -> float:
    """Return the share of each text's nearest ones, found by float32, that are found by other settings too."""
    found = []
    for one in (SETTINGS, settings):
        vectors_ND = TextEncoder(one, 2).encode(texts)
        cosines_NN = vectors_ND @ vectors_ND.T
        np.fill_diagonal(cosines_NN, -np.inf)
        found.append(np.argpartition(-cosines_NN, nearest, 1)[:, :nearest])
    return float(np.mean([len(set(a) & set(b)) / nearest for a, b in zip(*found, strict=True)]))


def again(texts: list[str], changes: float = 0.01) -> tuple[float, float]:
    """Return the seconds of a full run, and of one after a share of the texts changed, both after start-up."""
    cache = Path(tempfile.mkdtemp())
    try:
        full = stage(texts, cache)
        changed = [f"{text} again" if place % round(1 / changes) == 0 else text for place, text in enumerate(texts)]
        return full, stage(changed, cache)
    finally:
        shutil.rmtree(cache)


def main(
    rounds: Annotated[int, typer.Option(help="Runs of each side, in turns.")] = 3,
    count: Annotated[int, typer.Option(help="Texts of the mix.")] = 600,
) -> None:
    """Measure all sides."""
    ray.init(address="local", num_cpus=2, object_store_memory=200 << 20, log_to_driver=False)
    quiet_ray_data()
    films = catalogue()
    sides: dict[str, Callable[[list[str]], float]] = {
        "embed stage": fresh,
        "sentence-transformers": sentence_transformers,
        "plain map_batches": plain,
    }
    if has_bfloat16():
        sides["embed stage, bfloat16"] = partial(fresh, settings=COARSE)
    found: list[dict[str, Any]] = []
    say(f"{'':24}{'':12}{'texts/s':>10}{'least':>9}{'most':>9}{'ours against it':>17}")
    for name, texts in {"films": films, "mix": mixed(films, count)}.items():
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, run in sides.items():
                rates[side].append(len(texts) / run(texts))
        mine = float(np.median(rates["embed stage"]))
        for side, values in rates.items():
            middle = float(np.median(values))
            say(f"{side:24}{name:12}{middle:>10.1f}{min(values):>9.1f}{max(values):>9.1f}{mine / middle:>17.2f}")
            found.append({"what": f"{side}, {name}", "texts_s": middle, "least": min(values), "most": max(values),
                          "ours against it": mine / middle})  # fmt: skip
    if has_bfloat16():
        share = stay(films, COARSE)
        say(f"bfloat16: {share:.4f} of the ten nearest films stay")
        found.append({"what": "bfloat16, ten nearest", "stay": share})
    full, part = again(films)
    say(
        f"1 % of {len(films):,} films changed: {full:.1f} s the first time, {part:.2f} s again: {full / part:.0f} times"
    )
    found.append({"what": "1 % changed", "first_s": full, "again_s": part, "ratio": full / part})
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    write_json(ROOT / "bench" / "results" / "embedding.json", found)


if __name__ == "__main__":
    typer.run(main)
