"""The contract of a row: types, ranges, ids, text, time. A row that breaks it gets a reason, not an exception.

`check_interactions` and `check_entities` turn raw columns into typed ones and fill `_problem` with the first
reason found. A bad row keeps its place, its raw values as JSON in `_raw`, and takes no neighbour along.
"""

import json
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from motet.data.reading import COUNT
from motet.data_settings import Clean, Entity, Interactions, ValueRange

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_NOT_FINITE = r"(?i)^\s*[-+]?(nan|inf|infinity)\s*$"
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f]"
_TO_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_RAW_CHARS = 2000


@dataclass
class Checked:
    """Typed columns under construction, and the first reason per row."""

    raw: pa.Table
    reasons: pa.Array
    columns: dict[str, pa.Array] = field(default_factory=dict)

    def flag(self, bad: pa.Array, reason: str) -> None:
        """Give `reason` to the rows where `bad` is true and that have none yet."""
        take = pc.and_(pc.fill_null(bad, False), pc.is_null(self.reasons))
        if pc.any(take).as_py():
            self.reasons = pc.if_else(take, pa.scalar(reason), self.reasons)

    def column(self, name: str) -> pa.Array:
        """Return a raw column as one array."""
        return self.raw.column(name).combine_chunks()

    def table(self) -> pa.Table:
        """Return typed columns + `_file`, `_row`, `_problem`, `_raw`."""
        bad = pc.and_(pc.is_valid(self.reasons), pc.not_equal(pc.fill_null(self.reasons, ""), COUNT))
        place = {name: self.column(name) for name in ("_file", "_row")}
        return pa.table({**self.columns, **place, "_problem": self.reasons, "_raw": _raw_json(self.raw, bad)})


def check_interactions(
    table: pa.Table, spec: Interactions, clean: Clean, values: dict[str, str], now_ms: int
) -> pa.Table:
    """Check a batch of the event log.

    Args:
        table: raw columns, `_file`, `_row`, `_problem` (from `reading.read_split`).
        spec: the recipe's names and ranges.
        clean: the recipe's limits.
        values: {value column: number or category} that labels read.
        now_ms: the start of the run in milliseconds since 1970.

    Returns:
        user, item (string), timestamp (int64, milliseconds), the value columns, `_file`, `_row`,
        `_problem`, `_raw`.
    """
    checked = Checked(table, table.column("_problem").combine_chunks())
    for source, name in ((spec.user, "user"), (spec.item, "item")):
        checked.columns[name] = _ids(checked, source, clean.max_id_chars)
    checked.columns["timestamp"] = _timestamps(checked, spec, now_ms + 1000 * clean.future_seconds)
    for name, kind in values.items():
        if kind == "number":
            checked.columns[name] = _numbers(checked, name, spec.ranges.get(name, ValueRange()))
        else:
            checked.columns[name] = _texts(checked, name, clean.max_text_chars)
    return checked.table()


def check_entities(table: pa.Table, spec: Entity, clean: Clean, text_required: bool) -> pa.Table:
    """Check a batch of items or users.

    Args:
        table: raw columns, `_file`, `_row`, `_problem`.
        spec: the recipe's names.
        clean: the recipe's limits.
        text_required: whether a row without any text goes to quarantine.

    Returns:
        id (string), each number column (float64), each category column (list of string), each other
        column as text, `_file`, `_row`, `_problem`, `_raw`. A column that is both text and category or number
        comes as `text:<name>` besides.
    """
    checked = Checked(table, table.column("_problem").combine_chunks())
    checked.columns["id"] = _ids(checked, spec.id, clean.max_id_chars)
    shown = [name for name in spec.columns if name not in (*spec.categories, *spec.numbers)]
    for name in dict.fromkeys((*spec.text, *(n for n in shown if n != spec.id))):
        checked.columns[f"text:{name}"] = _texts(checked, name, clean.max_text_chars)
    for name in spec.categories:
        checked.columns[name] = _categories(checked, name, spec.multi.get(name), clean.max_text_chars)
    for name in spec.numbers:
        checked.columns[name] = _attribute(checked, name, clean)
    if text_required and spec.text:
        empty = [pc.is_null(checked.columns[f"text:{name}"]) for name in spec.text]
        all_empty = empty[0]
        for one in empty[1:]:
            all_empty = pc.and_(all_empty, one)
        checked.flag(all_empty, "no text")
    return checked.table()


def _attribute(checked: Checked, name: str, clean: Clean) -> pa.Array:
    """Return a number of an item or user; what cannot be read is missing if the recipe says so."""
    before = checked.reasons
    values = _numbers(checked, name, ValueRange())
    if clean.unreadable_numbers == "missing":
        checked.reasons = before
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))
    return values


