"""A release served from a workspace on a store, which is led from another machine."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from motet.errors import ReleaseError
from motet.forgetting.forget import forget
from motet.mirror import mirror_of, workspace_folder
from motet.recommend import read_recipe
from motet.release.keys import Keys
from motet.release.publish import Releases
from motet.storage import files_under, read_manifest
from serve.event_log import place_of_log
from serve.held import Held
from tests.chaos.runs import own_environment
from tests.jobs.test_forget import unpacked
from tests.nodes import ROOT
from tests.serve.graphs import PATIENT, ask, free_port, publish
from tests.serve.watching import wait_for

NO_EVENTS = {**PATIENT, "events": {"store": "none"}, "records": {"flush_s": 0.3}}


@pytest.fixture
def two(draft, report, store, tmp_path):
    """(the workspace of this machine, names of two releases on the store, the first of them current)."""
    workspace, names = workspace_folder(store), []
    for number, weights in enumerate(({"rating": 1.0}, {"watch": 1.0})):
        (tmp_path / str(number)).mkdir()
        made = publish(draft, report, tmp_path / str(number), surfaces={"home": {"weights": weights}}, serve=NO_EVENTS)
        shutil.copytree(made, tmp_path / "both" / made.name)
        names.insert(0, made.name)
    mirror = mirror_of(workspace)
    for path in sorted((tmp_path / "both").rglob("*")):
        if path.is_file():
            mirror.put(path, workspace / "releases" / path.relative_to(tmp_path / "both"))
    with Releases(workspace).locked():
        Releases(workspace).point(names[0])
    return workspace, names


def test_a_log_that_a_store_cannot_hold_is_refused(two):
    workspace, (first, _) = two
    folder = Releases(workspace).find(first)
    recipe = read_recipe(folder)
    with pytest.raises(ReleaseError, match="nothing to be appended to"):
        place_of_log({"events": {"store": "segments"}}, recipe, folder)


def test_a_replica_on_a_node_that_has_nothing_fetches_the_release_it_begins_with(two, machine):
    _, (first, _) = two
    begins = machine("elsewhere") / "releases" / first
    assert not begins.exists()
    held = Held(lambda folder: read_manifest(folder)["files"].keys() - set(map(str, files_under(folder))), begins, True)
    assert held.of(first) == set()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_endpoint_over_a_store_follows_what_another_machine_does(two, store, bucket, tmp_path, monkeypatch):
    _, (first, second) = two
    port, said = free_port(), []
    with own_environment() as environment:
        command = [sys.executable, "serve/run.py", "--workspace", store, "--port", str(port), "--keys", "required"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        reader.start()
        try:
            wait_for(lambda: any("up at" in line for line in said) or process.poll() is not None, 150)
            assert process.poll() is None, "".join(said)
            monkeypatch.setenv("MOTET_MIRRORS", str(tmp_path / "another"))
            there = workspace_folder(store)
            address, key = f"http://127.0.0.1:{port}", Keys(there).add("shop", ("recommend",))
            bearer = {"authorization": f"Bearer {key}"}

            def asked() -> tuple[int, dict]:
                status, _, said, _ = ask(address, "/v1/recommend", {"user_id": "u01", "k": 3}, headers=bearer)
                return status, said

            def answer() -> dict:
                return asked()[1]

            wait_for(lambda: asked()[0] == 200, 30)
            wait_for(lambda: answer()["level"] == "full", 60)
            assert answer()["release"] == first
            assert answer()["user"] == "known"
            Releases(there).rollback(second)
            wait_for(lambda: answer()["release"] == second, 60)
            wait_for(lambda: any("recommendations/" in name for name in stored(bucket)), 30)
            receipt = forget(there, "u01")
            assert receipt.removed > 0
            wait_for(lambda: answer()["release"] not in (first, second), 60)
            assert answer()["user"] != "known"
            assert [name for name in stored(bucket) if holds(bucket, name, tmp_path, "u01")] == []
        finally:
            process.terminate()
            process.wait(60)
            reader.join(10)
            process.stderr.close()


def stored(bucket) -> list[str]:
    """What is on the store."""
    pages = bucket[0].get_paginator("list_objects_v2").paginate(Bucket="shop")
    return [one["Key"] for page in pages for one in page.get("Contents", []) if not one["Key"].endswith("/")]


def holds(bucket, name: str, folder: Path, user: str) -> bool:
    """Whether a file on the store holds a user's id."""
    path = folder / Path(name).name
    bucket[0].download_file("shop", name, str(path))
    content = unpacked(path)
    path.unlink()
    return f'"{user}"'.encode() in content
