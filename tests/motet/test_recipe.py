"""What the sections of a recipe must agree on, and what is derived from them."""

from typing import Any

import pytest
from pydantic import ValidationError

from motet.recipe import Misfits, Recipe, near

_BASE: dict[str, Any] = {
    "name": "shop",
    "data": {
        "interactions": {"path": "i.csv", "ranges": {"rating": {"min": 1}}},
        "items": {"path": "it.csv", "text": ["title"], "categories": ["genre"], "numbers": ["year"]},
    },
    "tasks": [
        {"name": "watch", "kind": "retrieval"},
        {"name": "like", "kind": "binary", "label": "rating >= 4 and action == 'buy'"},
        {"name": "rating", "kind": "regression", "label": "rating / price"},
    ],
    "encoder": {"model": "m"},
    "surfaces": {"home": {"weights": {"like": 1.0}}},
}


def _with(**sections: Any) -> dict[str, Any]:
    return {**_BASE, **sections}


_HOME = {"weights": {"like": 1.0}}


def test_what_is_derived() -> None:
    recipe = Recipe.model_validate(_BASE)
    assert recipe.retrieval_task.name == "watch"
    assert [task.name for task in recipe.scored_tasks] == ["like", "rating"]
    assert recipe.liked_label == "label:like"
    assert recipe.label_columns == {"action": "category", "price": "number", "rating": "number"}
    assert recipe.selection_larger_is_better is True
    assert recipe.selection == "watch.ndcg"
    other = Recipe.model_validate(_with(train={"select_by": "rating.rmse"}))
    assert (other.selection, other.selection_larger_is_better) == ("rating.rmse", False)


def test_the_retrieval_task_selects_whatever_its_name() -> None:
    recipe = Recipe.model_validate(_with(tasks=_task(0, name="next")))
    assert (recipe.train.select_by, recipe.selection) == (None, "next.ndcg")


def _filtered(**filters: Any) -> dict[str, Any]:
    return {"surfaces": {"a": {**_HOME, "filters": filters}}}


def test_filters_of_a_surface_in_a_requests_form() -> None:
    recipe = Recipe.model_validate(_with(**_filtered(genre=["1", "2"], year=[1950, 1970.5])))
    assert recipe.surfaces["a"].fixed_filters() == {"genre": ("1", "2"), "year": ("1950.0", "1970.5")}
    assert Recipe.model_validate(recipe.resolved()) == recipe
    assert Recipe.model_validate(_with(**_filtered(genre="x"))).surfaces["a"].fixed_filters() == {"genre": ("x",)}


def test_without_a_binary_task_nothing_says_liked() -> None:
    recipe = Recipe.model_validate(
        _with(tasks=[_BASE["tasks"][0], _BASE["tasks"][2]], surfaces={"home": {"weights": {"rating": 1.0}}})
    )
    assert recipe.liked_label is None


def test_the_resolved_recipe_is_a_recipe() -> None:
    recipe = Recipe.model_validate(_BASE)
    assert Recipe.model_validate(recipe.resolved()) == recipe


def _problems(raw: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as error:
        Recipe.model_validate(raw)
    causes = [one["ctx"]["error"] for one in error.value.errors()]
    assert all(isinstance(cause, Misfits) for cause in causes)
    return [(".".join(map(str, path)), what) for cause in causes for path, what in cause.problems]


def _task(place: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**task, **(changes if place == number else {})} for number, task in enumerate(_BASE["tasks"])]


def _chain(**given: str) -> list[dict[str, Any]]:
    more = [{"name": name, "kind": "binary", "label": f"{name}s > 0"} for name in ("click", "buy")]
    return [
        *_BASE["tasks"],
        *({**task, **({"given": given[task["name"]]} if task["name"] in given else {})} for task in more),
    ]


def test_surfaces_and_selection_may_name_a_conditional_score() -> None:
    surfaces = {"home": {"weights": {"buy": 1.0, "buy_given_click": 0.5}}}
    changes = {"tasks": _chain(buy="click"), "surfaces": surfaces, "train": {"select_by": "buy_given_click.auc"}}
    recipe = Recipe.model_validate(_with(**changes))
    assert [score.name for score in recipe.scores] == ["like", "rating", "click", "buy", "buy_given_click"]
    assert recipe.selection_larger_is_better


def test_a_circle_of_two_is_told_at_both_ends() -> None:
    found = _problems(_with(tasks=_chain(buy="click", click="buy")))
    assert [path for path, _ in found] == ["tasks.3.given", "tasks.4.given"]


