"""The contract of a row: types, ranges, ids, text, time. A row that breaks it gets a reason, not an exception.

`check_interactions` and `check_entities` turn raw columns into typed ones and fill `_problem` with the first
reason found. A bad row keeps its place, its raw values as JSON in `_raw`, and takes no neighbour along.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motet.data.columns import as_text
from motet.data.private_rows import with_names
from motet.data.reading import COUNT
from motet.data.split import split_by_column
from motet.data_settings import Clean, Entity, Interactions, ValueRange
from motet.privacy.privacy import Privacy
from motet.privacy.scrub import scrub

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_NOT_FINITE = r"(?i)^\s*[-+]?(nan|inf|infinity)\s*$"
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f]"
_ID_CONTROL = r"[\x00-\x1f\x7f-\x9f]"
_TO_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_LARGEST = 3.4e38
"""Numbers are float32 in the model."""
_RAW_CHARS = 2000


@dataclass
class Checked:
    """Typed columns under construction, and the first reason per row."""

    raw: pa.Table
    reasons: pa.Array
    columns: dict[str, pa.Array] = field(default_factory=dict)
    hidden: tuple[str, pa.Array] | None = None
    """A raw column that `_raw` leaves out, and of which rows."""

    def flag(self, bad: pa.Array, reason: str) -> None:
        """Give `reason` to the rows where `bad` is true and that have none yet."""
        take = pc.and_(pc.fill_null(bad, False), pc.is_null(self.reasons))
        if pc.any(take).as_py():
            self.reasons = pc.if_else(take, pa.scalar(reason), self.reasons)

    def column(self, name: str) -> pa.Array:
        """Return a raw column as one array."""
        return self.raw.column(name).combine_chunks()

    def hide(self, name: str, privacy: Privacy) -> None:
        """Leave raw ids out of `_raw`; called before anything is flagged.

        All of them if they become pseudonyms; else those of rows that could not be read, in which nobody can tell the
        id of one who was forgotten from the rest.
        """
        unread = pc.is_valid(self.reasons)
        self.hidden = name, pc.or_(unread, pa.scalar(privacy.pseudonymise))

    def table(self) -> pa.Table:
        """Return typed columns + `_file`, `_row`, `_problem`, `_raw`."""
        bad = pc.and_(pc.is_valid(self.reasons), pc.not_equal(pc.fill_null(self.reasons, ""), COUNT))
        place = {name: self.column(name) for name in ("_file", "_row")}
        return pa.table({**self.columns, **place, "_problem": self.reasons, "_raw": _raw_json(self._shown(), bad)})

    def named(self, key: str, privacy: Privacy | None) -> pa.Table:
        """Return `table` with users by the names that are stored."""
        return self.table() if self.hidden is None or privacy is None else with_names(self.table(), key, privacy)

    def _shown(self) -> pa.Table:
        if self.hidden is None:
            return self.raw
        name, rows = self.hidden
        column = self.column(name)
        shown = pc.if_else(rows, pa.scalar(None, column.type), column)
        return self.raw.set_column(self.raw.column_names.index(name), name, shown)


def check_interactions(
    table: pa.Table,
    spec: Interactions,
    clean: Clean,
    values: dict[str, str],
    now_ms: int,
    privacy: Privacy | None = None,
) -> pa.Table:
    """Check a batch of the event log.

    Args:
        table: raw columns, `_file`, `_row`, `_problem` (from `reading.read_split`).
        spec: the recipe's names and ranges.
        clean: the recipe's limits.
        values: {value column: number or category} that labels read.
        now_ms: the start of the run in milliseconds since 1970.
        privacy: who was forgotten, and whether ids become pseudonyms.

    Returns:
        user, item (string), timestamp (int64, milliseconds), the value columns, `_file`, `_row`,
        `_problem`, `_raw`.
    """
    checked = Checked(table, table.column("_problem").combine_chunks())
    if privacy is not None and privacy.active:
        checked.hide(spec.user, privacy)
    for source, name in ((spec.user, "user"), (spec.item, "item")):
        checked.columns[name] = _ids(checked, source, clean.max_id_chars)
    checked.columns["timestamp"] = _timestamps(checked, spec, now_ms + 1000 * clean.future_seconds)
    for name, kind in values.items():
        if kind == "number":
            checked.columns[name] = _numbers(checked, name, spec.ranges.get(name, ValueRange()))
        else:
            checked.columns[name] = _texts(checked, name, clean.max_text_chars)
    if spec.propensity is not None:
        _flag_propensities(checked, spec.propensity)
    return (
        checked.table() if checked.hidden is None or privacy is None else with_names(checked.table(), "user", privacy)
    )


def _flag_propensities(checked: Checked, name: str) -> None:
    """Give a reason to the rows whose propensity, a number already, is no probability of what happened."""
    checked.flag(pc.less_equal(checked.columns[name], 0.0), f"{name} is not above 0")
    checked.flag(pc.greater(checked.columns[name], 1.0), f"{name} is above 1")


def check_entities(
    table: pa.Table, spec: Entity, clean: Clean, text_required: bool, privacy: Privacy | None = None
) -> pa.Table:
    """Check a batch of items or users.

    Args:
        table: raw columns, `_file`, `_row`, `_problem`.
        spec: the recipe's names.
        clean: the recipe's limits.
        text_required: whether a row without any text goes to quarantine.
        privacy: of users, who was forgotten, and whether ids become pseudonyms.

    Returns:
        id (string), each number column (float64), each category column (list of string), `text:<name>` of each
        column of the text or the title, scrubbed, `_file`, `_row`, `_problem`, `_raw`.
    """
    checked = Checked(table, table.column("_problem").combine_chunks())
    if privacy is not None and privacy.active:
        checked.hide(spec.id, privacy)
    checked.columns["id"] = _ids(checked, spec.id, clean.max_id_chars)
    for name in spec.shown:
        checked.columns[f"text:{name}"] = scrub(_texts(checked, name, clean.max_text_chars), clean.scrub)
    for name in spec.categories:
        checked.columns[name] = _categories(checked, name, spec.multi.get(name), clean.max_text_chars)
    for name in spec.numbers:
        checked.columns[name] = _attribute(checked, name, clean)
    if text_required and spec.text:
        empty = [pc.is_null(checked.columns[f"text:{name}"]) for name in spec.text]
        checked.flag(reduce(pc.and_, empty), "no text")
    return checked.named("id", privacy)


def _attribute(checked: Checked, name: str, clean: Clean) -> pa.Array:
    """Return a number of an item or user; what cannot be read is missing if the recipe says so."""
    before = checked.reasons
    values = _numbers(checked, name, ValueRange())
    if clean.unreadable_numbers == "missing":
        checked.reasons = before
        values = pc.if_else(pc.less_equal(pc.abs(values), _LARGEST), values, pa.scalar(None, pa.float64()))
    return values


def _single(checked: Checked, name: str) -> pa.Array:
    """Return a column of one value a row; a list of one value counts as that value."""
    array = checked.column(name)
    if not pa.types.is_list(array.type):
        return array
    checked.flag(pc.greater(pc.list_value_length(array), 1), f"{name} is a list")
    return pa.array([values[0] if values else None for values in array.to_pylist()], pa.string())


def _ids(checked: Checked, name: str, longest: int) -> pa.Array:
    array = _single(checked, name)
    text = pc.utf8_trim_whitespace(pc.utf8_normalize(as_text(array), form="NFC"))
    checked.flag(pc.or_(pc.is_null(text), pc.equal(pc.fill_null(text, ""), "")), f"{name} is null")
    checked.flag(pc.greater(pc.utf8_length(text), longest), f"{name} is longer than {longest} characters")
    checked.flag(pc.match_substring_regex(text, _ID_CONTROL), f"{name} has a control character")
    if pa.types.is_floating(array.type):
        checked.flag(pc.invert(pc.is_finite(array)), f"{name} is not finite")
    return text


def _texts(checked: Checked, name: str, longest: int) -> pa.Array:
    text = _cleaned(as_text(checked.column(name)))
    checked.flag(pc.greater(pc.utf8_length(text), longest), f"{name} is longer than {longest} characters")
    return text


def _cleaned(text: pa.Array) -> pa.Array:
    """Return text in one spelling: NFKC, no control characters, no space around it, null if empty."""
    text = pc.utf8_normalize(text, form="NFKC")
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, _CONTROL, " "))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _categories(checked: Checked, name: str, separator: str | None, longest: int) -> pa.Array:
    """Return the values of each row; each member of a list is cleaned and divided like a text."""
    array = checked.column(name)
    _texts(checked, name, longest)
    if pa.types.is_list(array.type):
        flat, rows = pc.list_flatten(array), pc.list_parent_indices(array).to_pylist()
    else:
        flat, rows = as_text(array), range(len(array))
    values: list[Any] = [[] if valid else None for valid in array.is_valid().to_pylist()]
    parts = pc.split_pattern(_cleaned(flat), separator).to_pylist() if separator else _cleaned(flat).to_pylist()
    for row, part in zip(rows, parts, strict=True):
        if part is not None:
            values[row] += [one.strip() for one in part if one.strip()] if separator else [part]
    return pa.array(values, pa.list_(pa.string()))


def _numbers(checked: Checked, name: str, allowed: ValueRange | None) -> pa.Array:
    """Return a column as float64; without a range, such as for moments, any finite number is fine."""
    array = _single(checked, name)
    if pa.types.is_string(array.type):
        checked.flag(pc.match_substring_regex(array, _NOT_FINITE), f"{name} is not finite")
        readable = pc.match_substring_regex(array, _NUMBER)
        checked.flag(pc.invert(readable), f"{name} is not a number")
        kept = pc.if_else(pc.fill_null(readable, False), pc.utf8_trim_whitespace(array), pa.scalar(None, pa.string()))
        values = pc.replace_substring_regex(kept, r"^\+", "").cast(pa.float64())
    elif pa.types.is_temporal(array.type):
        values = _moments(array).cast(pa.float64(), safe=False)
    else:
        values = array.cast(pa.float64(), safe=False)
    checked.flag(pc.invert(pc.is_finite(values)), f"{name} is not finite")
    if allowed is not None:
        checked.flag(pc.greater(pc.abs(values), _LARGEST), f"{name} is beyond {_LARGEST:g}")
        if allowed.min is not None:
            checked.flag(pc.less(values, allowed.min), f"{name} is below {allowed.min:g}")
        if allowed.max is not None:
            checked.flag(pc.greater(values, allowed.max), f"{name} is above {allowed.max:g}")
    return values


def _moments(array: pa.Array) -> pa.Array:
    """Return times of any kind as whole numbers in their own unit; days in milliseconds."""
    if pa.types.is_date32(array.type):
        return pc.multiply(array.cast(pa.int32()).cast(pa.int64()), 86_400_000)
    if pa.types.is_time32(array.type):
        array = array.cast(pa.int32())
    return array.cast(pa.int64())


def _timestamps(checked: Checked, spec: Interactions, latest_ms: int) -> pa.Array:
    array, name = checked.column(spec.timestamp), spec.timestamp
    checked.flag(pc.is_null(array), f"{name} is null")
    kind, unit = array.type, spec.timestamp_unit
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit = kind.unit if pa.types.is_timestamp(kind) else "ms"
    if unit == "iso":
        moments = _iso(checked, name, as_text(_single(checked, name))).cast(pa.float64())
    else:
        moments = pc.multiply(_numbers(checked, name, None), _TO_MS[unit])
    checked.flag(pc.is_null(moments), f"{name} is null")
    checked.flag(pc.greater(moments, float(latest_ms)), f"{name} is in the future")
    checked.flag(pc.less(moments, 0.0), f"{name} is before 1970")
    sane = pc.and_(pc.greater_equal(moments, 0.0), pc.less_equal(moments, float(latest_ms)))
    return pc.round(pc.if_else(pc.fill_null(sane, False), moments, 0.0)).cast(pa.int64())


def _iso(checked: Checked, name: str, text: pa.Array) -> pa.Array:
    values = pa.array([_iso_ms(value) for value in text.to_pylist()], pa.int64())
    checked.flag(pc.and_(pc.is_valid(text), pc.is_null(values)), f"{name} is not an ISO 8601 time")
    return values


def _iso_ms(value: str | None) -> int | None:
    """Return the milliseconds of a moment; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(value.strip()) if value else None
    except ValueError:
        return None
    if moment is None:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _raw_json(table: pa.Table, bad: pa.Array) -> pa.Array:
    if not pc.any(bad).as_py():
        return pa.nulls(table.num_rows, pa.string())
    places = pc.indices_nonzero(bad)
    chosen = table.drop_columns(["_file", "_row", "_problem"]).take(places)
    for place, kind in enumerate(chosen.schema.types):
        if pa.types.is_temporal(kind):  # Python knows no year after 9999
            chosen = chosen.set_column(place, chosen.column_names[place], _moments_text(chosen.column(place)))
    rows = chosen.to_pylist()
    raw: list[str | None] = [None] * table.num_rows
    for place, row in zip(places.to_pylist(), rows, strict=True):
        raw[place] = json.dumps(row, default=str, ensure_ascii=True)[:_RAW_CHARS]
    return pa.array(raw, pa.string())


