"""The Task table: the ONE place from which heads, losses, labels, metrics and serving weights follow.

A row of the table is a `Task`. Its `kind` decides everything else; `motet.kinds` has the table of what.

A binary task may stand behind another, as a purchase behind a click: `given: click` makes its head the probability
among the clicked, and its loss that of P(click) P(buy | click) over all events (ESMM, Ma et al., SIGIR 2018). Both
are served: P(buy) as `buy`, P(buy | click) as `buy_given_click`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from motet.errors import RecipeError
from motet.expressions import Expression, parse
from motet.kinds import KINDS, ScoredKind, scored_kind

if TYPE_CHECKING:
    TaskKind = str
else:
    TaskKind = Literal[tuple(KINDS)]
_OPTIONS = sorted(set().union(*(kind.options for kind in KINDS.values())))
_EXAMPLES = {"truth": "a comparison such as `rating >= 4`", "number": "a number such as `rating`"}


DERIVED_COLUMNS = ("days_until_again",)
"""Columns that a label may read without their being in the log; see `motet.data.histories.days_until_again`."""


class Task(BaseModel):
    """One thing that the model learns to predict."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Name in losses, metrics, answers and surfaces.")
    kind: TaskKind = Field(description="What is learned; `motet.kinds` has the table.")
    label: str | None = Field(
        default=None, description="Expression over the interaction's columns, such as `rating >= 4`."
    )
    weight: float = Field(default=1.0, gt=0, description="Weight of this task's loss under static balance.")
    given: str | None = Field(
        default=None, description="Binary task that must have happened first; trained as a chain (ESMM)."
    )
    delay_days: float | None = Field(
        default=None, gt=0, description="Age up to which a negative label is unknown, as feedback may still come."
    )
    sample_weight: str | None = Field(
        default=None, description="Expression that weighs each row in this task's loss; unknown or below 0 is 0."
    )
    negatives: int = Field(
        default=0, ge=0, le=1000, description="Uniform items per positive that count as negative; for positives only."
    )
    slate: str | None = Field(
        default=None, min_length=1, description="Interactions column whose equal values of one user were shown at once."
    )
    loss: Literal["listwise", "pairwise"] = Field(
        default="listwise", description="Ranking: softmax over the slate, or pairs of it."
    )

    @field_validator("label", "sample_weight")
    @classmethod
    def _parses(cls, source: str | None) -> str | None:
        if source is not None:
            try:
                parse(source)
            except RecipeError as error:
                raise ValueError(str(error)) from error
        return source

    @model_validator(mode="after")
    def _label_fits_kind(self) -> "Task":
        accepted = KINDS[self.kind].labels
        if not accepted:
            if self.label is not None:
                raise ValueError(f"task {self.name!r} is a retrieval task: its label is the next item; drop `label`")
        elif self.label is None:
            raise ValueError(f"task {self.name!r} is {self.kind}: give it a `label`, such as `rating >= 4`")
        elif (found := self.expression.gives) not in accepted:
            right = " or ".join(_EXAMPLES[kind] for kind in accepted)
            raise ValueError(f"task {self.name!r} is {self.kind} but label {self.label!r} gives a {found}; use {right}")
        return self

    @model_validator(mode="after")
    def _options_fit_kind(self) -> "Task":
        for option in _OPTIONS:
            value = getattr(self, option)
            if option not in KINDS[self.kind].options and value != type(self).model_fields[option].default:
                takers = " or ".join(name for name, kind in KINDS.items() if option in kind.options)
                raise ValueError(
                    f"{option} = {value!r} is for {takers} tasks and {self.name!r} is {self.kind}; drop it"
                )
        if self.kind == "retrieval" and self.sample_weight is not None:
            raise ValueError(f"sample_weight = {self.sample_weight!r} is for tasks with a label; drop it")
        if self.kind == "ranking" and self.slate is None:
            raise ValueError(f"task {self.name!r} is ranking: give it a `slate`, a column such as `request_id`")
        if self.sample_weight is not None and (found := parse(self.sample_weight).gives) == "text":
            raise ValueError(f"sample_weight = {self.sample_weight!r} gives a {found}; use {_EXAMPLES['number']}")
        return self

    @property
    def expression(self) -> Expression:
        """The parsed label; only for tasks that have one."""
        assert self.label is not None
        return parse(self.label)

    @property
    def weighing(self) -> Expression | None:
        """The parsed sample weight, if there is one."""
        return None if self.sample_weight is None else parse(self.sample_weight)

    @property
    def expressions(self) -> dict[str, Expression]:
        """The expressions over the interaction's columns by setting."""
        found = {"label": self.expression} if self.label is not None else {}
        return found | ({"sample_weight": self.weighing} if self.weighing is not None else {})

    @property
    def scored(self) -> bool:
        """Whether the ranker has a head for it (all kinds but retrieval)."""
        return self.kind != "retrieval"

    @property
    def rules(self) -> ScoredKind:
        """What its kind brings; only for scored tasks."""
        return scored_kind(self.kind, **({"loss_kind": self.loss} if self.kind == "ranking" else {}))

    @property
    def conditional(self) -> str | None:
        """Name of the score that holds among the events of `given`."""
        return None if self.given is None else f"{self.name}_given_{self.given}"


@dataclass(frozen=True)
class Score:
    """One column of what the ranker scores: a task, or a task among the events of its `given`."""

    name: str
    task: Task
    among: str | None = None
    """The task whose events it holds among."""

    @property
    def is_binary_task(self) -> bool:
        """Whether it is what a binary task says about all events."""
        return self.task.kind == "binary" and self.among is None

    def labels(self, labels: dict[str, np.ndarray]) -> np.ndarray:
        """Return the labels of this score from those by task; outside of the events of `among` they are unknown."""
        own_N = labels[self.task.name]
        return own_N if self.among is None else np.where(labels[self.among] == 1, own_N, np.nan).astype(own_N.dtype)


def scores_of(tasks: Sequence[Task]) -> tuple[Score, ...]:
    """Return the columns of the ranker: all scored tasks in the recipe's order, then what holds among others."""
    scored = [task for task in tasks if task.scored]
    chained = [Score(task.conditional, task, task.given) for task in scored if task.conditional is not None]
    return (*(Score(task.name, task) for task in scored), *chained)