def test_columns_of_weights_and_slates_are_read() -> None:
    best = {"name": "best", "kind": "ranking", "label": "n", "slate": "request", "sample_weight": "price * 2"}
    recipe = Recipe.model_validate(_with(tasks=[*_BASE["tasks"], best]))
    assert recipe.label_columns == {
        "action": "category", "n": "number", "price": "number", "rating": "number", "request": "category",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({"Cart": "kind == 'cart'"}, "'Cart' is no name; use small letters, digits and _, a letter first"),
        ({"cart": "kind =="}, "signals: label 'kind ==': ends at column"),
        ({"cart": "'cart'"}, "'cart'\" gives a text; compare it"),
        ({"soon": "days_until_again"}, "'days_until_again' is known only later, and a signal is read at once; drop it"),
        ({"rated": "rating == 'good'"}, "is a number here and a text in another expression; it can be one of them"),
        ({"who": "user > 1"}, "column 'user' has a name that is used for prepared data; rename the column"),
    ],
)
def test_a_signal_is_an_expression_of_what_is_known_at_once(signals: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate(_with(data={**_BASE["data"], "interactions": {"path": "i", "signals": signals}}))
    assert said in str(refused.value)


def test_what_signals_read_is_read() -> None:
    log = {
        "path": "i",
        "signals": {"cart": "kind == 'cart'", "spent": "price * pieces"},
        "ranges": {"price": {"min": 0}},
    }
    found = Recipe.model_validate(_with(data={**_BASE["data"], "interactions": log})).label_columns
    assert {"kind": "category", "price": "number", "pieces": "number"}.items() <= found.items()


def test_a_propensity_is_a_number_that_is_read() -> None:
    log = {"path": "i", "propensity": "shown", "ranges": {"shown": {"min": 0.01}}}
    recipe = Recipe.model_validate(_with(data={**_BASE["data"], "interactions": log}))
    assert recipe.label_columns["shown"] == "number"
    with pytest.raises(ValidationError, match="propensity is 'item_id', which is another column's; give its own"):
        Recipe.model_validate(_with(data={**_BASE["data"], "interactions": {"path": "i", "propensity": "item_id"}}))


@pytest.mark.parametrize(
    ("sections", "path", "what"),
    [
        ({"tasks": [*_BASE["tasks"], _BASE["tasks"][1]]}, "tasks.3.name", "'like' is there twice; give each task"),
        ({"tasks": [*_BASE["tasks"], {"name": "b", "kind": "retrieval"}]}, "tasks", "exactly one task has `kind: ret"),
        ({"surfaces": {"a": {"weights": {"lik": 1}}}}, "surfaces.a.weights.lik", "not a task; did you mean 'like'?"),
        (
            {"surfaces": {"a": {**_HOME, "filters": {"genr": "x"}}}},
            "surfaces.a.filters.genr",
            "'genr' is not a category or number of data.items; did you mean 'genre'?",
        ),
        (
            {"surfaces": {"a": {**_HOME, "exploration": {"share": 0.1}}}, "serve": {"records": {"store": "none"}}},
            "surfaces.a.exploration.share",
            "0.1: what is explored must be logged to be learned of; set serve.records.store to parquet",
        ),
        (_filtered(genre=[1, 2]), "surfaces.a.filters.genre", "'genre' is a category; give its values as text"),
        (_filtered(year=[2, 1]), "surfaces.a.filters.year", "[2, 1] is an empty range; swap the two"),
        (_filtered(year="1950"), "surfaces.a.filters.year", "'year' is a number and '1950' is no range; give two num"),
        (_filtered(year=["1", "2"]), "surfaces.a.filters.year", "'year' is a number and ['1', '2'] is no range"),
        ({"train": {"select_by": "like.ndcg"}}, "train.select_by", "not a metric of a task; did you mean 'like.auc'?"),
        ({"train": {"select_by": "x"}}, "train.select_by", "valid: watch.ndcg, watch.recall, watch.loss, like.auc"),
        ({"train": {"refit": True, "held_back": 9}}, "train.held_back", "9 is more than the 4 moments of"),
        (
            {"train": {"refit": True, "held_back": 1}, "retrieval": {"fusion": "logit"}},
            "train.held_back",
            "1 is more than the 0 moments of retrieval.moments that trees learn from; set it to 0",
        ),
        (
            {"model": {"estimates": "factors"}, "tasks": _task(1, negatives=2)},
            "model.estimates",
            "'factors' has nothing to say of the negatives that task",
        ),
        (
            {"model": {"estimates": "priors"}, "tasks": _task(1, negatives=2)},
            "model.estimates",
            "'priors' has nothing to say of the negatives that task 'like' draws; set it to none, or leave it out",
        ),
        (
            {"evaluate": {"history": "around"}},
            "evaluate.history",
            "'around' trains on labels that come later, of which data.split.kind = time knows none in the test; set it",
        ),
        (
            {
                "evaluate": {"history": "around"},
                "data": {**_BASE["data"], "split": {"kind": "random"}},
                "tasks": [*_task(1), {"name": "best", "kind": "ranking", "label": "rating", "slate": "session"}],
            },
            "evaluate.history",
            "'around' reads the labels of the slate that task 'best' orders; set it to before",
        ),
        ({"evaluate": {"surface": "hom"}}, "evaluate.surface", "'hom' is not a surface; did you mean 'home'?"),
        ({"evaluate": {"target": "rating"}}, "evaluate.target", "'rating' is not a binary task; valid: like"),
        ({"evaluate": {"target": "watch"}}, "evaluate.target", "'watch' is not a binary task; valid: like"),
        ({"tasks": _task(2, label="item + rating")}, "tasks.2.label", "column 'item' has a name that is used"),
        ({"tasks": _task(2, label="timestamp * rating")}, "tasks.2.label", "'timestamp' has a name that is used"),
        ({"tasks": _task(2, label="action + rating")}, "tasks.2.label", "column 'action' is a number here and a text"),
        (
            {"tasks": _task(2, sample_weight="item * 2")},
            "tasks.2.sample_weight",
            "column 'item' has a name that is used",
        ),
        ({"tasks": _chain(buy="clik")}, "tasks.4.given", "'clik' is not a binary task; did you mean 'click'?"),
        ({"tasks": _chain(buy="rating")}, "tasks.4.given", "'rating' is not a binary task; valid: like, click"),
        (
            {"tasks": _chain(click="click")},
            "tasks.3.given",
            "click given click goes in a circle; leave one `given`",
        ),
        (
            {"tasks": [*_chain(buy="click"), {"name": "buy_given_click", "kind": "regression", "label": "n"}]},
            "tasks.4.given",
            "'buy_given_click' is a task's name and that of this score; rename",
        ),
        (
            {"tasks": [*_BASE["tasks"], {"name": "best", "kind": "ranking", "label": "n", "slate": "item"}]},
            "tasks.3.slate",
            "column 'item' has a name that is used",
        ),
        *(
            (
                {"data": {**_BASE["data"], "interactions": {"path": "i", "propensity": name}}},
                "data.interactions.propensity",
                f"column {name!r} {said}; rename the column",
            )
            for name, said in (
                ("part", "has a name that is used for prepared data"),
                ("action", "is a text in a label"),
            )
        ),
        (
            {"data": {**_BASE["data"], "interactions": {"path": "i", "ranges": {"ratin": {"min": 1}}}}},
            "data.interactions.ranges.ratin",
            "'ratin' is not a number that a label reads; did you mean 'rating'?",
        ),
        (
            {"data": {**_BASE["data"], "interactions": {"path": "i", "ranges": {"action": {"min": 1}}}}},
            "data.interactions.ranges.action",
            "'action' is not a number that a label reads",
        ),
    ],
)
def test_sections_that_do_not_fit(sections: dict[str, Any], path: str, what: str) -> None:
    ((found, said),) = _problems(_with(**sections))
    assert found == path
    assert what in said


def test_all_misfits_come_at_once() -> None:
    wrong = _with(
        surfaces={"a": {"weights": {"x": 1, "y": 1}, "filters": {"z": "1"}}},
        train={"select_by": "q"},
        evaluate={"surface": "q", "target": "q"},
        tasks=[*_BASE["tasks"], _BASE["tasks"][0]],
    )
    # the third watch is there twice and is a second retrieval task
    assert [path for path, _ in _problems(wrong)] == [
        "tasks.3.name", "tasks", "surfaces.a.weights.x", "surfaces.a.weights.y", "surfaces.a.filters.z",
        "train.select_by", "evaluate.surface", "evaluate.target",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "Shop", "-x", "a b", "a/b", "x" * 65])
