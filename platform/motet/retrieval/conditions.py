"""Which rows of items meet the condition of a filter."""

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motet.errors import RequestError
from motet.surface_settings import Condition, Rule

WithAny = Callable[[str, Iterable[str]], np.ndarray]


def meets(table: pa.Table, name: str, asked: Condition, with_any: WithAny | None = None) -> np.ndarray:
    """Return which rows meet a condition, bool [N]; a row of which the number is unknown meets no range.

    Args:
        table: `attr:<category>` (lists of text) and `num:<number>` columns.
        name: one of its categories or numbers.
        asked: a rule; or values of a category of which a row must have one, or the two ends of a number's range.
        with_any: returns the rows that have one of some values of a category, if that is known already.

    Raises:
        RequestError: for a condition that is not of the attribute's kind.
    """
    if f"attr:{name}" in table.column_names:
        return _meets_category(name, asked, with_any or (lambda one, values: _with_any(table, one, values)))
    low, high = _range(name, asked)
    numbers_N = pc.fill_null(table.column(f"num:{name}"), np.nan).to_numpy()
    return np.asarray((numbers_N >= low) & (numbers_N <= high))


def _meets_category(name: str, asked: Condition, with_any: WithAny) -> np.ndarray:
    if isinstance(asked, tuple):
        return with_any(name, asked)
    if asked.of_number:
        raise RequestError(f"filters: {name} is a category; give any_of or none_of, not min and max")
    without_N = ~with_any(name, asked.none_of)
    return without_N if asked.any_of is None else with_any(name, asked.any_of) & without_N


def _with_any(table: pa.Table, name: str, values: Iterable[str]) -> np.ndarray:
    column = table.column(f"attr:{name}").combine_chunks()
    has_V = pc.is_in(pc.list_flatten(column), pa.array(list(values), pa.string())).to_numpy(False)
    found_N = np.zeros(table.num_rows, bool)
    found_N[pc.list_parent_indices(column).to_numpy()[has_V]] = True
    return found_N


def _range(name: str, asked: Condition) -> tuple[float, float]:
    if isinstance(asked, Rule):
        if asked.of_category:
            raise RequestError(f"filters: {name} is a number; give min or max, not any_of and none_of")
        return -np.inf if asked.min is None else asked.min, np.inf if asked.max is None else asked.max
    try:
        low, high = (float(value) for value in asked)
    except ValueError as error:
        raise RequestError(f"filters: {name} is a number; give its range as two numbers") from error
    return low, high
