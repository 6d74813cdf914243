"""Any type that a parquet file may hold becomes one that the contract knows, and bad rows are named."""

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motet.data.columns import as_text, plain
from motet.data.reading import list_splits, read_split
from motet.data_settings import Table


def _raw_text(values: list[bytes | None], kind: pa.DataType) -> pa.Array:
    """A text column whose bytes nobody has looked at, as parquet readers give it."""
    source = pa.array(values, pa.large_binary() if kind == pa.large_string() else pa.binary())
    return pa.Array.from_buffers(kind, len(values), source.buffers())


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array(["a", None], pa.large_string()), pa.string(), ["a", None]),
        (pa.array(["a", None], pa.string_view()), pa.string(), ["a", None]),
        (pa.array([b"a", None], pa.binary()), pa.string(), ["a", None]),
        (pa.array([b"ab"], pa.binary(2)), pa.string(), ["ab"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), pa.string(), ["a", "b", "a"]),
        (pa.array([2, 1]).dictionary_encode(), pa.int64(), [2, 1]),
        (pa.array([["a", None], [], None], pa.large_list(pa.large_string())), pa.list_(pa.string()), [["a"], [], None]),
        (pa.array([["a", "b"], None], pa.list_(pa.string(), 2)), pa.list_(pa.string()), [["a", "b"], None]),
        (pa.array([[1, 2]]), pa.list_(pa.string()), [["1", "2"]]),
        (pa.array([[1.0, 2.5]]), pa.list_(pa.string()), [["1", "2.5"]]),
        (pa.array([1.5], pa.float16()), pa.float32(), [1.5]),
        (pa.array([True, None]), pa.bool_(), [True, None]),
        (pa.nulls(1), pa.null(), [None]),
        (pa.array([dt.date(2020, 1, 1)]), pa.date32(), [dt.date(2020, 1, 1)]),
    ],
)
def test_plain(array: pa.Array, kind: pa.DataType, values: list[Any]) -> None:
    problems: list[str | None] = [None] * len(array)
    found = plain(array, "x", problems)
    assert (found.type, found.to_pylist(), problems) == (kind, values, [None] * len(array))


@pytest.mark.parametrize(
    ("array", "values", "problems"),
    [
        (_raw_text([b"a", b"\xff", None], pa.string()), ["a", "\ufffd", None], [None, "x is not UTF-8", None]),
        (_raw_text([b"\xed\xa0\x80"], pa.large_string()), ["\ufffd\ufffd\ufffd"], ["x is not UTF-8"]),
        (pa.array([b"\xc3", b"b"]), ["\ufffd", "b"], ["x is not UTF-8", None]),
        (pa.array([[b"a", b"\xff"], [b"b"]]), [["a", "\ufffd"], ["b"]], ["x is not UTF-8", None]),
        (pa.array([{"q": 1}, None]), [None, None], ["x is an object, not a value", None]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [None], ["x is an object, not a value"]),
        (pa.array([[["a"]], [], None]), [[], [], None], ["x is a list of lists", None, None]),
        (pa.array([[{"q": 1}], []]), [[], []], ["x is an object, not a value", None]),
    ],
)
def test_rows_that_cannot_be_read_are_named(array: pa.Array, values: list[Any], problems: list[str | None]) -> None:
    found: list[str | None] = [None] * len(array)
    assert plain(array, "x", found).to_pylist() == values
    assert found == problems


def test_the_first_problem_of_a_row_stays() -> None:
    problems: list[str | None] = ["earlier"]
    plain(pa.array([b"\xff"]), "x", problems)
    assert problems == ["earlier"]


@pytest.mark.parametrize(
    ("array", "values"),
    [
        # 2 to the 53 is the first whole number whose neighbour is not a float
        (pa.array([3.0, -0.5, 2.0**53, 1e20, None]), ["3", "-0.5", "9.007199254740992e+15", "1e+20", None]),
        (pa.array([float("nan"), float("inf")]), ["nan", "inf"]),
        (pa.array([3, None]), ["3", None]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([["a", "b"], [], None]), ["a, b", "", None]),
        (pa.array([dt.date(2020, 1, 2)]), ["2020-01-02"]),
        (pa.array([decimal.Decimal("1.50")]), ["1.50"]),
    ],
)
def test_as_text(array: pa.Array, values: list[str | None]) -> None:
    assert as_text(array).to_pylist() == values


def test_a_parquet_file_with_bad_text_is_read_row_by_row(tmp_path: Path) -> None:
    table = pa.table({"a": _raw_text([b"ok", b"\xff"], pa.string()), "b": pa.array([["x"], None])})
    pq.write_table(table, tmp_path / "t.parquet")
    (split,) = list_splits(Table(path=f"{tmp_path}/t.parquet"))
    batch, _ = read_split(split, ("a", "b"), 9)
    assert batch.column("a").to_pylist() == ["ok", "\ufffd"]
    assert batch.column("b").to_pylist() == [["x"], None]
    assert batch.column("_problem").to_pylist() == [None, "a is not UTF-8"]
