"""The pipeline on three nodes: tables in an S3-compatible store, the workspace in a folder that all of them see."""

import subprocess
import sys

import numpy as np
import pytest

from jobs.embed import load_vectors
from motet.data.parquet import read_parquet
from motet.release.publish import Releases
from tests.chaos.runs import own_environment
from tests.nodes import ROOT, several_nodes
from tests.synthetic import write_shop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def rows_of(folder, kind: str):
    """Rows of a kind, in one order."""
    table = read_parquet(folder / kind)
    return table.select(sorted(table.column_names)).sort_by([("user", "ascending"), ("timestamp", "ascending")])


def test_all_stages_run_across_three_nodes_and_give_what_one_gives(tmp_path, minilm, bucket, shop):
    client, options = bucket
    file, workspace = write_shop(tmp_path, minilm), tmp_path / "workspace"
    tables = {"interactions": "events", "items": "items", "users": "users"}
    changes = ["encoder.actors=2", "encoder.num_cpus=1", "train.workers=2", "train.cpus_per_worker=1"]
    for table, name in tables.items():
        client.upload_file(str(tmp_path / f"{name}.csv"), "shop", f"{name}/part-0.csv")
        changes.append(f"data.{table}.path='s3://test:test@shop/{name}{options}'")
    words = [word for change in changes for word in ("--set", change)]
    with own_environment() as environment, several_nodes(3, environment) as nodes:
        command = [sys.executable, "jobs/pipeline.py", str(file), *words]
        done = subprocess.run(command, cwd=ROOT, env=nodes.environment, capture_output=True, text=True, timeout=300)
        homes = {kind: nodes.homes(kind) for kind in ("EncoderActor", "RayTrainWorker")}
    assert done.returncode == 0, done.stderr[-3000:]
    assert {kind: len(found) for kind, found in homes.items()} == {"EncoderActor": 2, "RayTrainWorker": 2}
    assert len(Releases(workspace).all()) == 1
    _, results, _ = shop
    (prepared,), (embedded,) = (list((workspace / name).iterdir()) for name in ("prepared", "embedded"))
    assert rows_of(prepared, "interactions").equals(rows_of(results["prepare"].folder, "interactions"))
    places, vectors = load_vectors(embedded / "items")
    own, expected = load_vectors(results["embed"].folder / "items")
    assert sorted(places) == sorted(own)
    np.testing.assert_allclose(vectors[np.argsort(places)], expected[np.argsort(own)], atol=1e-5)
