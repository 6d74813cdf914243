"""embed: the whole job is killed while it runs; the next run encodes what is missing, and nothing twice."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from jobs.embed import load_vectors
from motet.encoders.cache import VectorCache
from motet.storage import read_json
from tests.builders import write_encoder
from tests.synthetic import events, items, recipe, users, write_csv, write_recipe

ROOT = Path(__file__).resolve().parents[2]
ITEMS, BATCH = 20_000, 1024

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop of many items, whose texts a small model reads."""
    folder = tmp_path_factory.mktemp("kills")
    more = [{**items()[n % 30], "item_id": f"i{n}", "title": f"film {n}"} for n in range(ITEMS)]
    for name, rows in (("items", more), ("events", events()), ("users", users())):
        write_csv(folder / f"{name}.csv", rows)
    return write_recipe(folder / "shop.yaml", recipe(folder, write_encoder(folder / "model")))


def start(shop, workspace, tmpdir):
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_TMPDIR": tmpdir, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "jobs/pipeline.py", str(shop), "--until", "embed", "--set", f"workspace={workspace}"]
    return subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, stderr=subprocess.PIPE, text=True)


def run(shop, workspace):
    """Run to the end; return (the stage's summary, vectors by id)."""
    with tempfile.TemporaryDirectory(prefix="rk", dir="/tmp", ignore_cleanup_errors=True) as tmpdir:
        process = start(shop, workspace, tmpdir)
        _, said = process.communicate()
        assert process.returncode == 0, said[-3000:]
    (folder,) = (path.parent for path in (workspace / "embedded").glob("*/manifest.json"))
    keys, vectors = load_vectors(folder / "items")
    assert len(keys) == len(set(keys)) == ITEMS
    order = np.argsort([int(key) for key in keys])
    return read_json(folder / "manifest.json")["summary"], vectors[order]


def cached(workspace) -> int:
    """How many different texts the cache has."""
    folders = list((workspace / "embeddings").glob("*"))
    return len(VectorCache(folders[0], 16)) if folders else 0


@pytest.fixture(scope="module")
def undisturbed(shop, tmp_path_factory):
    return run(shop, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_killed_job_goes_on_where_it_was(shop, undisturbed, tmp_path, share):
    """kill -9 of the driver once so much of the cache is there; Ray's own processes end with it."""
    texts = undisturbed[0]["embedded"]
    wanted = int(share * texts / BATCH)
    with tempfile.TemporaryDirectory(prefix="rk", dir="/tmp", ignore_cleanup_errors=True) as tmpdir:
        process = start(shop, tmp_path, tmpdir)
        end = time.monotonic() + 200
        while len(list((tmp_path / "embeddings").glob("*/*.arrow"))) < wanted:
            assert time.monotonic() < end
            assert process.poll() is None, process.stderr.read()[-3000:]
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(3)  # by then the workers have noticed
    before = cached(tmp_path)
    assert wanted * BATCH * 0.9 <= before < texts
    summary, vectors = run(shop, tmp_path)
    assert summary["embedded"] == texts - before
    assert cached(tmp_path) == texts
    np.testing.assert_allclose(vectors, undisturbed[1], atol=1e-5)
