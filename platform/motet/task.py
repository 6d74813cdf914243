"""The Task table: the ONE place from which heads, losses, labels, metrics and serving weights follow.

A row of the table is a `Task`. Its `kind` decides everything else:

    kind        label                       head            loss             metrics          served as
    retrieval   the next item               user vector     softmax          ndcg, recall     probability, of candidates
    binary      expression that is a truth  1 logit         cross-entropy    auc, logloss     calibrated probability
    regression  expression that is a number 1 value         squared error    rmse, mae        calibrated value in range
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from motet.errors import RecipeError
from motet.expressions import Expression, parse

TaskKind = Literal["retrieval", "binary", "regression"]

SELECTION_METRICS: dict[str, tuple[str, ...]] = {
    "retrieval": ("ndcg", "recall", "loss"),
    "binary": ("auc", "loss"),
    "regression": ("rmse", "loss"),
}
LARGER_IS_BETTER = {"ndcg": True, "recall": True, "auc": True, "rmse": False, "loss": False}


class Task(BaseModel):
    """One thing that the model learns to predict."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Name in losses, metrics, answers and surfaces.")
    kind: TaskKind = Field(description="retrieval, binary or regression.")
    label: str | None = Field(
        default=None, description="Expression over the interaction's columns, such as `rating >= 4`."
    )
    weight: float = Field(default=1.0, gt=0, description="Weight of this task's loss under static balance.")

    @field_validator("label")
    @classmethod
    def _label_parses(cls, label: str | None) -> str | None:
        if label is not None:
            try:
                parse(label)
            except RecipeError as error:
                raise ValueError(str(error)) from error
        return label

    @model_validator(mode="after")
    def _label_fits_kind(self) -> "Task":
        if self.kind == "retrieval":
            if self.label is not None:
                raise ValueError(f"task {self.name!r} is a retrieval task: its label is the next item; drop `label`")
        elif self.label is None:
            raise ValueError(f"task {self.name!r} is {self.kind}: give it a `label`, such as `rating >= 4`")
        elif self.expression.is_boolean != (self.kind == "binary") or self.expression.root.kind == "text":
            found = {"text": "a text"}.get(self.expression.root.kind, "a number")
            found = "a truth" if self.expression.is_boolean else found
            right = "a comparison such as `rating >= 4`" if self.kind == "binary" else "a number such as `rating`"
            raise ValueError(f"task {self.name!r} is {self.kind} but label {self.label!r} gives {found}; use {right}")
        return self

    @property
    def expression(self) -> Expression:
        """The parsed label; only for tasks that have one."""
        assert self.label is not None
        return parse(self.label)

    @property
    def scored(self) -> bool:
        """Whether the ranker has a head for it (all kinds but retrieval)."""
        return self.kind != "retrieval"
