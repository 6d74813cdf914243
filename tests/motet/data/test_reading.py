"""Files, splits and JSON lines: which files are read, in which order, and that no row is lost."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.reading import COUNT, column_names, file_format, list_files, list_splits, read_split
from motet.data_settings import Table
from motet.errors import DataError

_COLUMNS = ("a", "b")


def _rows(path: Path | str, columns: tuple[str, ...] = _COLUMNS, batch_rows: int = 2, **table: Any) -> list[tuple]:
    """All rows of a table as (values..., _row, _problem), counted by the readers' own witness."""
    rows: list[tuple] = []
    for split in list_splits(Table(path=str(path), **table)):
        batches = list(read_split(split, columns, batch_rows))
        *data, (count,) = [batch.to_pylist() for batch in batches]
        assert (count["_problem"], count["_row"]) == (COUNT, sum(len(batch) for batch in data))
        assert all(len(batch) <= batch_rows for batch in data)
        rows += [(*(row[c] for c in columns), row["_row"], row["_problem"]) for batch in data for row in batch]
    return rows


def test_a_file_a_folder_and_a_pattern(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt", "_SUCCESS", ".a.crc", "sub/d.csv", "_delta_log/0.json", ".x/e.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a,b\n1,2\n")
    assert list_files(Table(path=f"{tmp_path}/b.csv")) == [f"{tmp_path}/b.csv"]
    assert list_files(Table(path=f"{tmp_path}/*.csv")) == [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"]
    assert [path.removeprefix(f"{tmp_path}/") for path in list_files(Table(path=str(tmp_path)))] == [
        "a.csv", "b.csv", "c.txt", "sub/d.csv",
    ]  # fmt: skip


def test_a_hidden_folder_can_be_named(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.csv").write_text("a\n1\n")
    assert list_files(Table(path=f"{tmp_path}/.cache")) == [f"{tmp_path}/.cache/a.csv"]


@pytest.mark.parametrize("name", ["a.csv", "*.csv", ""])
def test_addresses_of_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (path,) = list_files(Table(path=f"file://{tmp_path}/{name}"))
    assert path.removeprefix("file://") == f"{tmp_path}/a.csv"
    assert _rows(f"file://{tmp_path}/{name}") == [("1", "2", 0, None)]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing.csv", "nothing.csv: no such file or folder"),
        ("none/*.csv", "none/[*].csv holds no file; put parquet, csv or jsonl files there"),
        ("empty", "empty holds no file"),
        ("a\0.csv", "cannot be reached .*NUL"),
        ("file://host/a.csv", "is not an address"),
    ],
)
def test_tables_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        list_files(Table(path=path))


@pytest.mark.parametrize(
    ("path", "declared", "expected"),
    [
        ("a.parquet", "auto", "parquet"), ("a.PQ", "auto", "parquet"), ("a.tsv", "auto", "csv"),
        ("a.json", "auto", "jsonl"), ("a.ndjson", "auto", "jsonl"), ("a.txt", "csv", "csv"),
        ("s3://b/a.csv?region=x.y", "auto", "csv"),
    ],
)  # fmt: skip
def test_formats(path: str, declared: str, expected: str) -> None:
    assert file_format(path, declared) == expected


def test_an_unknown_ending_says_what_to_set() -> None:
    with pytest.raises(DataError, match=r"a\.csv\.gz: the ending '\.gz' is not known; set `format` to parquet, csv"):
        file_format("a.csv.gz", "auto")


def test_parquet_row_groups_become_splits(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(10), "b": range(10)}), tmp_path / "t.parquet", row_group_size=2)
    splits = list_splits(Table(path=f"{tmp_path}/t.parquet"), rows_per_split=4)
    # groups of 2 rows: two make 4; the last stands alone
    assert [(split.first_row, split.row_groups) for split in splits] == [(0, (0, 1)), (4, (2, 3)), (8, (4,))]
    assert [(row[0], row[2]) for row in _rows(tmp_path / "t.parquet", batch_rows=3)] == [(n, n) for n in range(10)]


def test_parquet_keeps_types_and_fills_a_missing_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"b": [1.5, None], "c": ["x", "y"]}), tmp_path / "t.parquet")
    assert _rows(tmp_path / "t.parquet", ("b", "q")) == [(1.5, None, 0, None), (None, None, 1, None)]
    assert column_names(Table(path=f"{tmp_path}/t.parquet")) == ["b", "c"]


