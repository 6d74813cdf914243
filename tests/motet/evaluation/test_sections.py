"""Sections of the report from rows: who is ranked, tasks, another policy's worth, experts."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from motet.data_settings import Split
from motet.errors import EvaluationError
from motet.evaluation.off_policy import Logged, estimates
from motet.evaluation.page import render
from motet.evaluation.ranking_metrics import EMPTY, METRICS
from motet.evaluation.sections import experts, exposure, off_policy, sections
from motet.evaluation.sliced import slices
from motet.evaluation.table_rows import ranked_rows
from motet.recipe import Recipe
from tests.builders import Tiny

_ITEMS = pa.table({"item": ["x", "y", "z"], "count": [3, 2, 1], "attr:colour": [["red"], ["blue"], None]})


def _row(user: str, like: list[list[float]], **more: Any) -> dict[str, Any]:
    rating = [[3.0, 4.0, -1]] * len(like)
    metrics = {name: dict.fromkeys(METRICS, 0.5) for name in ("motet", "popularity")}
    lists = {"motet": [0, 1], "popularity": [1, 2]}
    base = {"user": user, "warm": True, "lists": lists, "metrics": metrics, "gates": None, "policy": None}
    base |= {"wanted": [0], "events": {"places": [0] * len(like), "known": 9}}
    return base | {"tasks": {"like": like, "rating": rating}} | more


def _policy(propensity: list[float], target: list[float], expected: float) -> dict[str, Any]:
    return {"propensity": propensity, "target": target, "expected": {"like": expected}}


def _by_time(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": Split(kind="time")})})


def test_under_a_split_by_time_who_is_new_stands_apart(tiny: Tiny) -> None:
    rows = [_row("a", [[0.9, 1, -1]]), _row("b", [[0.2, 0, -1]], warm=False), _row("c", [[0.1, 0, -1]], metrics={})]
    assert [row["user"] for row in ranked_rows(rows, tiny.recipe)] == ["a", "b"]
    recipe = _by_time(tiny.recipe)
    assert [row["user"] for row in ranked_rows(rows, recipe)] == ["a"]
    found = sections(rows, _ITEMS, recipe)
    assert (found["ranking"]["users"], found["ranking_new_users"]["users"]) == (1, 1)
    assert (found["tasks"]["like"]["rows"], found["tasks"]["like, users with a history"]["rows"]) == (3, 2)
    assert found["off_policy"] is found["experts"] is None
    with pytest.raises(EvaluationError, match="no user of the test part has a history and a target"):
        sections(rows[1:], _ITEMS, recipe)


def test_the_share_of_lists_that_an_item_is_in() -> None:
    lists = [[0, 1], [1, EMPTY], [1, 1], [EMPTY, EMPTY]]
    rows = [_row(str(number), [], lists={"motet": one}) for number, one in enumerate(lists)]
    assert exposure(rows, _ITEMS) == {"items": 3, "shares": {"y": 0.75, "x": 0.25}}


def test_off_policy_takes_the_events_with_a_known_propensity_and_label(tiny: Tiny) -> None:
    nan = float("nan")
    rows = [
        _row("a", [[0.9, 1, -1], [0.4, nan, -1]], policy=_policy([0.5, 0.5], [0.1, 0.1], 0.6)),
        _row("b", [[0.2, 0, -1]]),
        _row("a", [[0.3, 1, -1], [0.7, 0, -1]], policy=_policy([nan, 0.25], [0.1, 0.2], 0.7)),
        _row("c", [[0.8, 1, -1]], policy=_policy([1.0], [0.0], 0.5)),
    ]
    found = off_policy(rows, tiny.recipe)
    columns = ([1, 0, 1], [0.5, 0.25, 1.0], [0.1, 0.2, 0.0], [0.9, 0.7, 0.8], [0.6, 0.7, 0.5], [0, 0, 1])
    expected = estimates(Logged(*(np.array(one, np.float64) for one in columns)), tiny.recipe.seed)
    assert found == {"k": 10, "tasks": {"like": expected}}
    assert expected["dr"]["mean"] == pytest.approx((0.6 + 0.2 * 0.1 + 0.7 - 0.8 * 0.7 + 0.5) / 3)


def test_nothing_is_said_without_a_known_label_or_propensity(tiny: Tiny) -> None:
    nan = float("nan")
    unlabelled = [_row("a", [[0.9, nan, -1]], policy=_policy([0.5], [0.1], 0.6))]
    assert off_policy(unlabelled, tiny.recipe) == {"k": 10, "tasks": {}}
    assert off_policy([_row("a", [[0.9, 1, -1]])], tiny.recipe) is None


def test_the_weights_of_experts_are_means_over_events(tiny: Tiny) -> None:
    # three events with 1 and 0, one with 0 and 1: 3/4 and 1/4
    rows = [
        _row("a", [[0.5, 1, -1]] * 3, gates=[[1.0, 0.0], [0.5, 0.5]]),
        _row("b", [[0.5, 1, -1]], gates=[[0.0, 1.0], [0.5, 0.5]]),
        _row("c", [[0.5, 1, -1]]),
    ]
    assert experts(rows, tiny.recipe) == {"like": [0.75, 0.25], "rating": [0.5, 0.5]}


def test_slices_by_hand(tiny: Tiny) -> None:
    """Items 0, 1, 2 with 3, 2, 0 training events: 0 is the head, 1 the tail, 2 cold; the lists are 0, 1 and 1, 2."""
    items = _ITEMS.set_column(1, "count", [[3, 2, 0]])
    rows = [
        _row("a", [[0.9, 1, -1], [0.2, 0, -1]], wanted=[0, 1], events={"places": [0, 1], "known": 9}),
        _row("b", [[0.6, 1, -1]], wanted=[2], events={"places": [2], "known": 5}),
        _row("c", [[0.4, 1, -1]], wanted=[], metrics={}, lists={}, events={"places": [1], "known": 9}),
    ]
    found = slices(rows, items, tiny.recipe)
    assert list(found) == ["cold items", "head items", "tail items", "cold users", "colour = blue", "colour = red"]
    second = 1 / np.log2(3)
    expected = {  # events, lists, NDCG of ours and of popularity
        "cold items": (1, 1, 0.0, second),
        "head items": (1, 1, 1.0, 0.0),
        "tail items": (2, 1, second, 1.0),
        "cold users": (1, 1, 0.0, second),
        "colour = blue": (2, 1, second, 1.0),
        "colour = red": (1, 1, 1.0, 0.0),
    }
    for name, (events, lists, ours, popular) in expected.items():
        assert (found[name]["events"], found[name]["lists"]) == (events, lists)
        assert {one: figure["mean"] for one, figure in found[name]["ndcg"].items()} == pytest.approx(
            {"motet": ours, "popularity": popular}
        )
    assert found["tail items"]["tasks"]["like"] == pytest.approx(
        {"auc": 1.0, "logloss": _log_loss(0.8, 0.4), "rows": 2}
    )
    assert found["head items"]["tasks"]["like"]["auc"] is None
    page = render({"slices": found})
    assert "colour = blue" in page
    assert "like auc" in page


def _log_loss(*chances: float) -> float:
    """Of what was said of what happened."""
    return float(-np.log(chances).mean())


def test_without_popularity_the_best_other_system_stands_beside_ours(tiny: Tiny) -> None:
    values = {"motet": 0.1, "item_knn": 0.2, "profile": 0.3}
    systems = {name: dict.fromkeys(METRICS, value) for name, value in values.items()}
    row = _row("a", [[0.9, 1, -1]], metrics=systems, lists={name: [0, 1] for name in values})
    assert list(slices([row], _ITEMS, tiny.recipe)["head items"]["ndcg"]) == ["motet", "profile"]
    alone = _row("a", [[0.9, 1, -1]], metrics={"motet": systems["motet"]}, lists={"motet": [0, 1]})
    assert list(slices([alone], _ITEMS, tiny.recipe)["head items"]["ndcg"]) == ["motet"]
