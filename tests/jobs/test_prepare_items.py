"""prepare folds the item log in: its latest entries win over the file, and removed items are dropped."""

import json

import pytest

from jobs.prepare import prepare
from jobs.stages import Run, claim_workspace
from motet.data.features import FeatureSpec
from motet.data.parquet import read_parquet
from motet.itemlog.entry import ItemEntry
from motet.itemlog.place import open_items
from motet.itemlog.rows import encoded_rows
from motet.recipe_file import load_recipe
from motet.storage import read_json
from tests.synthetic import events, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")
NOW_MS = 1_700_000_000_123
NEW = {"title": "Odd film of today", "genres": ["crime", "space"], "year": 2024}
CHANGED = {"title": "Even film, new cut", "genres": "comedy|crime", "year": 2020.5}


def entry(name: str, item: str, columns=None) -> ItemEntry:
    return ItemEntry(name, item, NOW_MS, columns)


def test_the_next_release_is_made_from_the_log_as_well(tmp_path, minilm):
    """30 rows of the file and 4 of the log: i5 goes, i4 is replaced, one item is new, one has no text."""
    run = Run(load_recipe(write_shop(tmp_path, minilm)))
    claim_workspace(run)
    before = prepare(run)
    log = open_items(run.recipe.serve.events, run.workspace, run.recipe.name)
    log.append([entry("1", "i4", NEW), entry("2", "i4", CHANGED), entry("3", "today", NEW), entry("4", "i5")])
    log.append([entry("5", "never", NEW), entry("6", "never"), entry("7", "blank", {"year": 2000})])
    log.append([entry("8", "i6"), entry("9", "i6", {"title": "Even film, back again"})])
    log.close()
    assert open_items(run.recipe.serve.events, run.workspace, "x").folder == run.workspace / "items"
    result = prepare(run)
    assert result.id != before.id
    ledger = json.loads((result.folder / "ledger.json").read_text())
    items = {name: value for name, value in ledger["items"].items() if name != "reasons"}
    assert items == {"read": 34, "kept": 30, "quarantined": 1, "merged": 2, "removed": 1, "added": 1, "forgotten": 0}
    assert ledger["interactions"]["quarantined"] == sum(row["item_id"] == "i5" for row in events())
    rows = {row["item"]: row for row in read_parquet(result.folder / "items").to_pylist()}
    assert set(rows) == {"today", *(f"i{n}" for n in range(30) if n != 5)}
    assert (rows["i4"]["title"], rows["i4"]["num:year"]) == ("Even film, new cut", 2020.5)
    assert rows["i6"]["title"] == "Even film, back again"
    assert sorted(rows["today"]["attr:genres"]) == ["crime", "space"]
    quarantined = read_parquet(result.folder / "quarantine").to_pylist()
    assert [row["reason"] for row in quarantined if row["file"] == "the item log"] == ["no text"]
    spec = FeatureSpec.model_validate(read_json(result.folder / "features.json")["items"])
    live = encoded_rows([entry("2", "i4", CHANGED), entry("3", "today", NEW)], run.recipe, spec)
    shared = ("item", "title", "text", "slots", "numbers", "attr:genres", "num:year")
    assert [{name: row[name] for name in shared} for row in live.to_pylist()] == [
        {name: rows[item][name] for name in shared} for item in ("i4", "today")
    ]
    assert prepare(run).id == result.id
