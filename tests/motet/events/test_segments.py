"""The log as files: torn tails, damage, full disks, killed writers."""

import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from motet.errors import EventLogError
from motet.events.event import frame
from motet.events.segments import Segments
from tests.motet.events.makers import ENVIRONMENT, HERE, event, ids

FIRST = "events-00000001.log"


@pytest.fixture
def store(tmp_path: Path):
    made = Segments(tmp_path / "events")
    yield made
    made.close()


def _names(store: Segments) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*.log"))


def test_a_line_is_the_checksum_and_the_event(store: Segments) -> None:
    """The checksum is what gzip says of the same bytes."""
    store.append([event(1)])
    content = b'{"event_id":"e1","user":"u1","item":"i1","timestamp_ms":1700000000001}'
    assert (store.folder / FIRST).read_bytes() == b"8145f288 " + content + b"\n"


def test_a_tail_torn_at_any_byte_is_cut_off_and_nothing_else(store: Segments, tmp_path: Path) -> None:
    lines = [frame(event(n)) for n in range(3)]
    whole, last = b"".join(lines[:2]), lines[2]
    for cut in range(len(last) + 1):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / FIRST).write_bytes(whole + last[:cut])
        torn = Segments(folder)
        expected = ["e0", "e1"] + ["e2"] * (cut == len(last))
        assert ids(torn) == expected
        assert torn.append([event(2), event(3)]) == [cut < len(last), True]
        assert ids(torn) == ["e0", "e1", "e2", "e3"]
        assert (folder / FIRST).stat().st_size == len(whole) + len(last) * (cut == len(last))
        torn.close()


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"0badc0de {}\n", b"\n\n", frame(event(9))[:-2] + b"x\n" + b"\0"])
def test_a_tail_of_garbage_is_cut_off_too(store: Segments, tail: bytes, caplog: pytest.LogCaptureFixture) -> None:
    store.append([event(1)])
    store.close()
    with (store.folder / FIRST).open("ab") as file:
        file.write(tail)
    reader = Segments(store.folder)
    position = list(reader.read())[-1][0]
    store.append([event(2)])
    assert f"a torn tail of {len(tail)} bytes, never acknowledged, is cut off" in caplog.text
    assert ids(store) == ["e1", "e2"]
    assert ids(reader, position) == ["e2"]  # a reader that saw the tail goes on as if it had not


def test_a_damaged_line_costs_no_other(store: Segments, caplog: pytest.LogCaptureFixture) -> None:
    store.append([event(n) for n in range(5)])
    store.close()
    content = bytearray((store.folder / FIRST).read_bytes())
    content[content.index(b"i2")] ^= 1
    (store.folder / FIRST).write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert ids(store) == ["e0", "e1", "e3", "e4"]
    assert "1 damaged lines" in caplog.text
    assert store.append([event(4), event(5)]) == [False, True]
    assert (store.folder / FIRST).read_bytes() == bytes(content)  # damage is left for who mends it


def test_a_segment_ends_at_its_size_and_a_writer_begins_one_of_its_own(tmp_path: Path) -> None:
    store = Segments(tmp_path / "events", segment_bytes=200)
    for n in range(5):
        store.append([event(n)])  # 80 bytes each, so the third reaches 200
    assert _names(store) == [FIRST, "events-00000002.log"]
    store.close()
    again = Segments(tmp_path / "events", segment_bytes=200)
    again.open()
    assert len(_names(again)) == 2  # none before there is an event
    again.append([event(5)])
    assert len(_names(again)) == 3
    assert ids(again) == [f"e{n}" for n in range(6)]
    again.close()


def test_the_oldest_segments_may_be_taken_away(tmp_path: Path) -> None:
    store = Segments(tmp_path / "events", segment_bytes=1)
    for n in range(4):
        store.append([event(n)])
    position = next(store.read())[0]
    store.close()
    (store.folder / FIRST).unlink()
    (store.folder / "events-00000003.log").unlink()
    assert ids(store) == ["e1", "e3"]
    assert ids(store, position) == ["e1", "e3"]
    assert store.append([event(0), event(1)]) == [True, False]
    store.close()


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(store: Segments) -> None:
    """The system writes a part of the lines and refuses the rest, as it does on a full disk."""
    store.append([event(1)])
    size = (store.folder / FIRST).stat().st_size
    reader = Segments(store.folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(EventLogError, match=r"cannot be written .*; nothing was acknowledged"):
            store.append([event(2), event(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (store.folder / FIRST).stat().st_size == size
    assert ids(reader) == ["e1"]
    assert store.append([event(2), event(3), event(1)]) == [True, True, False]
    assert ids(reader) == ["e1", "e2", "e3"]


def test_after_a_failed_sync_the_segment_is_left(store: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append([event(1)])
    seen, sync = {}, os.fsync

    def fail(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        seen["position"] = list(Segments(store.folder).read())[-1][0]  # a reader may see a line before it is synced
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(EventLogError, match="Input/output error"):
        store.append([event(2)])
    assert ids(store) == ["e1"]
    assert store.append([event(3), event(2)]) == [True, True]
    assert _names(store) == [FIRST, "events-00000002.log"]
    assert ids(store, seen["position"]) == ["e3", "e2"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EventLogError, match=r"set serve\.events\.path"):
        Segments(tmp_path / "file" / "events").open()


def _start(folder: Path, first: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "writer.py"), str(folder), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)


def test_only_one_process_writes_until_it_dies(store: Segments) -> None:
    process = _start(store.folder, 0)
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(EventLogError, match=rf"is written by process {process.pid} on .*; only one may write it"):
            store.append([event(10**9)])
        process.kill()
    assert store.append([event(10**9)]) == [True]


def test_no_acknowledged_event_is_lost_however_often_the_writer_is_killed(store: Segments) -> None:
    """kill -9 at random moments; each successor begins with the ids that its predecessor may have written."""
    moments, acknowledged, first = random.Random(5), [], 0
    for _ in range(12):
        process = _start(store.folder, first)
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == "open\n"
            time.sleep(moments.uniform(0.005, 0.12))
            process.kill()
            groups = process.stdout.read().split("\n")
        groups = [line.split() for line in groups[:-1]]  # a line without its end was not said
        acknowledged += [name for names in groups for name in names]
        first = len(acknowledged)
    found = ids(store)
    assert len(acknowledged) > 100
    assert len(found) == len(set(found))
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) - len(acknowledged) <= 40  # at most the last group, that was being said
