"""The key of a workspace, tombstones that name nobody, pseudonyms that can be told from ids."""

import os
import threading
import time

import pyarrow as pa
import pytest

from motet.errors import DataError
from motet.privacy.privacy import TOMBSTONES, Privacy, add_tombstones
from motet.privacy.secret import FOLDER, make_key, read_key
from motet.privacy.watch import Watch

USER = "carol@example.org"


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path):
    assert read_key(tmp_path) is None
    found = []
    threads = [threading.Thread(target=lambda: found.append(make_key(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert read_key(tmp_path) == found[0]
    assert os.listdir(tmp_path / FOLDER) == ["key"]  # noqa: PTH208
    assert (tmp_path / FOLDER / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "no hex", "ab" * 31])
def test_a_damaged_key_is_refused(tmp_path, content):
    make_key(tmp_path)
    (tmp_path / FOLDER / "key").write_text(content)
    with pytest.raises(DataError, match="put back the one that was there"):
        Privacy.load(tmp_path)


def test_a_tombstone_names_nobody_and_holds_under_both_names(tmp_path):
    names = add_tombstones(tmp_path, USER)
    assert add_tombstones(tmp_path, USER) == names
    plain, renamed = Privacy.load(tmp_path), Privacy.load(tmp_path, pseudonymise=True)
    assert plain.forgets(USER)
    assert renamed.forgets(renamed.stored(USER))
    assert not plain.forgets("carol")
    assert not plain.forgets(None)
    content = b"".join(path.read_bytes() for path in (tmp_path / FOLDER).iterdir())
    assert USER.encode() not in content
    assert plain.state != Privacy(None).state


def test_tombstones_without_their_key_or_damaged_ones_are_refused(tmp_path):
    add_tombstones(tmp_path, USER)
    (tmp_path / FOLDER / "key").rename(tmp_path / "kept")
    with pytest.raises(DataError, match="has tombstones and no key"):
        Privacy.load(tmp_path)
    (tmp_path / "kept").rename(tmp_path / FOLDER / "key")
    for content in ("{", "{}", "[1]"):
        (tmp_path / FOLDER / TOMBSTONES).write_text(content)
        with pytest.raises(DataError, match="holds no tombstones"):
            Privacy.load(tmp_path)


def test_a_pseudonym_is_the_same_every_time_and_its_own(tmp_path):
    privacy = Privacy.load(tmp_path, pseudonymise=True)
    name = privacy.stored(USER)
    assert Privacy.load(tmp_path, pseudonymise=True).stored(USER) == name
    assert privacy.stored(name) == name
    assert USER not in name
    assert len(name) == 45
    forged = name[:-1] + ("0" if name[-1] != "0" else "1")
    assert privacy.stored(forged) != forged
    assert privacy.stored("anon-") != "anon-"
    (tmp_path / "other").mkdir()
    assert Privacy.load(tmp_path / "other", pseudonymise=True).stored(USER) != name


def test_columns_are_renamed_and_marked(tmp_path):
    add_tombstones(tmp_path, "b")
    privacy = Privacy.load(tmp_path, pseudonymise=True)
    names, gone = privacy.apply(pa.array(["a", None, "b", "a"]))
    a, b = privacy.stored("a"), privacy.stored("b")
    assert names.to_pylist() == [a, None, b, a]
    assert gone.to_pylist() == [False, False, True, False]
    for nothing in (pa.array([], pa.string()), pa.array([None], pa.string())):
        assert privacy.apply(nothing)[1].to_pylist() == [False] * len(nothing)


def test_a_watch_sees_a_tombstone_within_a_second(tmp_path):
    watch = Watch(tmp_path)
    before = watch.now
    assert not watch.forgets(USER)
    assert watch.now is before
    add_tombstones(tmp_path, USER)
    began = time.monotonic()
    while not watch.forgets(USER):
        assert time.monotonic() - began < 1
    assert not Watch(None).forgets(USER)
