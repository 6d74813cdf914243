"""Csv: the place of every row, rows of the wrong width, bytes that are not UTF-8, quotes, headers."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data import csv_reading
from motet.data.reading import COUNT, column_names, list_splits, read_split
from motet.data_settings import Table
from motet.errors import DataError


def _rows(
    path: Path, columns: tuple[str, ...] = ("a", "b"), batch_rows: int = 2, multiline: bool = False
) -> list[tuple]:
    """All rows as (values..., _row, _problem) in the order of the file."""
    (split,) = list_splits(Table(path=str(path), multiline=multiline))
    *data, (count,) = [batch.to_pylist() for batch in read_split(split, columns, batch_rows)]
    assert (count["_problem"], count["_row"]) == (COUNT, sum(len(batch) for batch in data))
    rows = [(*(row[c] for c in columns), row["_row"], row["_problem"]) for batch in data for row in batch]
    return sorted(rows, key=lambda row: row[-2])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its table."""
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a,b\n1,2\n,\n", [("1", "2", 0, None), (None, None, 1, None)]),
        (b"b,c,a\n1,2,3\n", [("3", "1", 0, None)]),
        (b"a\n1\n\n2\n", [("1", None, 0, None), ("2", None, 1, None)]),
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n", [("1", "2", 0, None)]),
        (b"a,b\r1,2\r3,4", [("1", "2", 0, None), ("3", "4", 1, None)]),
        (b"\n\r\na,b\n1,2\n\n3\n", [("1", "2", 0, None), ("3", None, 1, "row has 1 columns, expected 2")]),
        (b'"a","b"\n"x, ""y""","12"\n', [('x, "y"', "12", 0, None)]),
        (b'\xef\xbb\xbf"a","b"\n"1",2\n', [("1", "2", 0, None)]),
        (b'a,b\n"1"2"3,""\n', [('12"3', None, 0, None)]),
        (b"a,b,,\n1,2,3,4\n", [("1", "2", 0, None)]),
        (b'a,b\n1,2"3\n', [("1", '2"3', 0, None)]),
        (b"a,b\n1,2\x00\n", [("1", "2\0", 0, None)]),
        (b"a,b\n", []),
        (b"a,b", []),
    ],
)
def test_files(file: Path, content: bytes, rows: list[tuple]) -> None:
    file.write_bytes(content)
    assert _rows(file) == rows


def test_a_bad_row_keeps_its_place_and_takes_no_neighbour_along(file: Path) -> None:
    file.write_bytes(b"a,b\n1,2\n1,2,3\n3,4\n\xff,5\nx\xfe\n6,7\n")
    assert _rows(file) == [
        ("1", "2", 0, None),
        ("1,2,3", None, 1, "row has 3 columns, expected 2"),
        ("3", "4", 2, None),
        ("\ufffd", "5", 3, "a is not UTF-8"),
        ("x\ufffd", None, 4, "row has 1 columns, expected 2"),
        ("6", "7", 5, None),
    ]


def test_a_row_of_the_wrong_width_is_cut_in_the_report(file: Path) -> None:
    file.write_bytes(b"a,b\n" + b"x" * 3000 + b"\n")
    assert _rows(file) == [("x" * 2000, None, 0, "row has 1 columns, expected 2")]


def test_the_first_bad_column_gives_the_problem(file: Path) -> None:
    file.write_bytes(b"a,b\n\xff,\xff\n1,\xc3\xa9\xc3\n")
    assert _rows(file) == [("\ufffd", "\ufffd", 0, "a is not UTF-8"), ("1", "é\ufffd", 1, "b is not UTF-8")]


