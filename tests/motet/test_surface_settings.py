"""Rules and caps of a surface."""

from typing import Any

import pytest
from pydantic import ValidationError

from motet.recipe import Misfits, Recipe
from motet.surface_settings import Rule, Surface, condition
from tests.builders import recipe_dict


def _surface(**settings: Any) -> dict[str, Any]:
    return {**recipe_dict("model"), "surfaces": {"a": {"weights": {"watch": 1.0}, **settings}}}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "asks for nothing"),
        ({"any_of": ()}, "at least 1 item"),
        ({"any_of": ("a",), "min": 1.0}, "any_of and none_of are for categories"),
        ({"min": 2.0, "max": 1.0}, "min = 2 is above max = 1; swap them"),
    ],
)
def test_a_rule_that_asks_for_nothing_or_for_two_things_is_refused(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Rule(**rule)


def test_filters_are_turned_into_conditions() -> None:
    assert condition("x") == ("x",)
    assert condition([1.0, 2.5]) == ("1.0", "2.5")
    surface = Surface.model_validate({"weights": {"a": 1}, "filters": {"b": {"none_of": ["x"]}, "c": {"min": 3}}})
    assert surface.fixed_filters() == {"b": Rule(none_of=("x",)), "c": Rule(min=3.0)}


@pytest.mark.parametrize(
    ("settings", "where", "said"),
    [
        ({"filters": {"colour": {"min": 1}}}, "surfaces.a.filters.colour", "is a category; give any_of or none_of"),
        ({"filters": {"year": {"none_of": ["x"]}}}, "surfaces.a.filters.year", "is a number; give min or max"),
        ({"caps": {"color": 2}}, "surfaces.a.caps.color", "did you mean 'colour'"),
        ({"caps": {"year": 2}}, "surfaces.a.caps.year", "'year' is not a category of data.items"),
    ],
)
def test_a_surface_must_fit_the_items(settings: dict[str, Any], where: str, said: str) -> None:
    with pytest.raises((ValidationError, Misfits)) as caught:
        Recipe.model_validate(_surface(**settings))
    assert where in str(caught.value)
    assert said in str(caught.value)


def test_rules_and_caps_that_fit_are_taken() -> None:
    recipe = Recipe.model_validate(_surface(filters={"year": {"max": 1960}}, caps={"colour": 1}))
    assert recipe.surfaces["a"].caps == {"colour": 1}
    assert recipe.weighable == ["watch", "like", "rating"]