def _as_text(array: pa.Array) -> pa.Array:
    """Return numbers and truths as text; 3.0 as '3'."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.cast(pa.string())
    if pa.types.is_dictionary(kind):
        return _as_text(array.dictionary_decode())
    if pa.types.is_floating(kind):
        whole = pc.and_(pc.is_finite(array), pc.equal(array, pc.floor(array)))
        integers = pc.if_else(whole, array, pa.scalar(None, kind)).cast(pa.int64(), safe=False)
        return pc.coalesce(integers.cast(pa.string()), array.cast(pa.string()))
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return pa.array([None if v is None else str(v) for v in array.to_pylist()], pa.string())
    return array.cast(pa.string())


def _ids(checked: Checked, name: str, longest: int) -> pa.Array:
    array = checked.column(name)
    if pa.types.is_nested(array.type):
        checked.flag(pc.is_valid(array), f"{name} is a list")
    text = pc.utf8_trim_whitespace(pc.utf8_normalize(_as_text(array), form="NFC"))
    checked.flag(pc.or_(pc.is_null(text), pc.equal(pc.fill_null(text, ""), "")), f"{name} is null")
    checked.flag(pc.greater(pc.utf8_length(text), longest), f"{name} is longer than {longest} characters")
    checked.flag(pc.match_substring_regex(text, _CONTROL), f"{name} has a control character")
    if pa.types.is_floating(array.type):
        checked.flag(pc.invert(pc.is_finite(array)), f"{name} is not finite")
    return text


def _texts(checked: Checked, name: str, longest: int) -> pa.Array:
    array = checked.column(name)
    if pa.types.is_list(array.type):
        array = pa.array([None if v is None else ", ".join(map(str, v)) for v in array.to_pylist()], pa.string())
    text = pc.utf8_normalize(_as_text(array), form="NFKC")
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, _CONTROL, " "))
    checked.flag(pc.greater(pc.utf8_length(text), longest), f"{name} is longer than {longest} characters")
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _categories(checked: Checked, name: str, separator: str | None, longest: int) -> pa.Array:
    array = checked.column(name)
    if pa.types.is_list(array.type):
        kept = [None if v is None else [str(x).strip() for x in v if str(x).strip()] for v in array.to_pylist()]
        return pa.array(kept, pa.list_(pa.string()))
    text = _texts(checked, name, longest)
    if separator is not None:
        parts = pc.split_pattern(text, separator).to_pylist()
        return pa.array([p and [x.strip() for x in p if x.strip()] for p in parts], pa.list_(pa.string()))
    return pa.array([None if v is None else [v] for v in text.to_pylist()], pa.list_(pa.string()))


def _numbers(checked: Checked, name: str, allowed: ValueRange) -> pa.Array:
    array = checked.column(name)
    if pa.types.is_nested(array.type):
        checked.flag(pc.is_valid(array), f"{name} is not a number")
        return pa.nulls(len(array), pa.float64())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type) or pa.types.is_dictionary(array.type):
        text = _as_text(array)
        checked.flag(pc.match_substring_regex(text, _NOT_FINITE), f"{name} is not finite")
        readable = pc.match_substring_regex(text, _NUMBER)
        checked.flag(pc.invert(readable), f"{name} is not a number")
        kept = pc.if_else(pc.fill_null(readable, False), pc.utf8_trim_whitespace(text), pa.scalar(None, pa.string()))
        kept = pc.replace_substring_regex(kept, r"^\+", "")
        values = kept.cast(pa.float64())
    elif pa.types.is_temporal(array.type):
        values = array.cast(pa.int64(), safe=False).cast(pa.float64())
    else:
        values = array.cast(pa.float64(), safe=False)
    checked.flag(pc.invert(pc.is_finite(values)), f"{name} is not finite")
    if allowed.min is not None:
        checked.flag(pc.less(values, allowed.min), f"{name} is below {allowed.min:g}")
    if allowed.max is not None:
        checked.flag(pc.greater(values, allowed.max), f"{name} is above {allowed.max:g}")
    return values


def _timestamps(checked: Checked, spec: Interactions, latest_ms: int) -> pa.Array:
    array = checked.column(spec.timestamp)
    name = spec.timestamp
    checked.flag(pc.is_null(array), f"{name} is null")
    if pa.types.is_timestamp(array.type):
        ms = array.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    elif spec.timestamp_unit == "iso":
        ms = _iso(checked, name, _as_text(array))
    else:
        seconds = pc.multiply(_numbers(checked, name, ValueRange()), _TO_MS[spec.timestamp_unit])
        checked.flag(pc.greater(seconds, float(latest_ms)), f"{name} is in the future")
        sane = pc.and_(pc.greater_equal(seconds, 0.0), pc.less_equal(seconds, float(latest_ms)))
        checked.flag(pc.less(seconds, 0.0), f"{name} is before 1970")
        ms = pc.round(pc.if_else(pc.fill_null(sane, False), seconds, 0.0)).cast(pa.int64())
    checked.flag(pc.greater(ms, latest_ms), f"{name} is in the future")
    checked.flag(pc.less(ms, 0), f"{name} is before 1970")
    return ms


def _iso(checked: Checked, name: str, text: pa.Array) -> pa.Array:
    from datetime import UTC, datetime

    def parse(value: str | None) -> int | None:
        try:
            moment = datetime.fromisoformat(value) if value else None
        except ValueError:
            return None
        if moment is None:
            return None
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

    values = pa.array([parse(value) for value in text.to_pylist()], pa.int64())
    checked.flag(pc.and_(pc.is_valid(text), pc.is_null(values)), f"{name} is not an ISO 8601 time")
    return values


def _raw_json(table: pa.Table, bad: pa.Array) -> pa.Array:
    if not pc.any(bad).as_py():
        return pa.nulls(table.num_rows, pa.string())
    names = [name for name in table.column_names if not name.startswith("_")]
    places = pc.indices_nonzero(bad)
    rows = table.select(names).take(places).to_pylist()
    raw: list[str | None] = [None] * table.num_rows
    for place, row in zip(places.to_pylist(), rows, strict=True):
        raw[place] = json.dumps(row, default=str, ensure_ascii=True)[:_RAW_CHARS]
    return pa.array(raw, pa.string())


def flag_unknown_items(table: pa.Table, known: pa.Array) -> pa.Table:
    """Give a reason to the rows whose item is not among the `known` ids of the catalogue."""
    checked = Checked(table, table.column("_problem").combine_chunks())
    checked.flag(pc.invert(pc.is_in(checked.column("item"), value_set=known)), "item is not in the catalogue")
    return table.set_column(table.column_names.index("_problem"), "_problem", checked.reasons)
