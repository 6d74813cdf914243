"""The evaluation report of one recipe: `report.json` for programs, `report.html` for people.

The report is a plain dict. Every section may be missing; the page then leaves it out:

| key | what it holds |
|---|---|
| recipe, protocol, created | the recipe's name, the protocol in words, the time in ISO format |
| counts | `{"users": n, "items": n, "interactions": n, "evaluated_users": n}` |
| ledger | for each table `{"read": n, "kept": n, "quarantined": n, "merged": n, "removed": n, "reasons": {...: n}}` |
| ranking | `{"k": 10, "systems": {name: {metric: figure}}, "differences": {name: figure}}` |
| ranking_new_users | the same for users without a history, under a split by time |
| ranking_cold_items | the same among cold items, which are `items` and a `share` of all; see `cold_items` |
| slices | for each slice its `events`, `lists`, `ndcg` by system and `tasks`, of each its main figures; see `sliced` |
| tasks | for each task its `kind`, the figures of its report in `motet.kinds`, its `calibrator` and what was `tried` |
| off_policy | `{"k": 10, "tasks": {task: what `off_policy.estimates` gives}}` |
| experts | for each task the mean weight of each expert in its mixture |
| training | for each epoch its `epoch`, `seconds`, `loss`, `losses` by task and `validation` by metric |
| peers | `{"k": 10, "systems": {name: {metric: figure}}}` of other libraries on the same rows, with ours |
| fusion | `ndcg` on validation, `without` each source, the sources `chosen`, `importance` of each feature |
| index | `{"kind": "flat", "recall@100": 1.0, "floor": 0.95}` |
| stages | `{stage: seconds}` |

A figure is a number, or `{"mean": x, "low": x, "high": x}` with its 95 % interval; an unknown one is None.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from motet.errors import EvaluationError
from motet.evaluation.page import render
from motet.storage import write_atomic

JSON_NAME = "report.json"
HTML_NAME = "report.html"


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Writes `report.json` and `report.html` into a folder, which is made if need be.

    Both are made in full before the first is written, and each is whole at any moment.

    Args:
        folder: Where the two files go.
        report: The sections, see the top of this module. Numpy numbers and arrays are taken as plain ones.

    Raises:
        EvaluationError: A number is not finite, a value has no JSON form, or a key is not a string.
    """
    plain = _plain(report, "report")
    text = json.dumps(plain, sort_keys=True, indent=2, allow_nan=False)
    page = render(plain)
    write_atomic(folder / JSON_NAME, text + "\n")
    write_atomic(folder / HTML_NAME, page.encode(errors="xmlcharrefreplace"))


def _plain(value: Any, where: str) -> Any:
    """Gives a copy of a value that holds only what JSON knows; `where` names the value in errors."""
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{where}[{place}]") for place, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise EvaluationError(f"{where} = {value} is not finite: give None for a figure that is unknown")
    if value is None or isinstance(value, str | int | float):
        return value
    raise EvaluationError(f"{where} is a {type(value).__name__}: give numbers, strings, lists and dicts")


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise EvaluationError(f"{where} has the key {key!r}, a {type(key).__name__}: give strings as keys")
    return key
