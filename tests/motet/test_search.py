"""The search space: what may be searched, values that the recipe refuses, draws that are the same for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.errors import RecipeError
from motet.recipe import Recipe, refusal
from motet.recipe_file import load_recipe
from motet.search import assigned, draw_trials, searchable
from motet.tune_settings import Distribution, TuneSettings

_RECIPE = """\
name: shop
data:
  interactions: {path: log.csv}
  items: {path: items.csv, text: [title]}
tasks:
  - {name: watch, kind: retrieval}
  - {name: like, kind: binary, label: rating >= 4}
encoder: {model: minilm}
surfaces:
  home: {weights: {like: 1.0}}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("r.yaml")


def _load(file: Path, *space: str, more: str = "") -> Recipe:
    lines = "".join(f"    {line}\n" for line in space)
    file.write_text(f"{_RECIPE}tune:\n  space:\n{lines}{more}")
    return load_recipe(file).recipe


def _problem(file: Path, *space: str, more: str = "") -> str:
    with pytest.raises(RecipeError) as error:
        _load(file, *space, more=more)
    assert len(error.value.problems) == 1
    return error.value.problems[0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("train.learning_rte: {uniform: [0.1, 0.2]}", "train.learning_rte is not a setting; did you mean "
         "'train.learning_rate'?"),
        ("tasks.lik.weight: {uniform: [0.1, 2]}", "tasks.lik.weight is not a setting; did you mean "
         "'tasks.like.weight'?"),
        ("encoder.pooling: {choice: [mean, cls]}", "encoder.pooling decides what prepare and embed leave, which all "
         "trials share; search train, model or tasks"),
        ("data.split.test: {uniform: [0.1, 0.2]}", "data.split.test decides what prepare and embed leave, which all "
         "trials share; search train, model or tasks"),
        ("tasks.like.label: {choice: [rating >= 3]}", "tasks.like.label decides what prepare leaves, which all "
         "trials share; of a task search weight, negatives, loss"),
        ("retrieval.als_ridge: {uniform: [1, 2]}", "retrieval.als_ridge is not read by training; search train, model "
         "or tasks"),
        ("train.workers: {int: [1, 2]}", "train.workers changes how a network is trained, not what it learns; leave it "
         "out"),
        ("train.select_by: {choice: [like.auc]}", "train.select_by chooses the epoch by what tune.select_by says; "
         "leave it out"),
        ("train.learning_rate: {choice: [0.1, 0]}", "train.learning_rate 0 is refused: input should be greater than 0"),
        ("model.dropout: {uniform: [0, 1]}", "model.dropout 1.0 is refused: input should be less than 1"),
        ("train.batch_size: {uniform: [16, 64]}", "train.batch_size 34.3312 is refused: input should be a valid "
         "integer, got a number with a fractional part"),
        ("model.dim: {choice: [64, 33]}", "model.dim 33 is refused: heads = 2 does not divide dim = 33; choose a "
         "divisor"),
        ("model.experts: {choice: [mmoe, moe]}", "model.experts 'moe' is refused: input should be 'shared_bottom', "
         "'mmoe' or 'ple'"),
    ],
)  # fmt: skip
def test_a_space_that_cannot_be_searched(file: Path, line: str, problem: str) -> None:
    setting = line.partition(":")[0]
    assert _problem(file, "model.layers: {choice: [1, 2]}", line) == f"r.yaml:14: tune.space.{setting}: {problem}"


