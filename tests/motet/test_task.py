"""The Task table: what a row may say, and what follows from it."""

from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from motet.kinds import KINDS
from motet.task import Task, TaskKind, scores_of


def test_what_follows_from_a_kind() -> None:
    watch, like = Task(name="watch", kind="retrieval"), Task(name="like", kind="binary", label="rating >= 4")
    assert (watch.scored, like.scored) == (False, True)
    assert like.expression.columns == {"rating"}
    assert like.weight == 1.0


def test_the_kinds_of_a_recipe_are_those_of_the_registry() -> None:
    assert set(get_args(TaskKind)) == set(KINDS)


def test_the_scores_are_the_tasks_and_then_what_holds_among_others() -> None:
    click = Task(name="click", kind="binary", label="c > 0")
    buy = Task(name="buy", kind="binary", label="b > 0", given="click")
    scores = scores_of([Task(name="next", kind="retrieval"), buy, click])
    assert [(score.name, score.among) for score in scores] == [
        ("buy", None), ("click", None), ("buy_given_click", "click"),
    ]  # fmt: skip
    labels = {"click": np.array([1, 0, np.nan, 1]), "buy": np.array([1.0, 0, 0, np.nan])}
    np.testing.assert_array_equal(scores[0].labels(labels), labels["buy"])
    np.testing.assert_array_equal(scores[2].labels(labels), [1, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"kind": "retrieval", "label": "a > 1"}, "task 't' is a retrieval task: its label is the next item; drop"),
        ({"kind": "binary"}, "task 't' is binary: give it a `label`, such as `rating >= 4`"),
        ({"kind": "regression"}, "task 't' is regression: give it a `label`"),
        ({"kind": "binary", "label": "a"}, "label 'a' gives a number; use a comparison such as `rating >= 4`"),
        ({"kind": "regression", "label": "a > 1"}, "label 'a > 1' gives a truth; use a number such as `rating`"),
        ({"kind": "regression", "label": "'abc'"}, "gives a text; use a number such as `rating`"),
        ({"kind": "binary", "label": "'abc'"}, "gives a text; use a comparison"),
        ({"kind": "binary", "label": "a >"}, "label 'a >': ends at column 4"),
        (
            {"kind": "binry", "label": "a > 1"},
            "'retrieval', 'binary', 'regression', 'count', 'ordinal' or 'ranking'",
        ),
        ({"kind": "count", "label": "a > 1"}, "gives a truth; use a number such as `rating`"),
        ({"kind": "ranking", "label": "a"}, "task 't' is ranking: give it a `slate`, a column such as `request_id`"),
        ({"kind": "ranking", "label": "'a'", "slate": "s"}, "gives a text; use a comparison such as `rating >= 4` or"),
        (
            {"kind": "binary", "label": "a > 1", "slate": "s"},
            "slate = 's' is for ranking tasks and 't' is binary",
        ),
        ({"kind": "binary", "label": "a > 1", "loss": "pairwise"}, "loss = 'pairwise' is for ranking tasks"),
        ({"kind": "regression", "label": "a", "given": "b"}, "given = 'b' is for binary tasks and 't' is regression"),
        ({"kind": "count", "label": "a", "negatives": 2}, "negatives = 2 is for binary tasks and 't' is count"),
        ({"kind": "ordinal", "label": "a", "delay_days": 2}, "delay_days = 2.0 is for binary tasks"),
        ({"kind": "retrieval", "sample_weight": "a"}, "sample_weight = 'a' is for tasks with a label"),
        ({"kind": "regression", "label": "a", "sample_weight": "'x'"}, "sample_weight = \"'x'\" gives a text; use"),
        ({"kind": "regression", "label": "a", "sample_weight": "a +"}, "ends at column 4"),
        ({"kind": "binary", "label": "a > 1", "weight": 0}, "greater than 0"),
        ({"kind": "binary", "label": "a > 1", "weight": float("inf")}, "finite number"),
        ({"kind": "binary", "label": "a > 1", "weight": float("nan")}, "finite number"),
        ({"kind": "binary", "label": "a > 1", "labels": 1}, "Extra inputs are not permitted"),
        ({"kind": "retrieval", "name": "Watch"}, "should match pattern"),
        ({"kind": "retrieval", "name": "1st"}, "should match pattern"),
        ({"kind": "retrieval", "name": "a" * 41}, "should match pattern"),
    ],
)
def test_mistakes(task: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Task.model_validate({"name": "t", **task})
    assert message in str(error.value)


def test_a_task_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Task(name="t", kind="retrieval").name = "u"  # type: ignore[misc]
