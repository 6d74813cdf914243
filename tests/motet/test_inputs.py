"""A recipe against the files it names: every missing file, column and weight is said, with its line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motet.errors import RecipeError
from motet.inputs import check_inputs
from motet.recipe_file import load_recipe

_RECIPE = """\
name: shop
data:
  interactions:
    path: {folder}/log.csv
    user: user
    ranges: {{rating: {{min: 1}}}}
  items:
    path: {folder}/items.parquet
    text: [title]
    categories: [genre]
  users:
    path: {folder}/users.jsonl
    numbers: [age]
tasks:
  - {{name: watch, kind: retrieval}}
  - {{name: like, kind: binary, label: rating >= 4}}
encoder: {{model: {folder}/model}}
surfaces: {{home: {{weights: {{like: 1}}}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe and all that it names."""
    (tmp_path / "log.csv").write_text("user,item_id,timestamp,rating\n1,2,3,4\n")
    pq.write_table(pa.table({"item_id": ["2"], "title": ["x"], "genre": ["g"]}), tmp_path / "items.parquet")
    (tmp_path / "users.jsonl").write_text('{"user_id": "1"}\n{"user_id": "2", "age": 3}\n')
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_text(json.dumps({}))
    (tmp_path / "r.yaml").write_text(_RECIPE.format(folder=tmp_path))
    return tmp_path


def _problems(folder: Path, *overrides: str) -> list[str]:
    loaded = load_recipe(folder / "r.yaml", overrides)
    with pytest.raises(RecipeError) as error:
        check_inputs(loaded)
    return [one.replace(f"{folder}/", "") for one in error.value.problems]


def test_a_right_recipe_passes(folder: Path) -> None:
    check_inputs(load_recipe(folder / "r.yaml"))


def test_all_mistakes_come_at_once_with_their_lines(folder: Path) -> None:
    (folder / "log.csv").write_text("user_id,item_id,timestamp,ratings\n")
    (folder / "items.parquet").write_bytes((folder / "items.parquet").read_bytes()[:-9])
    (folder / "users.jsonl").unlink()
    (folder / "model" / "model.safetensors").unlink()
    found = _problems(folder)
    assert found[:3] == [
        "r.yaml:5: data.interactions.user: log.csv has no column 'user'; did you mean 'user_id'?",
        "r.yaml:6: data.interactions.ranges: log.csv has no column 'rating'; did you mean 'ratings'?",
        "r.yaml:16: tasks.1.label: log.csv has no column 'rating'; did you mean 'ratings'?",
    ]
    assert found[3].startswith("r.yaml:8: data.items.path: items.parquet is not a whole parquet file (")
    assert found[3].endswith("; write it again")
    assert found[4] == "r.yaml:12: data.users.path: users.jsonl: no such file or folder"
    assert found[5].startswith("r.yaml:17: encoder.model = ")
    assert found[5].endswith("has no weights; it needs a *.safetensors file")
    assert len(found) == 6


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("data.items.categories=[genres]", "has no column 'genres'; did you mean 'genre'?"),
        ("data.items.title=q", "data.items.title: items.parquet has no column 'q'; columns: item_id, title, genre"),
        ("data.items.id=item", "data.items.id: items.parquet has no column 'item'; did you mean 'item_id'?"),
        ("data.users.text=[bio]", "data.users.text: users.jsonl has no column 'bio'; columns: user_id, age"),
        ("data.interactions.path=model", "no such file or folder"),
        ("data.interactions.path=http://x/y.csv", "the scheme 'http' is not read"),
        ("data.interactions.format=parquet", "log.csv is not a whole parquet file"),
    ],
)
def test_one_mistake(folder: Path, override: str, problem: str) -> None:
    first = _problems(folder, override)[0]
    assert problem in first
    said_by_the_format = override.startswith("data.interactions.format")
    assert first.startswith("r.yaml:4: " if said_by_the_format else f"--set {override}: ")


@pytest.mark.parametrize(
    ("gone", "problem"),
    [
        ("config.json", "has no config.json; give the folder of a transformers model"),
        ("model.safetensors", "has no weights; it needs a *.safetensors file"),
        ("tokenizer.json", "has no tokenizer; it needs tokenizer.json or vocab.txt"),
    ],
)
def test_a_model_folder_that_lacks_a_part(folder: Path, gone: str, problem: str) -> None:
    (folder / "model" / gone).unlink()
    (found,) = _problems(folder)
    assert found.endswith(problem)


def test_weights_that_can_run_code_do_not_count(folder: Path) -> None:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")
    assert "has no weights" in _problems(folder)[0]


def test_a_column_that_is_there_twice(folder: Path) -> None:
    (folder / "log.csv").write_text("user,item_id,timestamp,rating,rating,,\n")
    assert _problems(folder) == [
        "r.yaml:6: data.interactions.ranges: log.csv has 2 columns named 'rating'; rename all but one",
        "r.yaml:16: tasks.1.label: log.csv has 2 columns named 'rating'; rename all but one",
    ]


def test_every_file_of_a_table_is_looked_at(folder: Path) -> None:
    (folder / "logs").mkdir()
    (folder / "logs" / "1.csv").write_text("user,item_id,timestamp,rating\n")
    (folder / "logs" / "2.csv").write_text("user,item_id,timestamp,ratings\n")
    (folder / "log.csv").unlink()
    for name, table in (("1", {"item_id": ["2"], "title": ["x"], "genre": ["g"]}), ("2", {"item_id": ["3"]})):
        pq.write_table(pa.table(table), folder / f"items-{name}.parquet")
    tables = (f"data.interactions.path={folder}/logs", f"data.items.path={folder}/items-*.parquet")
    assert _problems(folder, *tables) == [
        "r.yaml:6: data.interactions.ranges: logs/2.csv has no column 'rating'; did you mean 'ratings'?",
        "r.yaml:16: tasks.1.label: logs/2.csv has no column 'rating'; did you mean 'ratings'?",
        "r.yaml:9: data.items.text: items-2.parquet has no column 'title'; did you mean 'item_id'?",
        "r.yaml:10: data.items.categories: items-2.parquet has no column 'genre'; columns: item_id",
    ]


def test_only_the_first_file_of_json_lines_is_looked_at(folder: Path) -> None:
    (folder / "users").mkdir()
    for number, line in enumerate(('{"user_id": "1", "age": 3}', '{"user_id": "2"}')):
        (folder / "users" / f"{number}.jsonl").write_text(line + "\n")
    check_inputs(load_recipe(folder / "r.yaml", [f"data.users.path={folder}/users"]))


def test_an_empty_file_and_an_empty_folder(folder: Path) -> None:
    (folder / "log.csv").write_text("")
    (folder / "none").mkdir()
    found = _problems(folder, f"data.items.path={folder}/none")
    assert found[0].endswith("log.csv is empty; a csv file starts with a line of column names")
    assert found[1].endswith("none holds no file; put parquet, csv or jsonl files there")


def test_a_propensity_that_the_log_lacks_is_said(folder: Path) -> None:
    (line,) = _problems(folder, "data.interactions.propensity=ratings")
    assert line.startswith("--set data.interactions.propensity=ratings: data.interactions.propensity: log.csv has no")
    assert "did you mean 'rating'?" in line


def test_presidio_is_asked_for_only_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["data.clean.scrub=presidio"]
    check_inputs(load_recipe(folder / "r.yaml", asked))
    monkeypatch.setattr("motet.inputs.presidio_is_there", lambda: False)
    with pytest.raises(RecipeError, match=r"presidio-analyzer is not installed; pip install 'motet\[presidio\]'"):
        check_inputs(load_recipe(folder / "r.yaml", asked))