@pytest.mark.parametrize(
    ("distribution", "problem"),
    [
        ("{uniform: [2, 1]}", "uniform = [2.0, 1.0] is an empty range; give [low, high] with low below high"),
        ("{int: [3, 3]}", "int = [3, 3] is an empty range; give [low, high] with low below high"),
        ("{log_uniform: [0, 1]}", "log_uniform = [0.0, 1.0] has no logarithm at its low end; begin above 0"),
        ("{uniform: [0, 1], int: [1, 2]}", "uniform and int given; give exactly one of choice, uniform, log_uniform "
         "and int"),
        ("{}", "none given; give exactly one of choice, uniform, log_uniform and int"),
    ],
)  # fmt: skip
def test_a_distribution_that_holds_nothing(file: Path, distribution: str, problem: str) -> None:
    said = _problem(file, f"train.learning_rate: {distribution}")
    assert said == f"r.yaml:13: tune.space.train.learning_rate: {problem}"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("  select_by: like.rmse\n", "r.yaml:14: tune.select_by: 'like.rmse' is not a metric of a task; did you mean "),
        ("  metrics: [like.auc, lik]\n", "r.yaml:14: tune.metrics.1: 'lik' is not a metric of a task; did you mean "),
        ("  trials: 0\n", "r.yaml:14: tune.trials = 0: input should be greater than or equal to 1"),
        ("  trial: 3\n", "r.yaml:14: tune.trial = 3 is not a setting; did you mean tune.trials?"),
    ],
)
def test_the_rest_of_the_section_is_checked_too(file: Path, more: str, problem: str) -> None:
    assert _problem(file, "model.layers: {int: [1, 2]}", more=more).startswith(problem)


def test_settings_that_only_fit_each_other_are_drawn_together(file: Path) -> None:
    """33 needs 3 heads, 64 needs 2: either pair is a recipe, no other is."""
    recipe = _load(file, "model.dim: {choice: [64, 33]}", "model.heads: {choice: [2, 3]}")
    assert recipe.tune is not None
    trials = draw_trials(recipe.tune, recipe.resolved() | {"tune": None}, 1, refusal)
    assert sorted((one["model.dim"], one["model.heads"]) for one in trials) == [(33, 3), (64, 2)]


def test_what_may_be_searched_is_what_training_reads(file: Path) -> None:
    recipe = _load(file, "tasks.like.weight: {log_uniform: [0.01, 10]}", "model.balance: {choice: [static, famo]}")
    found = searchable(recipe.tasks)
    assert {"train.epochs", "train.label_smoothing", "model.balance", "tasks.like.weight", "tasks.watch.weight"} <= set(
        found
    )
    assert not {"train.workers", "train.refit", "tasks.like.label"} & set(found)


def test_values_are_put_where_they_belong(file: Path) -> None:
    recipe = _load(file, "model.layers: {int: [1, 2]}")
    plain = recipe.resolved()
    changed = Recipe.model_validate(assigned(plain, {"tasks.like.weight": 0.25, "train.epochs": 3}))
    assert (changed.tasks[1].weight, changed.train.epochs) == (0.25, 3)
    assert Recipe.model_validate(plain) == recipe


def _settings(trials: int, **space: Any) -> TuneSettings:
    return TuneSettings.model_validate(
        {"space": {f"train.{name}": one for name, one in space.items()}, "trials": trials}
    )


def test_draws_stay_in_range_and_a_longer_search_begins_with_the_shorter_one() -> None:
    settings = _settings(40, a={"log_uniform": [1e-4, 1e-1]}, b={"int": [2, 4]}, c={"choice": ["x", "y"]},
                         d={"uniform": [0.5, 0.6]})  # fmt: skip
    plain: dict[str, Any] = {"train": {}}
    trials = draw_trials(settings, plain, 7, lambda _: None)
    assert len(trials) == 40
    assert trials[:5] == draw_trials(settings.model_copy(update={"trials": 5}), plain, 7, lambda _: None)
    assert trials != draw_trials(settings, plain, 8, lambda _: None)
    assert {one["train.b"] for one in trials} == {2, 3, 4}
    assert {one["train.c"] for one in trials} == {"x", "y"}
    assert all(0.5 <= one["train.d"] <= 0.6 for one in trials)
    logs_N = np.log10([one["train.a"] for one in trials])
    assert -4 <= logs_N.min() < -3.5
    assert -1.5 < logs_N.max() <= -1


def test_a_small_space_gives_each_of_its_points_once() -> None:
    settings = _settings(10, b={"int": [2, 4]})
    assert sorted(one["train.b"] for one in draw_trials(settings, {"train": {}}, 0, lambda _: None)) == [2, 3, 4]


def test_values_that_stand_for_a_distribution() -> None:
    assert Distribution(uniform=(0, 10)).tried == (0, 10, pytest.approx(3.819))
    assert Distribution(int=(1, 8)).tried == (1, 8)
    assert Distribution(choice=("a", 2)).tried == ("a", 2)
