"""What is asked, what is answered, and by which recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from motet.errors import DataError, RequestError
from motet.itemlog.entry import Value
from motet.ranking.reasons import Reason
from motet.recipe import Recipe
from motet.storage import read_json
from motet.surface_settings import Condition


@dataclass(frozen=True)
class Query:
    """One request for recommendations."""

    user: str | None = None
    history: tuple[str, ...] | None = None
    text: str | None = None
    surface: str | None = None
    k: int = 10
    exclude_seen: bool | None = None
    """Leave out what the user has met; None does as the recipe: unless repeats are kept."""
    filters: Mapping[str, Condition] = field(default_factory=dict)
    """Condition by attribute, besides those of the surface."""
    allow: tuple[str, ...] | None = None
    """The only items that may be shown; all if None."""
    deny: tuple[str, ...] = ()
    """Items that must not be shown."""
    weights: Mapping[str, float] | None = None
    """Weight of each score in place of the surface's."""
    surface_weights: Mapping[str, float] | None = None
    """Weights that the surface has by now, in place of the recipe's; None if they were not changed."""
    request: str | None = None
    """Id of the request; it decides what is explored. Nothing is if it has none."""
    recorded: bool = False
    """The answer comes with the numbers of all candidates."""
    attributes: Mapping[str, Value] | None = None
    """What is said of the user, by column of the recipe's users, in place of what is stored."""


@dataclass(frozen=True)
class Item:
    """One recommended item."""

    item: str
    title: str
    value: float
    scores: dict[str, float]
    sources: list[str]
    reason: Reason


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of a bundle.

    Raises:
        DataError: if this version of Motet does not know its settings.
    """
    path = folder / "recipe.json"
    try:
        return Recipe.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {where}: {first['msg']}; another version of Motet wrote it: use that one, or publish anew"
        ) from error


def find_surface(recipe: Recipe, name: str | None) -> str:
    """Return the surface's name; the first of the recipe if none is given.

    Raises:
        RequestError: if the recipe has no such surface.
    """
    if name is None:
        return next(iter(recipe.surfaces))
    if name not in recipe.surfaces:
        raise RequestError(f"surface: unknown; this release has {sorted(recipe.surfaces)}")
    return name


def find_weights(recipe: Recipe, query: Query) -> dict[str, float]:
    """Return the weight of each score: the request's, those that its surface has by now, or the recipe's.

    Raises:
        RequestError: for a surface that the recipe does not have, or a weight of what it does not score.
    """
    standing = standing_weights(recipe, query)
    if query.weights is None:
        return standing
    if not set(query.weights) <= set(recipe.weighable):
        raise RequestError(f"weights: no task of that name; this release has {recipe.weighable}")
    return dict(query.weights)


def standing_weights(recipe: Recipe, query: Query) -> dict[str, float]:
    """Return the weights of a query's surface: those that it has by now, else the recipe's.

    Weights of what this release does not score are left out; if none is left, the recipe's count.
    """
    surface, changed = recipe.surfaces[find_surface(recipe, query.surface)], query.surface_weights or {}
    return {name: weight for name, weight in changed.items() if name in recipe.weighable} or dict(surface.weights)
