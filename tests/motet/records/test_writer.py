"""The writer: whole files, a bounded queue, nothing half written, nothing lost at the end."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from motet.data.hashing import uniform
from motet.errors import DataError
from motet.recommend import Query
from motet.record_settings import RecordSettings
from motet.records.reader import record_files, record_tables, sample_rows
from motet.records.writer import RecordWriter
from tests.motet.records.makers import ids_of, record, write_records


@pytest.fixture(scope="module")
def one(recommender):
    return record(recommender, Query(user="u03", k=3), "r")


def many(one, count: int, prefix: str = "r"):
    return [replace(one, request_id=f"{prefix}{number}") for number in range(count)]


def test_all_that_was_taken_is_in_whole_files_of_so_many_rows(tmp_path, recommender, one):
    writer = RecordWriter(tmp_path, RecordSettings(rows=10, flush_s=60), ids_of(recommender))
    assert all(writer.put(each) for each in many(one, 25))
    end = time.monotonic() + 20
    while len(list(tmp_path.glob("[!.]*.parquet"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert [pq.read_metadata(path).num_rows for path in record_files(tmp_path)] == [10, 10]
    writer.close()
    assert [pq.read_metadata(path).num_rows for path in record_files(tmp_path)] == [10, 10, 5]
    assert sorted(row["request_id"] for row in sample_rows(tmp_path)) == sorted(f"r{n}" for n in range(25))
    assert not writer.put(one)


def test_what_waits_is_written_after_flush_s(tmp_path, recommender, one):
    writer = RecordWriter(tmp_path, RecordSettings(rows=1000, flush_s=0.1), ids_of(recommender))
    writer.put(one)
    end = time.monotonic() + 20
    while not list(tmp_path.glob("[!.]*.parquet")) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(sample_rows(tmp_path)) == 1
    writer.close()


def test_more_than_may_wait_are_dropped_and_counted_at_once(tmp_path, recommender, one):
    dropped, hold = [], threading.Event()

    def slow(release):
        hold.wait(20)
        return ids_of(recommender)(release)

    writer = RecordWriter(tmp_path, RecordSettings(rows=5, waiting=5), slow, dropped.append)
    for each in many(one, 5, "first"):
        assert writer.put(each)
    while writer._waiting:
        time.sleep(0.001)
    began = time.monotonic()
    taken = [writer.put(each) for each in many(one, 8, "second")]
    assert time.monotonic() - began < 1.0
    assert (taken, sum(dropped)) == ([True] * 5 + [False] * 3, 3)
    hold.set()
    writer.close(20)
    assert len(sample_rows(tmp_path)) == 10


def test_what_cannot_be_written_is_counted_and_later_ones_are_written(tmp_path, recommender, one, caplog):
    dropped, folder = [], tmp_path / "log"
    folder.write_text("a file where the folder should be")
    writer = RecordWriter(folder, RecordSettings(rows=1, flush_s=0.05), ids_of(recommender), dropped.append)
    writer.put(one)
    end = time.monotonic() + 20
    while not dropped and time.monotonic() < end:
        time.sleep(0.01)
    assert sum(dropped) == 1
    assert "1 records are lost" in caplog.text
    folder.unlink()
    writer.put(replace(one, request_id="later"))
    writer.close(20)
    assert [row["request_id"] for row in sample_rows(folder)] == ["later"]


def test_half_written_files_are_not_read_and_swept_when_they_are_old(tmp_path, recommender, one):
    writer = RecordWriter(tmp_path, RecordSettings(), ids_of(recommender))
    writer.put(one)
    writer.close()
    (name,) = record_files(tmp_path)
    young, old = tmp_path / ".1234.b.parquet", tmp_path / ".5678.c.parquet"
    for path in (young, old):
        path.write_bytes(name.read_bytes()[:100])
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert record_files(tmp_path) == [name]
    RecordWriter(tmp_path, RecordSettings(), ids_of(recommender)).close()
    assert young.exists()
    assert not old.exists()


_CHILD = """
import sys, numpy as np, pyarrow as pa
from pathlib import Path
from motet.recommend import Query
from motet.record_settings import RecordSettings
from motet.records.record import Record, fallback_arrays
from motet.records.writer import RecordWriter
ids = pa.array([f"i{n}" for n in range(500)])
writer = RecordWriter(Path(sys.argv[1]), RecordSettings(rows=50, flush_s=0.01), lambda release: ids)
n = 0
while True:
    arrays = fallback_arrays(None, np.arange(500), [0.5] * 500)
    n += writer.put(Record(f"r{n}", "a", 1, Query(), "home", "popular", "popular", None, **arrays))
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_files_only(tmp_path):
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path)])
        before = len(list(tmp_path.glob("[!.]*.parquet")))
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("[!.]*.parquet"))) < before + 3 and time.monotonic() < end:
            time.sleep(0.002)
        child.kill()
        child.wait()
    counts = [table.num_rows for table in record_tables(tmp_path)]
    assert len(counts) >= 9
    assert all(1 <= count <= 50 for count in counts)


def test_a_sample_is_the_same_for_the_same_log_however_it_is_cut_into_files(tmp_path, recommender, one):
    """Of 40 requests on two surfaces the ten of `home` whose ids hash lowest, in the order of time."""
    records = [
        replace(each, moment_ms=1000 + n, surface="home" if n % 2 else "reds") for n, each in enumerate(many(one, 40))
    ]
    write_records(tmp_path / "a", recommender, records)
    write_records(tmp_path / "b", recommender, records[30:], "x")
    write_records(tmp_path / "b", recommender, records[:30], "y")
    found = sample_rows(tmp_path / "a", 10, "home")
    assert found == sample_rows(tmp_path / "b", 10, "home")
    names = [row["request_id"] for row in found]
    lowest = sorted((f"r{n}" for n in range(1, 40, 2)), key=lambda name: uniform(name, "sample"))[:10]
    assert names == sorted(lowest, key=lambda name: int(name[1:]))
    assert len(sample_rows(tmp_path / "a")) == 40


def test_a_damaged_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no records; serve a release"):
        record_files(tmp_path)
    Path(tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"x\.parquet is damaged or no file of records"):
        list(record_tables(tmp_path))
