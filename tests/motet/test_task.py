"""The Task table: what a row may say, and what follows from it."""

from typing import Any

import pytest
from pydantic import ValidationError

from motet.task import LARGER_IS_BETTER, SELECTION_METRICS, Task


def test_what_follows_from_a_kind() -> None:
    watch, like = Task(name="watch", kind="retrieval"), Task(name="like", kind="binary", label="rating >= 4")
    assert (watch.scored, like.scored) == (False, True)
    assert like.expression.columns == {"rating"}
    assert like.weight == 1.0


def test_every_selection_metric_has_a_direction() -> None:
    assert {metric for metrics in SELECTION_METRICS.values() for metric in metrics} == set(LARGER_IS_BETTER)
    assert [name for name, larger in LARGER_IS_BETTER.items() if not larger] == ["rmse", "loss"]


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
        ({"kind": "binry", "label": "a > 1"}, "Input should be 'retrieval', 'binary' or 'regression'"),
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
