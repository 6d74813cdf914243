"""Faults while texts are embedded: what dies, what kills, and what the next run finds."""

import contextlib
import json
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from motet.data.parquet import read_parquet
from motet.storage import read_manifest
from tests.chaos.rig import ROOT, record, wait_for
from tests.chaos.runs import embedded_once, finish, kill, own_environment, start, with_stages
from tests.nodes import several_nodes
from tests.synthetic import events, recipe, users, write_csv, write_recipe

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

MANY = 2_500


@pytest.fixture
def apart():
    with own_environment() as environment:
        yield environment


def write_many(folder: Path, model: Path) -> Path:
    """The shop with 2,500 items, each with a text of its own."""
    write_csv(folder / "events.csv", events())
    write_csv(folder / "users.csv", users())
    rows = [
        {"item_id": f"i{n}", "title": f"item number {n} of many", "genres": "comedy", "year": 1990} for n in range(MANY)
    ]
    write_csv(folder / "items.csv", rows)
    return write_recipe(folder / "shop.yaml", recipe(folder, model))


def vectors(workspace: Path) -> dict[str, np.ndarray]:
    (folder,) = (workspace / "embedded").iterdir()
    table = read_parquet(folder / "items")
    rows = table.column("vector").combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    keys = table.column("key").to_pylist()
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows, strict=True))


def embedded(workspace: Path) -> int:
    (folder,) = (workspace / "embedded").iterdir()
    return int(read_manifest(folder)["summary"]["embedded"])


@pytest.fixture(scope="module")
def made(tmp_path_factory, minilm):
    """(recipe's file, workspace) of a run that nothing befell."""
    return embedded_once(write_many(tmp_path_factory.mktemp("undisturbed"), minilm))


@pytest.fixture(scope="module")
def undisturbed(made):
    """Its vectors."""
    return vectors(made[1])


@pytest.fixture
def many(made, tmp_path):
    """(recipe's file, words by which a run embeds in a workspace of its own, where all is prepared)."""
    file, workspace = made
    return file, [*with_stages(workspace, tmp_path, "prepared"), "--until", "embed"]


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, int]:
    """Rows that are lost, and rows that are other ones."""
    other = sum(not np.allclose(found[key], row, atol=1e-5) for key, row in expected.items() if key in found)
    return {"rows": len(expected), "lost": len(expected.keys() - found.keys()), "other vectors": other}


