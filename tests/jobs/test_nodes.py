"""Several nodes: the pipeline on three of them, training that loses one, and a run that others go on with."""

import numpy as np
import pytest

from jobs.embed import load_vectors
from motet.data.parquet import read_parquet
from motet.release.publish import Releases
from motet.storage import read_manifest
from tests.chaos.rig import wait_for
from tests.chaos.runs import finish, kill, own_environment, start
from tests.nodes import pipeline_on_three, several_nodes
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
    changes = []
    for table, name in tables.items():
        client.upload_file(str(tmp_path / f"{name}.csv"), "shop", f"{name}/part-0.csv")
        changes.append(f"data.{table}.path='s3://test:test@shop/{name}{options}'")
    with own_environment() as environment:
        homes = pipeline_on_three(file, environment, changes)
    assert homes["EncoderActor"]
    assert len(homes["RayTrainWorker"]) == 2
    assert len(homes[""]) == 3, "a node had nothing to do"
    assert len(Releases(workspace).all()) == 1
    _, results, _ = shop
    (prepared,), (embedded,) = (list((workspace / name).iterdir()) for name in ("prepared", "embedded"))
    assert rows_of(prepared, "interactions").equals(rows_of(results["prepare"].folder, "interactions"))
    places, vectors = load_vectors(embedded / "items")
    own, expected = load_vectors(results["embed"].folder / "items")
    assert sorted(places) == sorted(own)
    np.testing.assert_allclose(vectors[np.argsort(places)], expected[np.argsort(own)], atol=1e-5)


LONG = ["--until", "train", "--set", "train.epochs=12", "--set", "train.patience=12", "--set", "model.layers=3"]


def epochs_of(said: str) -> list[int]:
    """The epochs that a run says it trained."""
    return [int(line.split("epoch ")[1].split("/")[0]) for line in said.splitlines() if "train: epoch " in line]


def two_epochs(workspace, process) -> None:
    """Wait until a run has two epochs behind it."""
    wait_for(lambda: len(list(workspace.glob("runs/*.checkpoints/epoch-*/manifest.json"))) >= 2
             or process.poll() is not None, 150)  # fmt: skip
    assert process.poll() is None


def selected(workspace) -> float:
    """The validation metric of the network that a run chose."""
    (folder,) = (one for one in (workspace / "runs").iterdir() if one.suffix != ".checkpoints")
    return read_manifest(folder)["summary"]["validation"]["watch.ndcg"]


def test_training_that_loses_a_node_goes_on_with_fewer_workers(tmp_path, encoder_folder):
    """Each of the two workers takes two CPUs of Ray's, so that the node that stays has room for one."""
    (tmp_path / "alone").mkdir()
    file, alone = write_shop(tmp_path, encoder_folder), write_shop(tmp_path / "alone", encoder_folder)
    pool = ["train.workers=2", "train.min_workers=1", "train.cpus_per_worker=2"]
    words = [*LONG, *(word for change in pool for word in ("--set", change))]
    with own_environment() as environment, several_nodes([3, 2], environment) as nodes:
        process = start(file, nodes.environment, *words)
        two_epochs(tmp_path / "workspace", process)
        assert len(nodes.homes("RayTrainWorker")) == 2
        nodes.kill(*nodes.others)
        said = finish(process)
    assert epochs_of(said) == list(range(1, 13))
    with own_environment() as environment:
        finish(start(alone, environment, *LONG, "--set", "train.workers=0"))
    assert selected(tmp_path / "workspace") == pytest.approx(selected(tmp_path / "alone" / "workspace"), abs=0.1)


@pytest.mark.parametrize("workers", [1, 4])
def test_what_two_workers_began_one_or_four_go_on_with(tmp_path, encoder_folder, workers):
    file, workspace = write_shop(tmp_path, encoder_folder), tmp_path / "workspace"
    share = ["--set", "train.cpus_per_worker=0.2"]
    with own_environment() as environment:
        process = start(file, environment, *LONG, *share, "--set", "train.workers=2")
        two_epochs(workspace, process)
        kill(process)
        said = finish(start(file, environment, *LONG, *share, "--set", f"train.workers={workers}"))
    trained = epochs_of(said)
    assert trained == list(range(trained[0], 13))
    assert trained[0] > 2
