"""What is said of a new item, as values by column of the recipe's `data.items`."""

from collections.abc import Mapping

from motet.data_settings import Entity, Items
from motet.errors import RequestError
from motet.itemlog.entry import Value


def to_columns(text: str | None, attributes: Mapping[str, Value], items: Items) -> dict[str, Value]:
    """Return the value of each column that is said.

    Args:
        text: of the first text column.
        attributes: by column: text, a number, or several values of a category.
        items: the recipe's.

    Raises:
        RequestError: naming the columns that there are, or the one whose value is of the wrong kind.
    """
    if not set(attributes) <= set(_names(items)):
        raise RequestError(f"attributes: no column of that name; this recipe's items have {_names(items)}")
    found = dict(attributes)
    if text is not None:
        if items.text[0] in found:
            raise RequestError(f"text: is the column {items.text[0]}, which attributes names too; give it once")
        found[items.text[0]] = text
    require_kinds(found, items)
    return {name: whole(value) for name, value in found.items()}


def _names(items: Items) -> list[str]:
    return [name for name in items.columns if name != items.id]


def require_kinds(values: Mapping[str, Value], entity: Entity) -> None:
    """Refuse values that are not of the kind of their column.

    Args:
        values: by column.
        entity: the recipe's items or users.

    Raises:
        RequestError: naming the column and its kind.
    """
    for name, value in values.items():
        if name in entity.numbers:
            if isinstance(value, str | list):
                raise RequestError(f"attributes: {name} is a number")
        elif name in entity.categories:
            if not isinstance(value, str | list):
                raise RequestError(f"attributes: {name} is a category; give a text, or a list of texts")
        elif not isinstance(value, str):
            raise RequestError(f"attributes: {name} is a text")


def whole(value: Value) -> Value:
    """Return 1999.0 as 1999, so that it reads as people write it where a number is part of the text."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
