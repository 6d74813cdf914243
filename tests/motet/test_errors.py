"""The exception tree: one base, and the tree drawn at the top of the module is the real one."""

import inspect

import pytest

from motet import errors
from motet.errors import DataError, DivergedError, MotetError, RecipeError, TrainingError


def _classes() -> list[type[MotetError]]:
    return [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, MotetError)]


def test_the_drawing_names_every_class_and_no_other() -> None:
    drawn = {word for line in (errors.__doc__ or "").splitlines() for word in line.split() if word.endswith("Error")}
    assert drawn == {one.__name__ for one in _classes()}


def test_all_stand_right_below_the_base_but_a_kind_of_training_error() -> None:
    above = {one: one.__bases__ for one in _classes()}
    assert above.pop(DivergedError) == (TrainingError,)
    assert set(above.values()) == {(Exception,), (MotetError,)}


@pytest.mark.parametrize(("given", "problems"), [("one", ["one"]), (["one", "two"], ["one", "two"]), ([], [])])
def test_a_recipe_error_keeps_one_line_per_mistake(given: str | list[str], problems: list[str]) -> None:
    error = RecipeError(given)
    assert error.problems == problems
    assert str(error) == "\n".join(problems)


def test_problems_are_a_copy() -> None:
    given = ["one"]
    error = RecipeError(given)
    given.append("two")
    assert error.problems == ["one"]
    assert not isinstance(error, DataError)