def test_f01_a_worker_is_killed_while_texts_are_embedded(tmp_path, many, apart, undisturbed):
    file, words = many
    process = start(file, apart, *words)
    killed = []

    def found() -> bool:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if "EncoderActor" in " ".join(child.cmdline()):
                    child.kill()
                    killed.append(child.pid)
            except psutil.Error:
                continue
        return bool(killed) or process.poll() is not None

    wait_for(found, 60)
    finish(process)
    assert killed
    figures = same(vectors(tmp_path / "workspace"), undisturbed)
    record("F01", "a worker that embeds is killed", "SIGKILL of an actor of the pool, once", figures)
    assert (figures["lost"], figures["other vectors"]) == (0, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_f08_the_embed_job_is_killed_and_run_again(tmp_path, many, apart, undisturbed, share):
    """What was embedded is in the cache, and is not embedded again."""
    file, words = many
    process, cache = start(file, apart, *words), tmp_path / "workspace" / "embeddings"
    wait_for(partial(_is_ripe, cache, share * MANY, process), 120)
    assert process.poll() is None, "it was over before it could be killed"
    kill(process)
    had, began = _cached(cache), time.monotonic()
    finish(start(file, apart, *words))
    found = same(vectors(tmp_path / "workspace"), undisturbed)
    figures = {
        "texts embedded before": had, "after": embedded(tmp_path / "workspace"),
        "of these again": had + embedded(tmp_path / "workspace") - _cached(cache),
        **found, "seconds of the second run": round(time.monotonic() - began, 1),
    }  # fmt: skip
    record(
        "F08", f"the embed job killed at {share:.0%}, and run again", f"SIGKILL of the driver, {MANY:,} texts", figures
    )
    assert had >= share * MANY
    assert (figures["of these again"], found["lost"], found["other vectors"]) == (0, 0, 0)


def test_f11_a_node_is_lost_while_texts_are_embedded(tmp_path, many, apart, undisturbed):
    """Of three, one on which an encoder works; the head has none."""
    (file, words), cache = many, tmp_path / "workspace" / "embeddings"
    pool = ["--set", "encoder.actors=2", "--set", "encoder.num_cpus=1"]
    with several_nodes([0, 2, 2], apart) as nodes:
        process = start(file, nodes.environment, *words, *pool)
        wait_for(partial(_is_ripe, cache, 0.2 * MANY, process), 150)
        assert process.poll() is None, "it was over before a node could be lost"
        nodes.kill(min(nodes.homes("EncoderActor")))
        began = time.monotonic()
        finish(process)
        seconds = time.monotonic() - began
    found = same(vectors(tmp_path / "workspace"), undisturbed)
    figures = {**found, "seconds from then to the end": round(seconds, 1)}
    record("F11", "a node is lost while texts are embedded", "one of three, without a word, in the middle", figures)
    assert (found["lost"], found["other vectors"]) == (0, 0)


def test_f14_other_batches_and_workers_give_the_same_vectors(tmp_path, many, apart, undisturbed):
    other = ["encoder.batch_size=17", "encoder.actors=2", "encoder.num_cpus=0.5"]
    file, words = many
    finish(start(file, apart, *words, *(word for change in other for word in ("--set", change))))
    found = vectors(tmp_path / "workspace")
    assert found.keys() == undisturbed.keys()
    apart_by = max(float(np.abs(found[key] - row).max()) for key, row in undisturbed.items())
    figures = {"rows": len(found), "largest difference of a number": f"{apart_by:.0e}"}
    record("F14", "embedded in other batches by other workers", "17 texts at a time, two actors", figures)
    assert apart_by < 1e-5


def _is_ripe(cache: Path, texts: float, process: subprocess.Popen) -> bool:
    return _cached(cache) >= texts or process.poll() is not None


def _cached(cache: Path) -> int:
    """Texts in the cache, by the files that are whole."""
    count = 0
    for path in cache.rglob("*.arrow"):
        with contextlib.suppress(OSError, pa.ArrowInvalid), pa.memory_map(str(path)) as file:
            count += pa.ipc.open_file(file).read_all().num_rows
    return count


KILLER = """
import importlib.abc, importlib.machinery, os, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "motet.encoders.text":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            forward = module.TextEncoder._forward

            def dies(self, ids, mask):
                (poison,) = self.tokenizer("poison", add_special_tokens=False)["input_ids"]
                if (ids == poison).any():
                    os._exit(1)
                return forward(self, ids, mask)

            module.TextEncoder._forward = dies

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""
"""A sitecustomize by which a process dies at once, without a word, when it encodes a text with the word poison."""


def test_f03_a_text_kills_each_process_that_encodes_it(tmp_path, minilm, apart, undisturbed):
    """It is found in the hands of those who died, left out, and all others are embedded."""
    file = write_many(tmp_path, minilm)
    rows = (tmp_path / "items.csv").read_text().replace("item number 1234 of many", "poison")
    (tmp_path / "items.csv").write_text(rows)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILLER)
    path = f"{tmp_path / 'site'}:{ROOT / 'platform'}:{ROOT}"
    began = time.monotonic()
    said = finish(start(file, {**apart, "PYTHONPATH": path}, "--until", "embed"))
    seconds = time.monotonic() - began
    (folder,) = (tmp_path / "workspace" / "embedded").iterdir()
    (left_out,) = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    found = vectors(tmp_path / "workspace")
    others = {key: row for key, row in undisturbed.items() if key != left_out["key"]}
    figures = {"left out": 1, **same(found, others), "seconds of the job": round(seconds, 1)}
    record(
        "F03", "a text kills each process that encodes it", "os._exit in the worker, whenever it is encoded", figures
    )
    assert read_manifest(folder)["summary"]["left_out"] == 1
    assert left_out["reason"].startswith("killed the process that encoded it")
    assert not found[left_out["key"]].any()
    assert "1 texts are left out" in said
    assert (figures["lost"], figures["other vectors"]) == (0, 0)
    assert seconds < 150
