"""A workspace on a store, whose folders on several machines follow it."""

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from motet import mirror
from motet.cli import main
from motet.data.parquet import merge_parquet, read_parquet, write_parquet
from motet.encoders.cache import VectorCache, text_keys
from motet.errors import DataError
from motet.mirror import Mirror, at_hand, mirror_of, names_in, remove, workspace_folder
from motet.privacy.privacy import add_tombstones
from motet.privacy.secret import make_key
from motet.privacy.watch import Watch
from motet.release.keys import Keys
from motet.storage import (
    copy_file,
    has_all,
    new_folder,
    read_json,
    read_manifest,
    replace_folder,
    write_atomic,
    write_json,
    write_manifest,
)


def keys_of(bucket) -> list[str]:
    """What is on the store."""
    found = bucket[0].list_objects_v2(Bucket="shop").get("Contents", [])
    return [one["Key"].removeprefix("workspace/") for one in found if not one["Key"].endswith("/")]


def test_a_path_that_is_no_address_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(mirror.VARIABLE, raising=False)
    assert workspace_folder("here") == tmp_path / "here"
    assert mirror_of(tmp_path / "here") is None
    assert mirror.runtime_env() == {}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("gs://bucket/w", "or s3://bucket/key"),
        ("file:///mnt/w", "or s3://bucket/key"),
        ("s3://key:secret@bucket/w", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address, said):
    with pytest.raises(DataError, match=said):
        workspace_folder(address)


