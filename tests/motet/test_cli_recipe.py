"""`motet recipe show|validate|schema`: what is printed, on which stream, and the exit code."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from motet.cli import main

_RECIPE = """\
name: shop
data:
  interactions: {path: log.csv}
  items: {path: items.csv, text: [title]}
tasks:
  - {name: watch, kind: retrieval}
  - {name: like, kind: binary, label: rating >= 4}
encoder: {model: m}
surfaces: {home: {weights: {like: 1}}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(_RECIPE)
    Path("log.csv").write_text("user_id,item_id,timestamp,rating\n")
    Path("items.csv").write_text("item_id,title\n")
    Path("m").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (Path("m") / name).write_text("{}")


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["recipe", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_show_says_every_value_and_where_it_came_from() -> None:
    code, out, err = _run("show", "r.yaml", "--set", "train.epochs=3")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert 'name = "shop"    # r.yaml:1' in lines
    assert 'data.items.text = ["title"]    # r.yaml:4' in lines
    assert "train.epochs = 3    # --set train.epochs=3" in lines
    assert "train.patience = 3" in lines
    assert 'tasks.1.label = "rating >= 4"    # r.yaml:7' in lines


def test_validate_says_what_is_valid() -> None:
    assert _run("validate", "r.yaml") == (0, "r.yaml: valid; tasks: watch (retrieval), like (binary)\n", "")


@pytest.mark.parametrize("command", ["show", "validate"])
def test_mistakes_come_one_a_line_on_stderr_with_exit_2(command: str) -> None:
    code, out, err = _run(command, "r.yaml", "--set", "train.epoch=3", "--set", "seed=-1")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "RecipeError: --set seed=-1: seed = -1: input should be greater than or equal to 0",
        "RecipeError: --set train.epoch=3: train.epoch = 3 is not a setting; did you mean train.epochs? "
        "(motet recipe schema lists them)",
    ]


def test_validate_looks_at_the_files() -> None:
    Path("items.csv").unlink()
    (Path("m") / "model.safetensors").unlink()
    code, _, err = _run("validate", "r.yaml")
    assert code == 2
    assert err.splitlines() == [
        "RecipeError: r.yaml:4: data.items.path: items.csv: no such file or folder",
        "RecipeError: r.yaml:8: encoder.model = 'm' has no weights; it needs a *.safetensors file",
    ]
    assert _run("show", "r.yaml")[0] == 0


def test_a_recipe_that_is_not_there() -> None:
    assert _run("show", "q.yaml") == (
        2, "", "RecipeError: q.yaml: no such recipe; the repository's are in recipes/\n",
    )  # fmt: skip


def test_the_schema_lists_every_setting_once_with_its_meaning() -> None:
    code, out, _ = _run("schema")
    lines = out.splitlines()
    assert code == 0
    assert "name: (required)    # string; Name of the recommender." in lines
    assert "  epochs: 10    # integer; Most epochs." in lines
    assert '  pooling: "mean"    # mean | cls | last; Mean over tokens, first token, or last token (decoders).' in lines
    assert [line for line in lines if line.startswith("tasks:")] == ["tasks:    # The Task table."]
    assert all("    # " in line and not line.endswith("# ") for line in lines)


def test_the_schema_as_json_is_a_json_schema() -> None:
    code, out, _ = _run("schema", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["required"] == ["name", "data", "tasks", "encoder", "surfaces"]
    assert document["$defs"]["TrainSettings"]["properties"]["epochs"]["default"] == 10


def test_no_file_given_is_a_usage_error() -> None:
    code, _, err = _run("show")
    assert code == 2
    assert "Missing argument" in err
