"""prepare from a log and an export of the event log beside it, as one more file of interactions."""

import json
import time

import pytest

from jobs.prepare import prepare
from jobs.stages import Run, claim_workspace
from motet.data.parquet import read_parquet
from motet.events.event import Event
from motet.events.export import export
from motet.events.segments import Segments
from motet.recipe_file import load_recipe
from tests.synthetic import events, write_csv, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")
NOW_MS = 1_700_000_000_123


def test_exported_events_are_interactions_like_any_other(tmp_path, minilm):
    """800 logged rows and 5 events, of which one is a later rating of a logged pair and one has an unknown item."""
    log = write_csv(tmp_path / "log" / "events.csv", events())
    file = write_shop(tmp_path, minilm)
    run = Run(load_recipe(file, [f"data.interactions.path={log.parent}"]))
    first, store = events()[0], Segments(tmp_path / "workspace" / "events")
    store.append(
        [
            Event("e1", "u0", first["item_id"], NOW_MS, "rating", 1.0),
            Event("e2", "newcomer", "i3", NOW_MS + 1, "rating", 5.0),
            Event("e3", "newcomer", "i4", NOW_MS + 2, "click", 1.0),
            Event("e4", "newcomer", "i999", NOW_MS + 3),
            Event("e5", "newcomer", "i5", round(time.time() * 1000)),
        ]
    )
    store.close()
    assert export(store, log.parent / "live.parquet", run.recipe) == 5
    claim_workspace(run)
    result = prepare(run)
    ledger = json.loads((result.folder / "ledger.json").read_text())["interactions"]
    assert {name: ledger[name] for name in ("read", "kept", "quarantined", "merged")} == {
        "read": 805, "kept": 803, "quarantined": 1, "merged": 1
    }  # fmt: skip
    rows = read_parquet(result.folder / "interactions").to_pylist()
    found = {(row["user"], row["item"]): row for row in rows}
    again, rated, clicked = found["u0", first["item_id"]], found["newcomer", "i3"], found["newcomer", "i4"]
    assert (again["timestamp"], again["rating"], again["label:like"]) == (NOW_MS, 1.0, 0.0)
    assert (rated["timestamp"], rated["label:rating"], rated["label:like"]) == (NOW_MS + 1, 5.0, 1.0)
    assert (clicked["label:rating"], clicked["label:like"]) == (None, None)