def test_a_store_that_is_away_is_said(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("MOTET_MIRRORS", str(tmp_path))
    monkeypatch.setenv(mirror.VARIABLE, "")
    folder = workspace_folder("s3://shop/w?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
    with pytest.raises(DataError, match="is the store there"):
        write_atomic(folder / "a.txt", "a")
    assert not (folder / "a.txt").exists(), "a file that the store does not have must not be seen here"


def test_a_folder_that_belongs_to_somebody_else_is_not_used(store, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(DataError, match="belongs to somebody else"):
        workspace_folder(store)


def test_what_one_machine_writes_another_reads(machine, bucket):
    here = machine("a")
    write_json(here / "runs" / "x" / "one.json", {"a": 1})
    write_parquet(here / "prepared" / "x" / "items" / "part.parquet", pa.table({"item": ["i1", "i2"]}))
    assert keys_of(bucket) == ["prepared/x/items/part.parquet", "runs/x/one.json"]
    there = machine("b")
    assert there != here
    assert read_json(there / "runs" / "x" / "one.json") == {"a": 1}
    assert read_parquet(there / "prepared" / "x" / "items").column("item").to_pylist() == ["i1", "i2"]
    assert read_parquet(there / "prepared" / "x" / "items" / "part.parquet").num_rows == 2


def test_a_file_that_changed_in_the_same_second_and_size_is_seen(machine):
    here = machine("a")
    for value in range(10, 20):
        write_json(machine("a") / "CURRENT", value)
        assert read_json(machine("b") / "CURRENT") == value
    assert read_json(here / "CURRENT") == 19


def test_what_is_the_nodes_own_never_reaches_the_store(machine, bucket):
    here = machine("a")
    for name in (".lock", "x.tmp/file", "x/.part", "y.old/file"):
        write_atomic(here / name, "mine")
    assert keys_of(bucket) == []
    assert at_hand(here / ".lock").read_text() == "mine"


@pytest.mark.parametrize("key", ["x/../../evil", "x//tmp/evil", "../evil", "x/./evil"])
def test_a_name_on_the_store_that_leads_out_of_the_folder_is_no_file(machine, bucket, tmp_path, key):
    here = machine("a")
    write_atomic(here / "x" / "good", "good")
    bucket[0].put_object(Bucket="shop", Key=f"workspace/{key}", Body=b"evil")
    there = machine("b")
    with contextlib.suppress(DataError):
        at_hand(there / "x")
    found = [path for path in (tmp_path / "b").rglob("*") if path.is_file() and path.read_text() == "evil"]
    assert found == []
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/tmp/evil").exists()


def test_names_are_listed_without_fetching(machine):
    here = machine("a")
    for name in ("p/1/manifest.json", "p/2/manifest.json", "p/2/deep/manifest.json", "p/2/b.parquet", "p/2/a.parquet"):
        write_atomic(here / name, "x")
    there = machine("b")
    assert names_in(there / "p", "*/manifest.json") == [there / "p/1/manifest.json", there / "p/2/manifest.json"]
    assert names_in(there / "p" / "2") == [there / "p/2/a.parquet", there / "p/2/b.parquet"]
    assert names_in(there / "nothing") == []
    assert not (there / "p").exists()


def test_names_of_an_ordinary_folder(tmp_path):
    for name in ("b.parquet", "a.parquet", ".c.parquet", "d.txt"):
        (tmp_path / name).touch()
    assert names_in(tmp_path) == [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert names_in(tmp_path / "none") == []


def test_what_was_removed_is_gone_everywhere(machine, bucket, monkeypatch):
    here = machine("a")
    for name in ("runs/x/1", "runs/x/2", "CANDIDATE"):
        write_atomic(here / name, "x")
    there = machine("b")
    at_hand(there / "runs")
    at_hand(there / "CANDIDATE")
    remove(machine("a") / "runs" / "x")
    remove(here / "CANDIDATE")
    remove(here / "CANDIDATE")
    assert keys_of(bucket) == []
    machine("b")
    with monkeypatch.context() as long_ago:
        long_ago.setattr(mirror.time, "time", lambda: 0.0)
        at_hand(there / "runs")
    assert (there / "runs" / "x" / "1").exists(), "what came after the look at the store is there by now"
    time.sleep(1.1)
    at_hand(there / "CANDIDATE")
    at_hand(there / "runs")
    assert not (there / "CANDIDATE").exists()
    assert not (there / "runs" / "x" / "1").exists()


def test_a_folder_is_whole_by_its_manifest_and_goes_if_its_block_fails(machine, bucket):
    here = machine("a")
    with new_folder(here / "runs" / "x") as folder:
        assert folder == here / "runs" / "x", "nothing can be renamed on a store"
        write_json(folder / "one.json", 1)
        assert not (here / "runs" / "x" / "manifest.json").exists()
        write_manifest(folder, {"stage": "train"})
    there = machine("b")
    manifest = read_manifest(there / "runs" / "x")
    assert has_all(there / "runs" / "x", manifest)
    assert not (there / "runs" / "x" / "one.json").exists(), "that is known without fetching it"
    write_json(there / "runs" / "x" / "two.json", 2)
    assert not has_all(there / "runs" / "x", manifest)

    def fails() -> None:
        with new_folder(here / "runs" / "x") as folder:
            write_json(folder / "three.json", 3)
            raise RuntimeError

    machine("a")
    with pytest.raises(RuntimeError):
        fails()
    assert keys_of(bucket) == []
    assert not (here / "runs" / "x").exists()


def test_a_manifest_describes_what_other_machines_wrote(machine):
    here = machine("a")
    write_json(machine("b") / "x" / "theirs.json", 1)
    machine("a")
    write_json(here / "x" / "ours.json", 1)
    assert sorted(write_manifest(here / "x", {})["files"]) == ["ours.json", "theirs.json"]


def test_what_another_machine_left_of_a_killed_run_is_not_read(machine):
    theirs = machine("b")
    write_parquet(theirs / "embedded" / "x" / "items" / "old.parquet", pa.table({"key": ["1"]}))
    remove(machine("a") / "embedded" / "x")
    write_parquet(machine("a") / "embedded" / "x" / "items" / "new.parquet", pa.table({"key": ["2"]}))
    machine("b")
    assert read_parquet(theirs / "embedded" / "x" / "items").column("key").to_pylist() == ["2"]


def test_a_folder_appears_on_the_store_before_it_does_here(machine, bucket, monkeypatch):
    here = machine("a")
    for name, text in (("manifest.json", "{}"), ("a", "a")):
        write_atomic(here / "releases" / "new.tmp" / name, text)
    write_atomic(here / "releases" / "r1" / "left", "of an older one")
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("not yet"))
    with pytest.raises(pytest.fail.Exception):
        replace_folder(here / "releases" / "new.tmp", here / "releases" / "r1")
    assert keys_of(bucket) == ["releases/r1/a", "releases/r1/manifest.json"]


def test_one_address_has_one_folder_however_it_is_spelt(store, machine):
    place, mark, options = store.partition("?")
    assert workspace_folder(f"{place}/{mark}{options}") == machine("mirrors") == workspace_folder(store)


def test_files_of_other_machines_are_merged_and_copied(machine, bucket):
    for name in "ab":
        write_parquet(machine(name) / "draft" / "users" / f"{name}.parquet", pa.table({"user": [name]}))
    here = machine("c")
    merge_parquet(here / "draft" / "users", here / "draft" / "users.parquet")
    copy_file(here / "draft" / "users.parquet", here / "draft" / "again.parquet")
    assert keys_of(bucket) == ["draft/again.parquet", "draft/users.parquet"]
    assert read_parquet(machine("a") / "draft" / "again.parquet").column("user").to_pylist() == ["a", "b"]


def test_vectors_that_another_machine_encoded_are_found(machine):
    keys = text_keys(["one", "two"])
    VectorCache(machine("a") / "embeddings", 2).add(keys, np.eye(2, dtype=np.float32))
    vectors, found = VectorCache(machine("b") / "embeddings", 2).get(keys)
    assert found.all()
    assert (vectors == np.eye(2)).all()


def test_a_part_of_a_file_is_an_error(machine, monkeypatch):
    here = machine("a")
    one = mirror_of(here / "x")
    (here / "source").write_text("content")
    monkeypatch.setattr(mirror._Info, "of", classmethod(lambda cls, info: cls(3, 0)))
    with pytest.raises(DataError, match="3 of 7 bytes"):
        one.put(here / "source", here / "x")


def test_two_machines_have_one_key_and_see_each_others_tombstones_and_keys(machine):
    key = make_key(machine("a"))
    there = machine("b")
    assert make_key(there) == key
    watch, keys = Watch(there), Keys(there)
    assert not watch.forgets("u1")
    here = machine("a")
    secret = Keys(here).add("shop", ("recommend",))
    add_tombstones(here, "u1")
    end = time.monotonic() + 20
    while not (watch.forgets("u1") and keys.find(secret)):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_following_outlives_a_store_that_is_away_for_a_while(machine, monkeypatch):
    monkeypatch.setattr(mirror, "_FOLLOW_S", 0.05)
    monkeypatch.setattr(mirror, "_AWAY_S", 0.05)
    here = machine("a")
    write_atomic(here / "x", "1")
    one = mirror_of(here)
    assert isinstance(one, Mirror)
    fetch, failures = one.fetch, []

    def away(path: Path) -> None:
        if len(failures) < 3:
            failures.append(path)
            raise DataError("away")
        fetch(path)

    mirror.follow(here / "x")
    monkeypatch.setattr(one, "fetch", away)
    write_atomic(machine("b") / "x", "2")
    end = time.monotonic() + 20
    while (here / "x").read_text() != "2":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(failures) == 3


def test_commands_take_an_address(store, machine):
    there = machine("a")
    write_json(there / "workspace.json", {"recipe": "shop"})
    done = CliRunner().invoke(main, ["keys", "add", "shop", "--workspace", store])
    assert done.exit_code == 0, done.output
    machine("b")
    assert "shop" in CliRunner().invoke(main, ["keys", "list", "--workspace", store]).output
    done = CliRunner().invoke(main, ["keys", "list", "--workspace", "gs://bucket/w"])
    assert done.exit_code == 2
    assert "s3://bucket/key" in done.output
