"""The whole way: every stage, skipping, and each kind of bad input as one line and exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.pipeline import command, run_pipeline
from jobs.stages import Run
from motet.recipe_file import load_recipe
from motet.release.publish import Releases
from motet.storage import describe_files
from tests.synthetic import events, items, recipe, write_csv, write_recipe, write_shop

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("ray_here")


def invoke(file, *options):
    return CliRunner().invoke(command, [str(file), *options])


def test_every_stage_leaves_a_manifest_and_a_release(shop):
    run, results, folder = shop
    assert list(results) == ["prepare", "embed", "train", "index", "evaluate", "release"]
    for kind in ("prepared", "embedded", "runs", "drafts", "reports"):
        folders = list((folder / "workspace" / kind).iterdir())
        assert [(one / "manifest.json").is_file() for one in folders] == [True], kind
    current = (folder / "workspace" / "releases" / "CURRENT").read_text().strip()
    assert results["release"].id == current
    assert run.skipped == []


def test_the_taste_of_the_shop_is_learnt(shop):
    """Users met 14 of 15 films of their own parity, so their last event is nearly always one they have left."""
    _, results, _ = shop
    report = json.loads((results["evaluate"].folder / "report.json").read_text())
    systems = report["ranking"]["systems"]
    assert systems["motet"]["hit"]["mean"] > systems["popularity"]["hit"]["mean"]
    assert report["tasks"]["like"]["auc"] > 0.9
    assert report["counts"] == {"users": 40, "items": 30, "interactions": 800, "evaluated_users": 40}


def test_a_second_run_does_nothing(shop):
    run, results, _ = shop
    again = Run(run.loaded)
    second = run_pipeline(again)
    assert again.skipped == ["prepare", "embed", "train", "index", "evaluate", "release"]
    assert second["release"].id == results["release"].id


def test_a_changed_recipe_runs_only_what_depends_on_it(shop):
    run, _, folder = shop
    changed = Run(load_recipe(folder / "shop.yaml", ["index.recall_floor=0.9"]))
    run_pipeline(changed, until="index")
    assert changed.skipped == ["prepare", "embed", "train"]
    assert run.recipe.index.recall_floor == 0.95


def mistakes():
    """Yield (name, change of the recipe or files, what the line must hold)."""

    def key(content, folder):
        content["train"]["learning_rte"] = 0.1

    def column(content, folder):
        content["tasks"][1]["label"] = "ratings >= 4"

    def syntax(content, folder):
        content["tasks"][1]["label"] = "rating >="

    def file(content, folder):
        content["data"]["items"]["path"] = str(folder / "nothing.csv")

    def empty(content, folder):
        (folder / "events.csv").write_text("user_id,item_id,rating,timestamp\n")

    def no_text(content, folder):
        write_csv(folder / "items.csv", [{**row, "title": "", "genres": ""} for row in items()])

    def no_weights(content, folder):
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        content["encoder"]["model"] = str(folder / "model")

    def no_label(content, folder):
        write_csv(folder / "events.csv", [{**row, "rating": ""} for row in events()])

    def other_recipe(content, folder):
        (folder / "workspace").mkdir()
        (folder / "workspace" / "workspace.json").write_text('{"recipe": "library"}')

    def truncated(content, folder):
        path = folder / "events.parquet"
        pq.write_table(pa.Table.from_pylist(events()), path)
        path.write_bytes(path.read_bytes()[:-100])
        content["data"]["interactions"]["path"] = str(path)

    yield key, ["train.learning_rte = 0.1", "did you mean train.learning_rate?", "shop.yaml:"]
    yield column, ["tasks.1.label", "'ratings'", "did you mean", "shop.yaml:"]
    yield syntax, ["tasks.1.label", "'rating >='", "ends at column 10", "shop.yaml:"]
    yield file, ["data.items.path", "nothing.csv", "no such file", "shop.yaml:"]
    yield empty, ["events.csv", "no rows"]
    yield no_text, ["items.csv", "no text"]
    yield no_weights, ["encoder.model", "no weights", "safetensors", "shop.yaml:"]
    yield no_label, ["tasks.1.label", "'rating >= 4'", "no label", "shop.yaml:"]
    yield other_recipe, ["workspace", "'library'", "'shop'", "set another", "shop.yaml:"]
    yield truncated, ["events.parquet", "not a whole parquet file", "shop.yaml:"]


@pytest.mark.parametrize(("change", "expected"), list(mistakes()), ids=lambda value: getattr(value, "__name__", ""))
def test_a_mistake_is_one_line_and_leaves_no_trace(tmp_path, minilm, change, expected):
    write_shop(tmp_path, minilm)
    content = recipe(tmp_path, minilm)
    change(content, tmp_path)
    file = write_recipe(tmp_path / "shop.yaml", content)
    before = describe_files(tmp_path / "workspace") if (tmp_path / "workspace").exists() else {}
    result = invoke(file)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if "Error: " in line]
    assert lines[0].startswith(("RecipeError: ", "DataError: "))
    assert "Traceback" not in result.output
    for part in expected:
        assert any(part in line for line in lines), (part, lines)
    after = describe_files(tmp_path / "workspace") if (tmp_path / "workspace").exists() else {}
    assert {name: after.get(name) for name in before} == before
    assert set(after) - set(before) <= {"workspace.json", ".lock"}


def test_a_second_writer_of_a_workspace_is_refused(shop):
    """The lock is this process's; another process ends with one line and exit code 2."""
    _, _, folder = shop
    command = [sys.executable, "jobs/pipeline.py", str(folder / "shop.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "is being written by another run; wait for it" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_rollback_is_not_undone_by_the_next_run(tmp_path, minilm):
    """The release made of the same draft and report is found, and CURRENT stays where the rollback put it."""
    file = write_shop(tmp_path, minilm)
    old = run_pipeline(Run(load_recipe(file, ["train.epochs=2"])))["release"].id
    options = ["train.epochs=2", "ranking.diversity=0.1", "release.max_drop=1.0", "release.max_slice_drop=1.0"]
    new = run_pipeline(Run(load_recipe(file, options)))["release"].id
    assert new != old
    releases = Releases(tmp_path / "workspace")
    assert releases.rollback() == old
    again = Run(load_recipe(file, options))
    assert run_pipeline(again)["release"].id == new
    assert releases.current_id() == old
    assert "release" in again.skipped


def test_an_unknown_stage_is_refused(shop):
    _, _, folder = shop
    result = invoke(folder / "shop.yaml", "--until", "bake")
    assert result.exit_code == 2
    assert "--until bake" in result.stderr
    assert "prepare, embed, train" in result.stderr