def test_names_that_are_no_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        Recipe.model_validate(_with(name=name))


def test_hints() -> None:
    assert near("lik", ["like", "watch"]) == "; did you mean 'like'?"
    assert near("zzz", ["like", "watch"]) == "; valid: like, watch"
    assert near("zzz", []) == "; valid: none"


def test_misfits_are_readable() -> None:
    assert str(Misfits([(("a", 1, "b"), "is wrong"), (("c",), "too")])) == "a.1.b: is wrong; c: too"


@pytest.mark.parametrize(
    ("estimates", "negatives", "reads", "near"),
    [
        ("auto", 0, True, (True, False)), ("items", 0, True, (True, True)), ("priors", 0, True, (False, False)),
        ("none", 0, False, (False, False)), ("factors", 0, True, (True, False)), ("auto", 3, False, (True, False)),
    ],
)  # fmt: skip
def test_what_the_heads_read_of_labels(estimates: str, negatives: int, reads: bool, near: tuple[bool, bool]) -> None:
    model = {"estimates": estimates, "estimates_limit": 10}
    recipe = Recipe.model_validate(_with(model=model, tasks=_task(1, negatives=negatives)))
    assert recipe.reads_estimates == reads
    assert (recipe.estimates_near(10), recipe.estimates_near(11)) == near