@pytest.mark.parametrize("damage", ["cut", "head", "empty", "page"])
def test_a_damaged_parquet_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path, write_page_checksum=True, use_dictionary=False)
    content = bytearray(path.read_bytes())
    if damage == "page":
        content[200] ^= 255
    kept = {"cut": content[:-20], "head": content[20:], "empty": b"", "page": content}[damage]
    path.write_bytes(kept)
    with pytest.raises(DataError, match=r"bad\.parquet is (not a whole parquet file|damaged) \(.*\); write it again"):
        _rows(path, ("a",))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="2 columns named 'a'; rename all but one"):
        _rows(tmp_path / "t.parquet")
    assert _rows(tmp_path / "t.parquet", ("b",)) == [(None, 0, None)]


@pytest.mark.parametrize(
    ("line", "values", "problem"),
    [
        (b'{"a": "x", "b": 3}', ("x", "3"), None),
        (b'{"a": 3.0, "b": true}', ("3.0", "true"), None),
        (b'{"a": "", "b": null}', (None, None), None),
        (b'{"b": "x"}', (None, "x"), None),
        (b'{"a": 12345678901234567890123}', ("12345678901234567890123", None), None),
        (b'{"a": NaN, "b": 1e400}', ("NaN", "Infinity"), None),
        (b'{"a": "x\\u0000y"}', ("x\0y", None), None),
        (b'{"a": "\\ud800", "b": "y"}', (None, "y"), "a has a lone surrogate"),
        (b'{"a": {"x": 1}, "b": "y"}', (None, "y"), "a is an object, not a value"),
        (b'{"a": [["x"]]}', (None, None), "a is a list of lists"),
        (b'{"a": [{"x": 1}]}', (None, None), "a is an object, not a value"),
        (b'["x"]', ('["x"]', None), "line is not a JSON object"),
        (b"3", ("3", None), "line is not a JSON object"),
        (b"{", ("{", None), "line is not JSON"),
        (b'{"a": 1} x', ('{"a": 1} x', None), "line is not JSON"),
        (b'{"a": "\xff"}', ('{"a": "\ufffd"}', None), "line is not UTF-8"),
        (b'{"a": ' + b"1" * 5000 + b"}", (('{"a": ' + "1" * 5000)[:2000], None), "line is not JSON"),
        (b"[" * 100_000, ("[" * 2000, None), "line is not JSON"),
    ],
)
def test_json_lines(tmp_path: Path, line: bytes, values: tuple, problem: str | None) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"a": "before", "b": "0"}\n' + line + b'\n\n  \n{"a": "after"}')
    before, row, after = [(*map(_unlisted, row[:2]), *row[2:]) for row in _rows(path)]
    assert (before, after) == (("before", "0", 0, None), ("after", None, 2, None))
    assert row == (*values, 1, problem)


def _unlisted(value: Any) -> Any:
    """A value of a column that holds a list in another row."""
    return (value[0] if value else None) if isinstance(value, list) else value


def test_a_list_makes_its_column_one_of_lists(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": ["x", null, ""], "b": 1}\n{"a": "y|z"}\n{"a": []}\n{}\n')
    rows = _rows(tmp_path / "t.jsonl", batch_rows=9)
    assert [row[0] for row in rows] == [["x"], ["y|z"], [], None]


def test_the_names_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('\ufeff{"a": "x\u2028y"}\n[]\n{"b": 2}\nzz\n', encoding="utf-8")
    assert column_names(Table(path=f"{tmp_path}/t.jsonl")) == ["a", "b"]


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
_JSON = st.recursive(
    _VALUES, lambda x: st.lists(x, max_size=2) | st.dictionaries(st.sampled_from("ab"), x), max_leaves=4
)
_LINE = st.binary(max_size=20).filter(lambda line: b"\n" not in line) | _JSON.map(
    lambda value: json.dumps(value).encode()
)


@given(st.lists(_LINE, max_size=8), st.integers(1, 4))
def test_dirty_json_lines_never_raise_and_none_is_lost(lines: list[bytes], batch_rows: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_bytes(b"\n".join(lines))
        rows = _rows(path, batch_rows=batch_rows)
    assert [row[2] for row in rows] == list(range(sum(bool(line.strip()) for line in lines)))
