"""A user leaves a workspace that serves: every byte of it is searched afterwards, whatever it is packed in."""

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.pipeline import run_pipeline
from jobs.prepare import prepare
from jobs.stages import Run
from motet.cli import main
from motet.data.ledger import Ledger
from motet.errors import DataError
from motet.events.segments import Segments
from motet.forgetting.forget import forget
from motet.recipe_file import load_recipe
from motet.release.publish import Releases
from tests.serve.graphs import ask, served
from tests.synthetic import events, recipe, users, write_csv, write_recipe, write_shop

USER, TEXT = "eve-7f3a/é", "ornithopter"
OTHER = "u8"
pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.slow]


def spelled(name: str) -> list[bytes]:
    """A name as UTF-8, and as JSON spells it."""
    return [name.encode(), json.dumps(name)[1:-1].encode()]


def unpacked(path: Path) -> bytes:
    """What a file holds: its bytes, and the values of its columns if it is a table."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
    elif path.suffix == ".arrow":
        table = pa.ipc.open_file(path).read_all()
    else:
        return content
    return content + json.dumps(table.to_pylist(), default=str, ensure_ascii=False).encode()


def holders(workspace: Path, *names: str) -> list[str]:
    """The files of a workspace that hold one of these names."""
    marks = [mark for name in names for mark in spelled(name)]
    files = [path for path in sorted(workspace.rglob("*")) if path.is_file()]
    return [str(path.relative_to(workspace)) for path in files if any(mark in unpacked(path) for mark in marks)]


def write_data(folder, minilm, pseudonymise):
    """The shop with one user who can be searched for, in good rows, bad rows and rows that cannot be read."""
    file = write_shop(folder, minilm)
    mine = [{**row, "user_id": USER} if row["user_id"] == "u7" else row for row in events()]
    bad = [{**mine[0], "user_id": USER, "rating": 9}, {**mine[0], "user_id": OTHER, "rating": 9}]
    write_csv(folder / "events.csv", [*mine, *bad])
    with (folder / "events.csv").open("a") as log:
        log.write(f"{USER},i1,4,1600000000,too,many\n")
    people = [{**row, "user_id": USER, "gender": TEXT} if row["user_id"] == "u7" else row for row in users()]
    write_csv(folder / "users.csv", people)
    serving = {"deadline_ms": 20_000, "records": {"flush_s": 0.5}}
    train = {"workers": 0, "epochs": 2, "patience": 2, "batch_size": 16, "warmup_steps": 2}
    changes = {"train": train, "serve": serving, "privacy": {"pseudonymise": pseudonymise}}
    changes["release"] = {"golden_requests": 40}  # all users, so this one too
    return write_recipe(file, recipe(folder, minilm, **changes))


def wait_for(what, seconds=60.0) -> float:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.parametrize("pseudonymise", [False, True])
def test_no_byte_of_a_forgotten_user_stays(tmp_path, minilm, pseudonymise):
    file = write_data(tmp_path, minilm, pseudonymise)
    run_pipeline(Run(load_recipe(file)))
    workspace, event = tmp_path / "workspace", {"user_id": USER, "item_id": "i3", "kind": "click"}
    releases = Releases(workspace)
    before = releases.current_id()
    with served(releases.current(), watched=True) as address:
        assert ask(address, "/v1/recommend", {"user_id": USER})[2]["user"] == "known"
        assert ask(address, "/v1/recommend", {"user_id": OTHER})[2]["user"] == "known"
        assert ask(address, "/v1/events", [event, {**event, "user_id": OTHER}])[2]["recorded"] == 2
        wait_for(lambda: list((workspace / "recommendations").glob("*.parquet")))
        stored = [user for _, user in ((p, e.user) for p, e in Segments(workspace / "events").read())]
        names = [USER, stored[0]]
        held = holders(workspace, *names)
        assert bool(holders(workspace, USER)) != pseudonymise
        for part in ("events/", "recommendations/", "prepared/", "drafts/", "reports/", "releases/"):
            assert any(name.startswith(part) for name in held), part

        began = time.monotonic()
        done = CliRunner().invoke(main, ["forget", USER, "--workspace", str(workspace), "--grace", "3"])
        assert done.exit_code == 0, done.output
        assert USER not in done.output
        assert "every prepare leaves the user out" in done.output
        wait_for(lambda: ask(address, "/v1/release")[2]["release"] != before)
        assert ask(address, "/v1/recommend", {"user_id": USER})[2]["user"] == "popular"
        print(f"pseudonymise {pseudonymise}: forgotten, the endpoint too, after {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < 60
        assert ask(address, "/v1/events", [event, {**event, "user_id": OTHER}])[2] | {"event_ids": []} == {
            "event_ids": [], "recorded": 1, "repeated": 0, "forgotten": 1,
        }  # fmt: skip
        assert ask(address, "/v1/recommend", {"user_id": OTHER})[2]["user"] == "known"
        time.sleep(1)  # records are written twice a second
    assert holders(workspace, *names) == []
    assert len(holders(workspace, stored[1])) > 4  # the search finds those who stayed
    assert releases.current_id() != before
    assert [one.id for one in releases.all()] == [releases.current_id()]

    (receipt,) = (workspace / "privacy" / "receipts").iterdir()
    told = {one["place"]: one["removed"] for one in json.loads(receipt.read_text())["places"]}
    assert told["events (segments)"] == 1
    assert told["recommendations"] == 1
    assert told["prepared"] >= 20 + 1 + 1  # interactions, history, user
    assert told["embeddings"] == 1
    assert told["releases"] >= 3  # user, tested user, who met what

    ledgers = json.loads((prepare(Run(load_recipe(file))).folder / "ledger.json").read_text())
    assert (ledgers["interactions"]["forgotten"], ledgers["users"]["forgotten"]) == (21, 1)
    for name, ledger in ledgers.items():
        Ledger.from_dict(ledger).check(name)
    assert holders(workspace, *names) == []


def test_a_folder_that_is_no_workspace_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a workspace"):
        forget(tmp_path, "u1")
