"""A surface: where recommendations are shown, what counts there, and which items may stand there."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from motet.data_settings import Section

Number = Annotated[float, Field(strict=True)]


class Rule(Section):
    """What an attribute of an item must be like: of a category `any_of`, `none_of`; of a number `min`, `max`."""

    any_of: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Values of a category of which the item must have one."""
    none_of: tuple[str, ...] = ()
    """Values of a category of which the item must have none."""
    min: Number | None = None
    """Smallest number."""
    max: Number | None = None
    """Largest number."""

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> "Rule":
        if not self.of_category and not self.of_number:
            raise ValueError("a rule without any_of, none_of, min and max asks for nothing; give one of them")
        if self.of_category and self.of_number:
            raise ValueError("any_of and none_of are for categories, min and max for numbers; leave one pair out")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}; swap them")
        return self

    @property
    def of_category(self) -> bool:
        """Whether it asks for values of a category."""
        return self.any_of is not None or bool(self.none_of)

    @property
    def of_number(self) -> bool:
        """Whether it asks for a number."""
        return self.min is not None or self.max is not None


Condition = tuple[str, ...] | Rule
"""A rule, or its short form: values of which one must match, or for a number the two ends of its range as text."""

AttributeFilter = Annotated[
    str | tuple[Number, Number] | tuple[str, ...] | Rule,
    Field(
        description="Of a category one value, several of which one must match, or {any_of, none_of}; of a number its "
        "range [low, high], or {min, max}."
    ),
]


class Exploration(Section):
    """Places of some lists that are drawn from the candidates that would not be shown, so that these are learned of."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of the requests, chosen by a hash of their ids."""
    slots: int = Field(default=1, ge=1, le=100)
    """Places of a list that are drawn; at most all of it."""
    temperature: float = Field(default=1.0, gt=0)
    """Values are divided by it before the softmax: small draws the best of the rest, large any of them alike."""
    places: Literal["last", "spread"] = "last"
    """The last places of the list, or places spread evenly over it."""


class Surface(Section):
    """The value function of one place where recommendations are shown."""

    weights: dict[str, float] = Field(min_length=1)
    """Weight of each task's calibrated score."""
    filters: dict[str, AttributeFilter] = Field(default_factory=dict)
    """Categories that items must or must not have here, and ranges that their numbers must lie in."""
    allow: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Ids of the only items that may be shown here."""
    deny: tuple[str, ...] = ()
    """Ids of items that are not shown here."""
    exclude_seen: bool | None = None
    """Whether what a user has met is left out here; by default as `data.interactions.repeats` says."""
    caps: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Most items with one value of a category in a list, as {brand: 2}."""
    exploration: Exploration = Exploration()
    """How much is shown to learn of it."""

    def fixed_filters(self) -> dict[str, Condition]:
        """Return the filters in a request's form."""
        return {name: condition(values) for name, values in self.filters.items()}


def condition(values: Any) -> Condition:
    """Return the form that catalogues take of a filter as it is written: a rule, or a tuple of texts."""
    if isinstance(values, Rule):
        return values
    return (values,) if isinstance(values, str) else tuple(map(str, values))
