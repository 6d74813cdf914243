"""The slices of held-out rows that are looked at by themselves, in the report and by the doctor.

    cold items   without a training event
    head items   those most met that make up half of the training events
    tail items   the rest
    cold users   with at most five known events
    <category> = <value>   items of the values with most held-out rows

Letters: N rows, I items.
"""

from collections.abc import Mapping, Sequence

import numpy as np

COLD_USER_EVENTS = 5
LARGEST = 8
_HEAD = 0.5


def slices_of(
    items_N: np.ndarray, met_N: np.ndarray, counts_I: np.ndarray, categories: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, np.ndarray]:
    """Return the rows of each slice that has any, [N] of bool.

    Args:
        items_N: the place of each row's item.
        met_N: how many events of each row's user are known.
        counts_I: training events of each item.
        categories: by name, of each item its values.
    """
    head_I = _head(counts_I)
    found = {
        "cold items": counts_I[items_N] == 0,
        "head items": head_I[items_N],
        "tail items": (counts_I[items_N] > 0) & ~head_I[items_N],
        "cold users": met_N <= COLD_USER_EVENTS,
    }
    for name, value in _largest(items_N, categories):
        has_I = np.array([value in values for values in categories[name]], bool)
        found[f"{name} = {value}"] = has_I[items_N]
    return {name: rows_N for name, rows_N in found.items() if rows_N.any()}


def _head(counts_I: np.ndarray) -> np.ndarray:
    """Mark the items most met that make up half of the events; of equal ones the first."""
    order_I = np.argsort(-counts_I, kind="stable")
    before_I = np.cumsum(counts_I[order_I]) - counts_I[order_I]
    head_I = np.zeros(len(counts_I), bool)
    head_I[order_I] = (before_I < _HEAD * counts_I.sum()) & (counts_I[order_I] > 0)
    return head_I


def _largest(items_N: np.ndarray, categories: Mapping[str, Sequence[Sequence[str]]]) -> list[tuple[str, str]]:
    """Return (category, value) of the values with most rows, largest first."""
    rows_I = np.bincount(items_N, minlength=max((len(one) for one in categories.values()), default=0))
    sizes: dict[tuple[str, str], int] = {}
    for name, values_of_items in categories.items():
        for values, rows in zip(values_of_items, rows_I, strict=True):
            for value in set(values):
                sizes[name, value] = sizes.get((name, value), 0) + int(rows)
    ranked = sorted(sizes, key=lambda key: (-sizes[key], key))
    return [key for key in ranked if sizes[key]][:LARGEST]
