"""The contract of an event: the exact reason of every kind of bad row, and no harm to its neighbours."""

import datetime as dt
import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.contracts import check_interactions, flag_unknown_items
from motet.data.reading import COUNT, list_splits, read_split
from motet.data_settings import Clean, Interactions, Table

_NOW = 1_700_000_000_000
_DAY = 86_400


def _check(values: dict[str, str] | None = None, clean: Clean | None = None, **columns: Any) -> list[dict[str, Any]]:
    """Check a table of the given columns; the others hold good values. A spec may stand in `spec`."""
    spec = columns.pop("spec", {})
    rows = len(next(iter(columns.values())))
    good = {"user_id": ["u"] * rows, "item_id": ["i"] * rows, "timestamp": pa.array([1] * rows)}
    place = {"_file": ["f"] * rows, "_row": pa.array(range(rows), pa.int64()), "_problem": pa.nulls(rows, pa.string())}
    table = pa.table({**good, **columns, **place})
    return check_interactions(
        table, Interactions(path="x", **spec), clean or Clean(), values or {}, now_ms=_NOW
    ).to_pylist()


@pytest.mark.parametrize(
    ("value", "id_", "problem"),
    [
        ("u1", "u1", None),
        ("  u1\t", "u1", None),
        ("e\u0301", "é", None),
        ("用户", "用户", None),
        ("x" * 128, "x" * 128, None),
        ("x" * 129, None, "user_id is longer than 128 characters"),
        (None, None, "user_id is null"),
        ("", None, "user_id is null"),
        (" \u00a0", None, "user_id is null"),
        ("a\0b", None, "user_id has a control character"),
        *((f"a{one}b", None, "user_id has a control character") for one in "\t\n\r\x1f\x80\x85\x9f"),
        ("a\u00a0b", "a\u00a0b", None),
        ("a\x7fb", None, "user_id has a control character"),
        (7, "7", None),
        (2**62, str(2**62), None),
        (3.0, "3", None),
        (2.5, "2.5", None),
        (1e20, "1e+20", None),
        (float("nan"), None, "user_id is not finite"),
        (float("-inf"), None, "user_id is not finite"),
        (True, "true", None),
        (["u1"], "u1", None),
        (["u1", "u2"], None, "user_id is a list"),
        ([], None, "user_id is null"),
        (dt.date(2020, 1, 2), "2020-01-02", None),
    ],
)
def test_ids(value: Any, id_: str | None, problem: str | None) -> None:
    (row,) = _check(user_id=pa.array([value], pa.list_(pa.string()) if value == [] else None))
    assert row["_problem"] == problem
    if id_ is not None:
        assert row["user"] == id_


def test_numbers_that_a_float_cannot_tell_apart_stay_apart() -> None:
    # beyond 2 to the 63 an integer would wrap around to the same number
    rows = _check(user_id=pa.array([1e20, 1e21, -1e300]))
    assert len({row["user"] for row in rows}) == 3


@pytest.mark.parametrize(
    ("value", "number", "problem"),
    [
        ("4", 4.0, None),
        (" 4.5 ", 4.5, None),
        ("+3", 3.0, None),
        (".5e1", 5.0, None),
        ("1e-400", 0.0, "rating is below 1"),
        (None, None, None),
        ("0.9", None, "rating is below 1"),
        ("5.1", None, "rating is above 5"),
        ("NaN", None, "rating is not finite"),
        ("-Infinity", None, "rating is not finite"),
        ("1e400", None, "rating is not finite"),
        ("1e39", None, "rating is beyond 3.4e+38"),
        ("-1e300", None, "rating is beyond 3.4e+38"),
        ("good", None, "rating is not a number"),
        ("", None, "rating is not a number"),
        ("4,5", None, "rating is not a number"),
        ("0x4", None, "rating is not a number"),
        ("1_0", None, "rating is not a number"),
        ("٤", None, "rating is not a number"),
        (["4"], 4.0, None),
        (["4", "5"], None, "rating is a list"),
        (4, 4.0, None),
        (True, 1.0, None),
        (Decimal("4.50"), 4.5, None),
        (float("nan"), None, "rating is not finite"),
        (dt.datetime(1970, 1, 1, 0, 0, 0, 4), 4.0, None),
    ],
)
def test_numbers(value: Any, number: float | None, problem: str | None) -> None:
    spec = {"ranges": {"rating": {"min": 1, "max": 5}}}
    (row,) = _check({"rating": "number"}, rating=pa.array([value], pa.string() if value is None else None), spec=spec)
    assert row["_problem"] == problem
    if number is not None:
        assert row["rating"] == number