def test_a_tsv_is_separated_by_tabs(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n1,5\t2\n")
    assert _rows(tmp_path / "t.tsv") == [("1,5", "2", 0, None)]
    assert column_names(Table(path=f"{tmp_path}/t.tsv")) == ["a", "b"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\r\n", b"\xef\xbb\xbf"])
def test_a_file_without_column_names_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv is empty; a csv file starts with a line of column names"):
        _rows(file)


def test_a_header_that_cannot_be_read_is_refused(file: Path) -> None:
    file.write_bytes(b"a," + b"x" * 200_000 + b"\n1,2\n")
    with pytest.raises(DataError, match=r"t\.csv: the line of column names cannot be read \(field larger than"):
        _rows(file)


def test_a_wanted_column_that_is_there_twice_is_refused(file: Path) -> None:
    file.write_bytes(b"a,b,a\n1,2,3\n")
    with pytest.raises(DataError, match=r"t\.csv has 2 columns named 'a'; rename all but one"):
        _rows(file)
    assert _rows(file, ("b", "z")) == [("2", None, 0, None)]


def test_an_unclosed_quote_loses_its_own_line_only(file: Path) -> None:
    file.write_bytes(b'a,b\n1,2\n3,"4\n5,6\n7,8\n9,"0"\n"","""\n')
    assert _rows(file) == [
        ("1", "2", 0, None),
        ('3,"4', None, 1, "quote is not closed"),
        ("5", "6", 2, None),
        ("7", "8", 3, None),
        ("9", "0", 4, None),
        ('"","""', None, 5, "quote is not closed"),
    ]


def test_a_quote_that_closes_on_a_later_line_costs_these_two(file: Path) -> None:
    file.write_bytes(b'a,b\n1,2\n3,"x\n5,6\ny",8\n9,12"\n')
    assert _rows(file) == [
        ("1", "2", 0, None),
        ('3,"x', None, 1, "quote is not closed"),
        ("5", "6", 2, None),
        ('y",8', None, 3, "quote is not opened"),
        ("9", '12"', 4, None),  # inches: nothing is open here
    ]


def test_a_closing_quote_after_a_line_with_whole_ones_is_text(file: Path) -> None:
    file.write_bytes(b'a,b\n"1,2\n"3",4\n5",6\n')
    assert [row[-1] for row in _rows(file)] == ["quote is not closed", None, None]


def test_one_unclosed_quote_in_a_large_file(file: Path) -> None:
    lines = (9 << 20) // 4
    file.write_bytes(b'a,b\n1,2\n3,"4\n' + b"5,6\n" * lines)
    rows = _rows(file, batch_rows=1 << 20)
    assert len(rows) == lines + 2
    assert [row for row in rows if row[-1]] == [('3,"4', None, 1, "quote is not closed")]


def test_a_line_that_is_longer_than_a_block_is_set_aside(file: Path) -> None:
    file.write_bytes(b"a,b\n1," + b"x" * (18 << 20) + b"\n3,4\n")
    long, after = _rows(file)
    assert (long[0], *long[1:]) == ("1," + "x" * 1998, None, 0, "line is longer than 8 MB")
    assert after == ("3", "4", 1, None)


def test_a_header_with_an_unclosed_quote_is_refused(file: Path) -> None:
    file.write_bytes(b'a,"b\n1,2\n')
    with pytest.raises(DataError, match=r"t\.csv: the line of column names cannot be read \(quote is not closed\)"):
        _rows(file)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'"a","b"\n"x, ""y""","1\n2"\n3,4\n', [('x, "y"', "1\n2", 0, None), ("3", "4", 1, None)]),
        (b'"a",b,"c\nd"\n1,2,3\n', [("1", "2", 0, None)]),
    ],
)
def test_line_breaks_inside_quotes_where_the_recipe_says_so(file: Path, content: bytes, rows: list[tuple]) -> None:
    file.write_bytes(content)
    assert _rows(file, multiline=True) == rows
    table = Table(path=str(file), multiline=True)
    assert column_names(table)[:2] == ["a", "b"]


def test_a_quote_that_is_never_closed_is_refused_by_name_there(file: Path) -> None:
    file.write_bytes(b'a,b\n1,2\n3,"4\n' + b"5,6\n" * (5 << 20))
    with pytest.raises(DataError, match=r"t\.csv: the row after row \d+ does not end within 8 MB \(.*\); close its"):
        _rows(file, batch_rows=1 << 20, multiline=True)


def test_a_character_between_two_reads_is_whole() -> None:
    class Slow(io.BytesIO):
        """Gives one byte at a time."""

        def read(self, size: int | None = -1) -> bytes:
            return super().read(1 if size else 0)

    stream = csv_reading._Utf8(Slow("a,é,\U0001f600,\n".encode() + b"\xff\xc3"))
    assert b"".join(iter(lambda: stream.read(3), b"")).decode() == "a,é,\U0001f600,\n\U0010ffff\U0010ffff\n"
    assert stream.read(3) == b""


_CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\U0010ffff\ufeff"), max_size=6)


@given(st.lists(st.tuples(_CELL, _CELL), max_size=8), st.integers(1, 4))
def test_what_python_writes_comes_back(cells: list[tuple[str, str]], batch_rows: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows([("a", "b"), *cells])
        rows = _rows(path, batch_rows=batch_rows, multiline=True)
    assert rows == [(a or None, b or None, place, None) for place, (a, b) in enumerate(cells)]


@given(st.one_of(st.binary(max_size=60), st.text('a",\r\n', max_size=30).map(str.encode)), st.integers(1, 4))
def test_random_bytes_never_raise_and_every_row_has_a_place(noise: bytes, batch_rows: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(b"a,b\n" + noise)
        rows = _rows(path, batch_rows=batch_rows)
    assert [row[2] for row in rows] == list(range(len(rows)))
    lines = [line for line in noise.replace(b"\r", b"\n").split(b"\n") if line]
    assert len(rows) == len(lines)
    for line, row in zip(lines, rows, strict=True):
        if b'"' not in line:
            assert row[3] == _expected(line)


def _expected(line: bytes) -> str | None:
    """The problem of a line without quotes."""
    parts = line.split(b",")
    if len(parts) != 2:
        return f"row has {len(parts)} columns, expected 2"
    for name, part in zip("ab", parts, strict=True):
        if part.decode("utf-8", errors="replace").encode() != part:
            return f"{name} is not UTF-8"
    return None
