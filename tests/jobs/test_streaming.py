"""Ten times as much as the object store holds: nothing is lost, and no process grows with the log.

800 MB through 80 MB; with MOTET_STREAM=whole two gigabytes through 200 MB, which takes minutes.
"""

import os
import threading

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pytest

from motet.storage import read_json, read_manifest
from tests.chaos.runs import finish, own_environment, start
from tests.synthetic import write_shop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WHOLE = os.environ.get("MOTET_STREAM") == "whole"
FILES, STORE_MB, USERS = (10, 200, 200_000) if WHOLE else (4, 80, 20_000)
ROWS, ITEMS = 1_000_000, 30
WIDE = 90
"""Characters of a user's id, so that the events are large as they are."""


def write_users(path) -> pa.Array:
    """People with a text each; return their ids."""
    ids = pa.array([f"{'user-of-a-long-name-':x<{WIDE - 7}}{number:07d}" for number in range(USERS)])
    table = pa.table({"user_id": ids, "gender": [f"text {number} of many" for number in range(USERS)],
                      "age": np.arange(USERS) % 80})  # fmt: skip
    pa.csv.write_csv(table, path)
    return ids


def write_events(folder, ids: pa.Array) -> int:
    """A million events a file of these people; return their bytes."""
    folder.mkdir()
    films = pa.array([f"{'i':0<{WIDE}}{number}" for number in range(ITEMS)])
    for number in range(FILES):
        chance = np.random.default_rng(number)
        moments = 1_600_000_000 + chance.integers(0, 10_000_000, ROWS)
        columns = {
            "user_id": ids.take(pa.array(chance.integers(0, USERS, ROWS))),
            "item_id": films.take(pa.array(chance.integers(0, ITEMS, ROWS))),
            "rating": chance.integers(1, 6, ROWS),
            "timestamp": moments,
        }
        pa.csv.write_csv(pa.table(columns), folder / f"part-{number}.csv")
    pa.csv.write_csv(
        pa.table({"item_id": films, "title": [f"film {n}" for n in range(ITEMS)], "genres": ["comedy"] * ITEMS,
                  "year": [1990] * ITEMS}), folder.parent / "items.csv",
    )  # fmt: skip
    return sum(path.stat().st_size for path in folder.iterdir())


class Watch(threading.Thread):
    """The most memory of its own that any process of a tree has, MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.most, self.over = pid, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            for one in [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]:
                try:
                    memory = one.memory_info()
                except psutil.Error:
                    continue
                self.most = max(self.most, (memory.rss - memory.shared) / 2**20)


def test_ten_times_what_the_object_store_holds_goes_through_it(tmp_path, encoder_folder):
    file = write_shop(tmp_path, encoder_folder)
    (tmp_path / "events.csv").unlink()
    size = write_events(tmp_path / "events", write_users(tmp_path / "users.csv"))
    assert size > 10e6 * STORE_MB
    changes = [
        f"data.interactions.path={tmp_path}/events",
        "data.users.categories=[]",
        f"resources.object_store_mb={STORE_MB}",
    ]
    with own_environment() as environment:
        process = start(file, environment, "--until", "embed", *(word for one in changes for word in ("--set", one)))
        watch = Watch(process.pid)
        watch.start()
        said = finish(process, seconds=800)
        watch.over.set()
    (prepared,), (embedded,) = (list((tmp_path / "workspace" / name).iterdir()) for name in ("prepared", "embedded"))
    log = read_json(prepared / "ledger.json")["interactions"]
    assert log["read"] == FILES * ROWS == log["kept"] + log["merged"] + log["quarantined"]
    assert read_manifest(embedded)["summary"]["users"] == USERS
    print(f"{size / 1e9:.2f} GB, most memory of a process {watch.most:.0f} MiB", said.splitlines()[-1])
    assert watch.most < 2048