def _moments_text(column: pa.ChunkedArray) -> pa.Array:
    return _moments(column.combine_chunks()).cast(pa.string())


def flag_unknown_items(table: pa.Table, known: pa.Array) -> pa.Table:
    """Give a reason to the rows whose item is not among the `known` ids of the catalogue."""
    checked = Checked(table, table.column("_problem").combine_chunks())
    checked.flag(pc.invert(pc.is_in(checked.column("item"), value_set=known)), "item is not in the catalogue")
    return table.set_column(table.column_names.index("_problem"), "_problem", checked.reasons)


def flag_alike(table: pa.Table, users: pa.Array) -> pa.Table:
    """Give a reason to the rows of `users`, who are like earlier ones."""
    checked = Checked(table, table.column("_problem").combine_chunks())
    checked.flag(
        pc.is_in(checked.column("user"), value_set=users), "its user met nearly the same items as an earlier one"
    )
    return table.set_column(table.column_names.index("_problem"), "_problem", checked.reasons)


def flag_unknown_parts(table: pa.Table, column: str) -> pa.Table:
    """Give a reason to the rows whose split column does not hold train, validation or test."""
    checked = Checked(table, table.column("_problem").combine_chunks())
    checked.flag(pa.array(split_by_column(table.column(column)) < 0), f"{column} is not train, validation or test")
    return table.set_column(table.column_names.index("_problem"), "_problem", checked.reasons)