def test_texts() -> None:
    rows = _check(
        {"action": "category"}, Clean(max_text_chars=3), action=["buy", " a\0b ", "ﬁ", "", None, "long", "\ud7ff"]
    )
    assert [row["action"] for row in rows] == ["buy", "a b", "fi", None, None, "long", "\ud7ff"]
    assert [row["_problem"] for row in rows] == [None] * 5 + ["action is longer than 3 characters", None]


@pytest.mark.parametrize(
    ("unit", "value", "ms", "problem"),
    [
        ("s", 1, 1000, None),
        ("s", "1.5", 1500, None),
        ("ms", 1500, 1500, None),
        ("us", 1500, 2, None),  # 1.5 ms rounds to the even 2
        ("ns", 1_000_000, 1, None),
        ("s", 0, 0, None),
        ("s", _NOW // 1000 + _DAY, _NOW + 1000 * _DAY, None),
        ("s", _NOW // 1000 + _DAY + 1, None, "timestamp is in the future"),
        ("s", 1e300, None, "timestamp is in the future"),
        ("s", _NOW, None, "timestamp is in the future"),  # milliseconds given as seconds
        ("s", -1, None, "timestamp is before 1970"),
        ("s", "-1e300", None, "timestamp is before 1970"),
        ("s", None, None, "timestamp is null"),
        ("s", "soon", None, "timestamp is not a number"),
        ("s", "1e400", None, "timestamp is not finite"),
        ("s", float("nan"), None, "timestamp is not finite"),
        ("s", ["1", "2"], None, "timestamp is a list"),
        ("iso", "2020-01-01", 1_577_836_800_000, None),
        ("iso", " 2020-01-01T00:00:00.5Z ", 1_577_836_800_500, None),
        ("iso", "2020-01-01T02:00:00+02:00", 1_577_836_800_000, None),
        ("iso", "1969-12-31T23:59:59Z", None, "timestamp is before 1970"),
        ("iso", "0001-01-01T00:00:00+14:00", None, "timestamp is before 1970"),
        ("iso", "9999-12-31T23:59:59-14:00", None, "timestamp is in the future"),
        ("iso", "yesterday", None, "timestamp is not an ISO 8601 time"),
        ("iso", "2020-02-30", None, "timestamp is not an ISO 8601 time"),
        ("iso", None, None, "timestamp is null"),
        ("s", dt.datetime(2020, 1, 1), 1_577_836_800_000, None),
        ("iso", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), 1_577_836_800_000, None),
        ("s", dt.date(2020, 1, 1), 1_577_836_800_000, None),
    ],
)
def test_timestamps(unit: str, value: Any, ms: int | None, problem: str | None) -> None:
    kind = pa.string() if value is None else None
    (row,) = _check(timestamp=pa.array([value], kind), spec={"timestamp_unit": unit})
    assert row["_problem"] == problem
    if ms is not None:
        assert row["timestamp"] == ms


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_that_python_cannot_show_are_told_apart(unit: str) -> None:
    far = pa.array([2**62, -(2**62), 0], pa.int64()).cast(pa.timestamp(unit))
    rows = _check(timestamp=far)
    expected = ["timestamp is in the future", "timestamp is before 1970", None]
    assert [row["_problem"] for row in rows] == expected
    assert json.loads(rows[0]["_raw"])["timestamp"] == str(2**62)


def test_the_first_reason_stays_and_the_raw_row_is_kept() -> None:
    rows = _check(user_id=["", "u"], item_id=[None, "i"], timestamp=["soon", "1"])
    assert [row["_problem"] for row in rows] == ["user_id is null", None]
    assert json.loads(rows[0]["_raw"]) == {"user_id": "", "item_id": None, "timestamp": "soon"}
    assert rows[1]["_raw"] is None


def test_a_column_that_begins_with_an_underscore_is_kept_too() -> None:
    (row,) = _check(_id=[""], spec={"user": "_id"})
    assert row["_problem"] == "_id is null"
    assert json.loads(row["_raw"])["_id"] == ""


def test_the_raw_row_is_cut() -> None:
    (row,) = _check(user_id=["x" * 5000])
    assert len(row["_raw"]) == 2000


def test_the_readers_count_passes_untouched() -> None:
    table = pa.table(
        {"user_id": pa.nulls(1), "item_id": pa.nulls(1), "timestamp": pa.nulls(1), "_file": ["f"], "_row": [5]}
    ).append_column("_problem", pa.array([COUNT]))
    (row,) = check_interactions(table, Interactions(path="x"), Clean(), {}, _NOW).to_pylist()
    assert (row["_problem"], row["_row"], row["_raw"]) == (COUNT, 5, None)


def test_items_that_nobody_knows() -> None:
    table = pa.table({"item": ["a", "b", "", None], "_problem": pa.array([None, None, "item is null", COUNT])})
    flagged = flag_unknown_items(table, pa.array(["a"])).column("_problem").to_pylist()
    assert flagged == [None, "item is not in the catalogue", "item is null", COUNT]


_CELL = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), st.text(max_size=5), st.lists(st.text(max_size=3)),
    st.sampled_from(["1e400", "nan", "\ud800", "2020-01-01", "4", {"x": 1}, [["a"]]]),
)  # fmt: skip
_ROW = st.fixed_dictionaries({}, optional=dict.fromkeys(("user_id", "item_id", "timestamp", "rating", "action"), _CELL))


