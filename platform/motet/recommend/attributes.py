"""Someone of whom a request says attributes: as the prepare stage would make them of a row of the users' table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from motet.data.contracts import check_entities
from motet.data.entities import join_text
from motet.data.reading import json_table
from motet.errors import RequestError
from motet.itemlog.columns import require_kinds, whole
from motet.itemlog.entry import Value
from motet.people import People, Person
from motet.recipe import Recipe


def with_attributes(
    person: Person,
    attributes: Mapping[str, Value],
    recipe: Recipe,
    people: People,
    encode: Callable[[Sequence[str]], np.ndarray],
) -> Person:
    """Return a person with the attributes of a request in place of what is stored.

    Args:
        person: who asks.
        attributes: by column of the recipe's `data.users`; columns that are left out are unknown.
        recipe: the release's.
        people: the release's.
        encode: gives the language model's vectors of texts.

    Raises:
        RequestError: for a column that the users do not have, or a value that is not of its kind.
    """
    rows = _checked(attributes, recipe)
    features = people.spec.apply(rows)
    text = join_text(rows, recipe.data.users.text if recipe.data.users else ())[0].as_py()
    text_X = people.whitening.apply(encode([text]))[0] if text else np.zeros(people.text_dim, np.float32)
    return replace(
        person,
        text_X=text_X,
        slots=tuple(features.column("slots")[0].as_py()),
        numbers_M=np.array(features.column("numbers")[0].as_py(), np.float32),
        level="attributes" if person.level == "popular" else person.level,
    )


def check_attributes(attributes: Mapping[str, Value], recipe: Recipe) -> None:
    """Refuse attributes that the users do not have; see `with_attributes`."""
    _checked(attributes, recipe)


def _checked(attributes: Mapping[str, Value], recipe: Recipe) -> pa.Table:
    users = recipe.data.users
    names = [name for name in users.columns if name != users.id] if users is not None else []
    if users is None or not set(attributes) <= set(names):
        raise RequestError(f"attributes: no column of that name; this release's users have {names}")
    require_kinds(attributes, users)
    problems: list[str | None] = [None]
    values = {name: whole(value) for name, value in attributes.items()}
    table = json_table([{**values, users.id: "someone"}], users.columns, problems)
    place = {"_file": ["a request"], "_row": [0], "_problem": pa.array(problems, pa.string())}
    for name, column in place.items():
        table = table.append_column(name, column if isinstance(column, pa.Array) else pa.array(column))
    checked = check_entities(table, users, recipe.data.clean, text_required=False)
    if (problem := checked.column("_problem")[0].as_py()) is not None:
        raise RequestError(f"attributes: {problem}")
    return checked
