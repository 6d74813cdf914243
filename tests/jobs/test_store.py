"""A workspace on an S3-compatible store: three nodes that share no folder, a machine that comes later, a killed run."""

import os

import numpy as np
import pytest

from jobs.embed import load_vectors
from motet.data.parquet import read_parquet
from motet.mirror import at_hand, names_in, workspace_folder
from motet.release.publish import Releases
from tests.chaos.rig import wait_for
from tests.chaos.runs import finish, kill, own_environment, start
from tests.nodes import may_mount, pipeline_on_three
from tests.synthetic import write_shop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NO_EVENTS = {"deadline_ms": 20_000, "events": {"store": "none"}}


def one_of(folder):
    """The only result of a stage."""
    (manifest,) = names_in(folder, "*/manifest.json")
    return at_hand(manifest.parent)


@pytest.mark.skipif(not may_mount(), reason="nodes with folders of their own need the right to mount")
def test_all_stages_run_across_three_nodes_that_share_nothing_but_the_store(tmp_path, minilm, store, shop, monkeypatch):
    file = write_shop(tmp_path, minilm, workspace=store, serve=NO_EVENTS)
    with own_environment() as environment:
        homes = pipeline_on_three(file, environment, [])
    assert len(homes["RayTrainWorker"]) == 2
    assert len(homes[""]) == 3, "a node had nothing to do"
    monkeypatch.setenv("MOTET_MIRRORS", str(tmp_path / "later"))  # as on a machine that has nothing yet
    workspace = workspace_folder(store)
    assert len(Releases(workspace).all()) == 1
    assert Releases(workspace).current().is_dir()
    _, results, _ = shop
    histories, expected = (
        read_parquet(folder / "histories").sort_by("user")
        for folder in (one_of(workspace / "prepared"), results["prepare"].folder)
    )
    assert histories.equals(expected)
    places, vectors = load_vectors(one_of(workspace / "embedded") / "items")
    own, known = load_vectors(results["embed"].folder / "items")
    assert sorted(places) == sorted(own)
    np.testing.assert_allclose(vectors[np.argsort(places)], known[np.argsort(own)], atol=1e-5)


def test_a_killed_run_goes_on_after_its_newest_epoch_on_another_machine(tmp_path, encoder_folder, store):
    file = write_shop(tmp_path, encoder_folder, workspace=store, serve=NO_EVENTS)
    words = ["--until", "train", "--set", "train.epochs=12", "--set", "train.patience=12", "--set", "model.layers=3"]
    workspace = workspace_folder(store)
    with own_environment() as environment:
        process = start(file, environment, *words)
        wait_for(lambda: len(names_in(workspace / "runs", "*/*/manifest.json")) >= 2 or process.poll() is not None, 150)
        assert process.poll() is None
        kill(process)
        there = os.environ | environment | {"MOTET_MIRRORS": str(tmp_path / "other")}
        said = finish(start(file, there, *words), expected=2)
        assert "is being written by another run" in said, "the lease of a machine that went may not be taken at once"
        said = finish(start(file, environment, *words))
    trained = [int(line.split("epoch ")[1].split("/")[0]) for line in said.splitlines() if "train: epoch " in line]
    assert trained == list(range(trained[0], 13))
    assert trained[0] > 2
    assert names_in(workspace / "runs", "*.checkpoints/*/manifest.json") == []
    with own_environment() as environment:
        said = finish(start(file, environment | {"MOTET_MIRRORS": str(tmp_path / "third")}, *words))
    assert "train: up to date" in said