def _checked_lines(lines: list[str]) -> list[dict[str, Any]]:
    values = {"rating": "number", "action": "category"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_text("\n".join(lines))
        (split,) = list_splits(Table(path=str(path)))
        spec = Interactions(path="x", ranges={"rating": {"min": 0}})
        rows = [
            row
            for batch in read_split(split, ("user_id", "item_id", "timestamp", *values), 50)
            for row in check_interactions(batch, spec, Clean(), values, _NOW).to_pylist()
        ]
    assert rows.pop()["_row"] == len(lines)
    return rows


@given(st.lists(_ROW.map(json.dumps), min_size=1, max_size=6))
def test_a_row_is_judged_alike_whatever_its_neighbours(lines: list[str]) -> None:
    among = _checked_lines(lines)
    for line, row in zip(lines, among, strict=True):
        (alone,) = _checked_lines([line])
        judged = ("user", "item", "timestamp", "rating", "action", "_problem")
        if alone["_problem"] is None:
            assert [row[name] for name in judged] == [alone[name] for name in judged]
        assert row["_problem"] == alone["_problem"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (1.0, None),
        (1e-6, None),
        (None, None),
        (0.0, "shown is not above 0"),
        (-0.5, "shown is not above 0"),
        (1.01, "shown is above 1"),
        (float("nan"), "shown is not finite"),
    ],
)
def test_a_propensity_is_above_0_and_at_most_1_or_unknown(value: float | None, problem: str | None) -> None:
    column = pa.array([0.5, value], pa.float64(), from_pandas=False)
    first, second = _check({"shown": "number"}, shown=column, spec={"propensity": "shown"})
    assert (first["_problem"], first["shown"]) == (None, 0.5)
    assert second["_problem"] == problem


def test_a_propensity_that_is_text_is_read_as_a_number() -> None:
    rows = _check({"p": "number"}, p=["0.25", "much", "", "2"], spec={"propensity": "p"})
    assert [row["_problem"] for row in rows] == [None, "p is not a number", "p is not a number", "p is above 1"]
    assert rows[0]["p"] == 0.25
