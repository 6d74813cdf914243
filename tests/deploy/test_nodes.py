"""All stages over three nodes of one CPU each, which share the workspace's folder, give what one machine gives."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.builders import write_encoder
from tests.synthetic import write_shop

ROOT = Path(__file__).resolve().parents[2]
NODES = """
import json, sys
import ray
from ray.cluster_utils import Cluster

cluster = Cluster()
for _ in range(3):
    cluster.add_node(num_cpus=1, object_store_memory=150 << 20)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
ray.init(address=cluster.address, logging_level="ERROR")
actors = ray._private.state.actors().values()
print(json.dumps([[one["ActorClassName"], one["Address"]["NodeID"]] for one in actors]), flush=True)
cluster.shutdown()
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def pipeline(file, workspace, env):
    command = [sys.executable, "jobs/pipeline.py", str(file), "--set", f"workspace={workspace}"]
    command += ["--set", "encoder.actors=3", "--set", "encoder.num_cpus=0.6", "--set", "train.workers=2"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    (report,) = (workspace / "reports").glob("*/report.json")
    return json.loads(report.read_text())


def test_three_nodes_do_as_one(tmp_path):
    file = write_shop(tmp_path, write_encoder(tmp_path / "model"), train={"epochs": 4, "batch_size": 16})
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
    with tempfile.TemporaryDirectory(prefix="rn", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env["RAY_TMPDIR"] = folder
        alone = pipeline(file, tmp_path / "one", env)
        start = {"cwd": folder, "env": env, "text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", NODES], **start) as cluster:
            address = cluster.stdout.readline().strip()
            assert address
            together = pipeline(file, tmp_path / "three", {**env, "RAY_ADDRESS": address})
            cluster.stdin.write("\n")
            cluster.stdin.flush()
            actors = json.loads(cluster.stdout.readline())
    workers = {node for name, node in actors if "RayTrainWorker" in name}
    encoders = {node for name, node in actors if "EncoderActor" in name}
    assert len(workers) >= 1
    assert len({node for _, node in actors}) == 3
    assert len(workers | encoders) >= 2
    assert together["counts"] == alone["counts"]
    assert together["ledger"] == alone["ledger"]
    assert [row["rows"] for row in together["training"]] == [row["rows"] for row in alone["training"]]
    losses = [[row["loss"] for row in one["training"]] for one in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
