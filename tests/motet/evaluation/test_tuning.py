"""A search's report from epochs written by hand; its page; the best as a recipe that extends another."""

from pathlib import Path
from typing import Any

import pytest

from motet.evaluation.tuning import Outcome, build, overlay, selection, shown_metrics
from motet.evaluation.tuning_page import front_line, front_plot, ordered, print_search, render_page
from motet.recipe import Recipe
from motet.recipe_file import load_recipe
from tests.builders import merged, recipe_dict

_SPACE = {"train.learning_rate": {"log_uniform": [0.001, 0.1]}, "tasks.like.weight": {"choice": [0.5, 2]}}


def _recipe(**tune: Any) -> Recipe:
    return Recipe.model_validate(merged(recipe_dict("m"), {"tune": {"space": _SPACE, **tune}}))


def _outcome(rate: float, *epochs: tuple[float, float, float], state: Any = "finished", said: str = "") -> Outcome:
    rows = [
        {
            "epoch": place + 1,
            "seconds": 1.5,
            "validation": {"watch.ndcg": ndcg, "like.auc": auc, "rating.rmse": rmse, "rating.loss": 1},
        }
        for place, (ndcg, auc, rmse) in enumerate(epochs)
    ]
    return Outcome({} if rate == 0 else {"train.learning_rate": rate, "tasks.like.weight": 2}, state, rows, said)


_OUTCOMES = [
    _outcome(0, (0.10, 0.70, 1.0), (0.20, 0.60, 0.9)),  # best at epoch 2: 0.20, 0.60, 0.9
    _outcome(0.01, (0.30, 0.65, 0.8), (0.25, 0.9, 0.1)),  # best at epoch 1: beats the recipe in all three
    _outcome(0.02, (0.05, 0.80, 1.2), state="stopped"),  # the best AUC
    _outcome(0.09, state="diverged", said="the loss of task 'like' is not finite"),
]


def test_each_trial_stands_at_its_best_epoch_and_the_front_follows() -> None:
    report = build(_recipe(), _OUTCOMES)
    assert report["metrics"] == {"watch.ndcg": "larger", "like.auc": "larger", "rating.rmse": "smaller"}
    assert [row["best_epoch"] for row in report["trials"]] == [2, 1, 1, None]
    assert report["trials"][1]["metrics"] == {"watch.ndcg": 0.30, "like.auc": 0.65, "rating.rmse": 0.8}
    assert (report["front"], report["best"]) == ([1, 2], 1)
    assert [row["number"] for row in ordered(report)] == [1, 0, 2, 3]
    assert report["trials"][0]["seconds"] == 3.0


def test_a_metric_to_be_small_is_searched_for_from_below() -> None:
    report = build(_recipe(select_by="rating.rmse", metrics=["like.auc"]), _OUTCOMES)
    assert list(report["metrics"]) == ["rating.rmse", "like.auc"]
    assert report["best"] == 1
    assert report["trials"][1]["metrics"] == {"rating.rmse": 0.1, "like.auc": 0.9}
    assert report["front"] == [1]


def test_what_is_shown_and_searched_for_by_default() -> None:
    recipe = _recipe()
    assert selection(recipe) == "watch.ndcg"
    assert shown_metrics(recipe) == ["watch.ndcg", "like.auc", "rating.rmse"]
    assert (
        selection(Recipe.model_validate(merged(recipe.resolved(), {"train": {"select_by": "like.loss"}})))
        == "like.loss"
    )


def test_a_search_in_which_all_diverged_has_no_best() -> None:
    report = build(_recipe(), [_OUTCOMES[3], _OUTCOMES[3]])
    assert (report["front"], report["best"]) == ([], None)
    assert front_plot(report) == ""
    assert front_line(report).endswith("none")


def test_the_page_and_the_terminal_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    report = build(_recipe(), _OUTCOMES)
    print_search(report)
    said, page = capsys.readouterr().out, render_page(report)
    for part in ("recipe", "0.01", "0.3000", "1 of 2", "diverged", "is not finite", "Pareto"):
        assert part in said
        assert part in page
    assert page.count("<img ") == 1
    assert "like.auc, larger is better" in front_plot(report)


def test_the_best_is_a_recipe_that_extends_the_one_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base.yaml"
    base.write_text(
        "name: shop\ndata: {interactions: {path: a.csv}, items: {path: b.csv, text: [t]}}\nencoder: {model: m}\n"
        "tasks: [{name: watch, kind: retrieval}, {name: like, kind: binary, label: x >= 1}]\n"
        "surfaces: {home: {weights: {watch: 1}}}\ntrain: {epochs: 3, patience: 2}\n"
    )
    Path("best.yaml").write_text(overlay("base.yaml", "two\nlines", {"train.epochs": 5, "tasks.like.weight": 0.25}))
    loaded = load_recipe("best.yaml")
    assert (loaded.recipe.train.epochs, loaded.recipe.train.patience) == (5, 2)
    assert [task.weight for task in loaded.recipe.tasks] == [1.0, 0.25]
    assert loaded.where("train", "patience") == f"{base}:6"
    assert Path("best.yaml").read_text().startswith("# two\n# lines\nextends: /")
