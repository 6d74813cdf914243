"""`motet events export`: the log as a table."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
from typer.testing import CliRunner

from motet.cli import main
from motet.events.export import export
from motet.events.segments import Segments
from motet.release.publish import Releases
from motet.storage import read_json, write_json, write_manifest
from tests.builders import Tiny
from tests.motet.events.makers import event


def test_a_workspace_gives_the_columns_of_its_recipe(workspace: Path, tmp_path: Path) -> None:
    store = Segments(workspace / "events")
    store.append([event(1, kind="rating", value=4.0), event(2, kind="click", request_id="r1"), event(1)])
    store.close()
    target = tmp_path / "out" / "live.parquet"
    done = CliRunner().invoke(main, ["events", "export", str(workspace), str(target)])
    assert (done.exit_code, done.output) == (0, f"2 events in {target}\n")
    moment = datetime.fromtimestamp(1_700_000_000, UTC)
    assert pq.read_table(target).to_pylist() == [
        {"user_id": "u1", "item_id": "i1", "kind": "rating", "value": 4.0, "request_id": None, "rating": 4.0}
        | {"event_id": "e1", "timestamp": moment.replace(microsecond=1000)},
        {"user_id": "u1", "item_id": "i2", "kind": "click", "value": None, "request_id": "r1", "rating": None}
        | {"event_id": "e2", "timestamp": moment.replace(microsecond=2000)},
    ]


def test_a_workspace_without_a_release_gives_what_every_event_has(tmp_path: Path) -> None:
    store = Segments(tmp_path / "w" / "events")
    store.append([event(1)])
    store.close()
    assert export(store, tmp_path / "out.parquet") == 1
    names = ["user_id", "item_id", "kind", "value", "timestamp", "event_id", "request_id"]
    assert pq.read_schema(tmp_path / "out.parquet").names == names
    done = CliRunner().invoke(main, ["events", "export", str(tmp_path / "empty"), str(tmp_path / "none.parquet")])
    assert (done.exit_code, pq.read_table(tmp_path / "none.parquet").num_rows) == (0, 0)


def test_other_names_of_the_recipe_have_columns_too(tmp_path: Path, encoder_folder: Path) -> None:
    names = {"user": "who", "item": "what", "timestamp": "timestamp"}
    store = Segments(tmp_path / "events")
    store.append([event(1, kind="rating", value=4.0)])
    store.close()
    export(store, tmp_path / "out.parquet", Tiny.of(encoder_folder, data={"interactions": names}).recipe)
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["who"], row["what"], row["user_id"], row["rating"]) == ("u1", "i1", "u1", 4.0)


def test_a_release_that_records_nothing_is_said(tiny: Tiny, draft: Path, report: Path, tmp_path: Path) -> None:
    silent = Path(shutil.copytree(draft, tmp_path / "draft"))
    recipe = read_json(silent / "recipe.json")
    recipe["serve"]["events"]["store"] = "none"
    write_json(silent / "recipe.json", recipe)
    write_manifest(silent, {"stage": "index"})
    Releases(tmp_path / "workspace").publish(silent, report, tiny.recipe.release, {"recipe": "tiny"})
    words = ["events", "export", str(tmp_path / "workspace"), str(tmp_path / "out.parquet")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "its release records no events (serve.events.store is none)" in done.output
