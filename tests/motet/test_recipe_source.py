"""Layers of recipes: what joins, what replaces, entries by name, and the file and line of everything."""

from pathlib import Path

import pytest

from motet.errors import RecipeError
from motet.recipe_file import describe_recipe, load_recipe

_BASE = """\
name: shop
data:
  interactions: {path: log.csv}
  items: {path: items.csv, text: [title, genre]}
tasks:
  - {name: watch, kind: retrieval}
  - {name: like, kind: binary, label: rating >= 4}
encoder: {model: minilm}
train: {epochs: 4, patience: 2}
surfaces:
  home: {weights: {like: 1.0}}
"""
_LAYER = """\
extends: base.yaml
train: {epochs: 7}
tasks:
  like:
    weight: 0.3
data: {items: {text: [title]}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write("base.yaml", _BASE)
    _write("layer.yaml", _LAYER)


def _write(name: str, text: str) -> str:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    return name


def _problems(file: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        load_recipe(file)
    return error.value.problems


def test_mappings_join_lists_replace_and_entries_are_known_by_name() -> None:
    recipe = load_recipe("layer.yaml").recipe
    assert (recipe.train.epochs, recipe.train.patience) == (7, 2)
    assert [task.weight for task in recipe.tasks] == [1.0, 0.3]
    assert recipe.tasks[1].label == "rating >= 4"
    assert recipe.data.items.text == ("title",)


def test_every_value_knows_the_file_and_line_that_said_it() -> None:
    said = {name: origin for name, _, origin in describe_recipe(load_recipe("layer.yaml"))}
    assert said["train.epochs"] == "layer.yaml:2"
    assert said["train.patience"] == "base.yaml:9"
    assert said["tasks.1.weight"] == "layer.yaml:5"
    assert said["tasks.1.label"] == "base.yaml:7"
    assert said["data.items.text"] == "layer.yaml:6"
    assert load_recipe("layer.yaml").where("data", "items", "text", 1) == "layer.yaml:6"


def test_layers_stand_on_layers_and_paths_are_seen_from_their_own_file() -> None:
    _write("deep/top.yaml", "extends: ../layer.yaml\ntrain: {patience: 5}\ntasks: {'0': {weight: 2}}\n")
    loaded = load_recipe("deep/top.yaml", ["train.epochs=9", "tasks.like.weight=0.5"])
    assert (loaded.recipe.train.epochs, loaded.recipe.train.patience) == (9, 5)
    assert [task.weight for task in loaded.recipe.tasks] == [2.0, 0.5]
    assert loaded.where("tasks", 0, "weight") == "deep/top.yaml:3"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train: {epoch: 7}", "train.epoch = 7 is not a setting; did you mean train.epochs? (motet recipe schema lists "
         "them)"),
        ("tasks: {lik: {weight: 2}}", "tasks.lik: 'lik' names no entry of the list; did you mean 'like'?"),
        ("tasks: {'2': {weight: 2}}", "tasks.2: '2' names no entry of the list; valid: watch, like"),
        ("tasks: {like: {weight: 0}}", "tasks.1.weight = 0: input should be greater than 0"),
        ("train: {on: 1}", "train.on: the key on is not read as text; write it in quotes"),
        ("tasks: {on: 1}", "tasks.on: the key on is not read as text; write it in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_layer_is_told_with_the_layers_line(text: str, problem: str) -> None:
    file = _write("layer.yaml", f"extends: base.yaml\n{text}\n")
    assert _problems(file)[0] == f"{file}:2: {problem}"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[base.yaml]", "extends = ['base.yaml'] is not a file; give a recipe's path, seen from this file"),
        ("bas.yaml", "extends: bas.yaml: no such recipe; the repository's are in recipes/"),
        ("layer.yaml", "extends = 'layer.yaml' leads back to itself; let one of the files extend nothing"),
    ],
)
def test_what_cannot_be_extended(value: str, problem: str) -> None:
    assert _problems(_write("layer.yaml", f"extends: {value}\n")) == [f"layer.yaml:1: {problem}"]


def test_a_mistake_below_is_told_with_the_line_below() -> None:
    _write("base.yaml", _BASE.replace("patience: 2", "patience: 0"))
    assert _problems("layer.yaml") == ["base.yaml:9: train.patience = 0: input should be greater than or equal to 1"]


def test_a_circle_of_two_is_told() -> None:
    _write("base.yaml", "extends: layer.yaml\n")
    problem = "base.yaml:1: extends = 'layer.yaml' leads back to itself; let one of the files extend nothing"
    assert _problems("layer.yaml") == [problem]
