"""Csv, row by row traceable: no row is lost because a neighbour, or its own bytes, are bad.

A line is a row, so a stray quote costs its own line only. Of a file whose values hold line breaks inside quotes
(`multiline: true`), a row ends where its quotes are closed.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from motet.errors import DataError

_BLOCK_BYTES = 8 << 20
_HEAD_BYTES = 1 << 20
_RAW_CHARS = 2000
_LINE = re.compile(rb"[^\r\n]+")
_ESCAPED = re.compile("[\udc80-\udcff]")
_BAD = "\U0010ffff"
"""Stands for a byte that is not UTF-8 (a code point that no text may hold)."""
_SET_ASIDE = "\U0010fffe"
"""Stands for a line that is kept from the parser; one separator for each column makes it a row of the wrong width."""


def csv_header(stream: BinaryIO, path: str, separator: str, multiline: bool = False) -> tuple[list[str], int]:
    """Return the column names, and how many empty lines stand before them.

    Raises:
        DataError: if there are none, or a quote among them is not closed.
    """
    head = stream.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    lines = io.StringIO(head, newline="")
    try:
        rows = csv.reader(lines, delimiter=separator) if multiline else (_one_row(line, separator) for line in lines)
        for number, names in enumerate(rows):
            if names:
                return names, number
    except csv.Error as error:
        raise DataError(f"{path}: the line of column names cannot be read ({error}); write it again") from error
    raise DataError(f"{path} is empty; a csv file starts with a line of column names")


def _one_row(line: str, separator: str) -> list[str]:
    if _unclosed(separator).fullmatch(line.rstrip("\r\n").encode("utf-8", errors="replace")):
        raise csv.Error("quote is not closed")
    return next(csv.reader([line], delimiter=separator), [])


def _unclosed(separator: str) -> re.Pattern[bytes]:
    """Return what matches a line that ends inside quotes; a quote opens only at the start of a value."""
    end = re.escape(separator.encode())
    value = rb'(?:"(?:[^"]|"")*+"[^%b]*+|[^"%b][^%b]*+|)' % (end, end, end)
    return re.compile(rb'(?:%b%b)*+"(?:[^"]|"")*+' % (value, end))


def _unopened(separator: str) -> re.Pattern[bytes]:
    """Return what matches a line whose first quote ends a value and begins none."""
    end = re.escape(separator.encode())
    return re.compile(rb'[^"]*[^"%b]"(?:%b.*)?' % (end, end), re.DOTALL)


def read_csv_rows(
    stream: BinaryIO,
    path: str,
    separator: str,
    header: tuple[list[str], int],
    columns: tuple[str, ...],
    multiline: bool = False,
) -> Iterator[tuple[pa.Table, list[str | None], list[int]]]:
    """Yield text columns, the problem of each row, and its place in the file (from 0, empty lines not counted).

    Args:
        stream: the file from its start.
        path: its name, for errors.
        separator: between two values.
        header: from `csv_header`.
        columns: the columns wanted; one that the file lacks comes as nulls.
        multiline: whether values hold line breaks inside quotes.

    Raises:
        DataError: if a row of a file with such values does not end, as after a quote that is never closed.
    """
    source = _Utf8(stream) if multiline else _Lines(stream, separator, len(header[0]))
    names = [name if name not in header[0][:place] else f"{name}\0{place}" for place, name in enumerate(header[0])]
    skipped = header[1] + 1
    refused = _Refused(source, skipped)
    next_row = 0
    try:
        for batch in _open(source, names, skipped, separator, columns, multiline, refused.keep):
            rows: list[int] = []
            while len(rows) < batch.num_rows:
                if next_row not in refused.rows:
                    rows.append(next_row)
                next_row += 1
            yield *_texts(pa.Table.from_batches([batch]), columns), rows
            yield from _refused(refused.rows, next_row, columns)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: the row after row {next_row} does not end within {_BLOCK_BYTES >> 20} MB "
            f"({str(error).splitlines()[0]}); close its quotes"
        ) from error
    next_row += len(refused.rows)
    yield from _refused(refused.rows, None, columns)
    if isinstance(source, _Lines) and next_row != source.lines - 1:
        raise DataError(f"{path}: {source.lines - 1} lines gave {next_row} rows; write the file again as parquet")


class _Refused:
    """The rows that pyarrow or the line check refused: text and problem by place.

    Args:
        source: the stream that pyarrow reads.
        skipped: lines before the first row.
    """

    def __init__(self, source: "_Utf8 | _Lines", skipped: int) -> None:
        self.source, self.skipped = source, skipped
        self.rows: dict[int, tuple[str, str]] = {}

    def keep(self, row: Any) -> str:
        """Note a row of the wrong width, or the line that it stands in for, and go on."""
        problem = f"row has {row.actual_columns} columns, expected {row.expected_columns}"
        text = row.text
        if isinstance(self.source, _Lines) and text == self.source.stand_in and self.source.set_aside:
            text, problem = self.source.set_aside.popleft()
        self.rows[row.number - 1 - self.skipped] = (text[:_RAW_CHARS].replace(_BAD, "\ufffd"), problem)
        return "skip"


def _open(
    source: "_Utf8 | _Lines",
    names: list[str],
    skipped: int,
    separator: str,
    columns: tuple[str, ...],
    multiline: bool,
    keep_invalid: Callable[[Any], str],
) -> Iterator[pa.RecordBatch]:
    """Let pyarrow read text columns."""
    present = [name for name in columns if name in names]
    reader: Iterator[pa.RecordBatch] = pacsv.open_csv(
        source,
        pacsv.ReadOptions(
            use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows_after_names=skipped
        ),
        pacsv.ParseOptions(delimiter=separator, invalid_row_handler=keep_invalid, newlines_in_values=multiline),
        pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=present),
    )
    return reader


def _refused(
    invalid: dict[int, tuple[str, str]], before: int | None, columns: tuple[str, ...]
) -> Iterator[tuple[pa.Table, list[str | None], list[int]]]:
    """Yield the rows with a wrong number of columns, up to a row, and forget them."""
    rows = sorted(row for row in invalid if before is None or row < before)
    if rows:
        found = [invalid.pop(row) for row in rows]
        yield first_column([text for text, _ in found], columns), [problem for _, problem in found], rows


def first_column(texts: list[str], columns: tuple[str, ...]) -> pa.Table:
    """Return a table with the raw text of rows in its first column and nulls in the others."""
    arrays = [pa.array(texts, pa.string()), *(pa.nulls(len(texts), pa.string()) for _ in columns[1:])]
    return pa.table(arrays, names=list(columns))


def _texts(table: pa.Table, columns: tuple[str, ...]) -> tuple[pa.Table, list[str | None]]:
    """Turn empty text into null, and name the rows that are not UTF-8."""
    problems: list[str | None] = [None] * table.num_rows
    texts = []
    for name in columns:
        if name not in table.column_names:
            texts.append(pa.nulls(table.num_rows, pa.string()))
            continue
        text = table.column(name).combine_chunks()
        for row in pc.indices_nonzero(pc.match_substring(text, _BAD)).to_pylist():
            problems[row] = problems[row] or f"{name} is not UTF-8"
        mended = pc.replace_substring(text, _BAD, "\ufffd") if any(problems) else text
        texts.append(pc.if_else(pc.equal(mended, ""), pa.scalar(None, pa.string()), mended))
    return pa.table(texts, names=list(columns)), problems


class _Utf8(io.RawIOBase):
    """A stream of valid UTF-8 that ends with a line end; each byte that is not UTF-8 becomes `_BAD`."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.decoder = stream, codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        self.pending, self.last, self.ended = b"", b"\n", False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def _block(self, size: int) -> bytes:
        """Return `size` bytes, and fewer only at the end; a stream may give them in parts."""
        data = self.stream.read(size)
        while len(data) < size and (more := self.stream.read(size - len(data))):
            data += more
        return data

    def _text(self) -> bytes:
        """Return the next part of the file as UTF-8."""
        data = self._block(_BLOCK_BYTES)
        self.ended, self.last = len(data) < _BLOCK_BYTES, data[-1:] or self.last
        text = self.decoder.decode(data, final=self.ended)
        text += "\n" if self.ended and self.last not in (b"\n", b"\r") else ""
        try:
            return text.encode()
        except UnicodeEncodeError:
            return _ESCAPED.sub(_BAD, text).encode()

    def read(self, size: int = _BLOCK_BYTES) -> bytes:
        """Return at most `size` bytes, and none at the end."""
        while not self.pending and not self.ended:
            self.pending = self._text()
        some, self.pending = self.pending[:size], self.pending[size:]
        return some


class _Lines(_Utf8):
    """The same for files of one row a line; a line that would take the next one along is set aside.

    `stand_in` takes its place in the stream; `set_aside` holds such lines in order, each with its problem.
    """

    def __init__(self, stream: BinaryIO, separator: str, columns: int) -> None:
        super().__init__(stream)
        self.unclosed, self.unopened = _unclosed(separator), _unopened(separator)
        self.stand_in = _SET_ASIDE + separator * columns
        self.set_aside: deque[tuple[str, str]] = deque()
        self.lines, self.rest, self.open = 0, b"", False

    def _text(self) -> bytes:
        """Return the next whole lines."""
        data = self.rest + super()._text()
        cut = len(data) if self.ended else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        self.rest = data[cut:][: _BLOCK_BYTES + 1]  # more of a line is not needed to know that it is too long
        whole = data[:cut]
        lengths = [len(line) for line in _LINE.findall(whole)]
        self.lines += len(lengths)
        plain = b'"' not in whole and max(lengths, default=0) <= _BLOCK_BYTES
        return whole if plain else _LINE.sub(self._line, whole)

    def _line(self, found: re.Match[bytes]) -> bytes:
        line = found[0]
        problem = self._quotes(line) if b'"' in line else None
        if len(line) > _BLOCK_BYTES:
            problem = f"line is longer than {_BLOCK_BYTES >> 20} MB"
        if problem is None:
            return line
        self.set_aside.append((line[: 4 * _RAW_CHARS].decode(errors="ignore"), problem))
        return self.stand_in.encode()

    def _quotes(self, line: bytes) -> str | None:
        """Return what is wrong with a line's quotes; one that only closes a value of an earlier line is wrong too."""
        was_open, self.open = self.open, False
        if self.unclosed.fullmatch(line):
            self.open = True
            return "quote is not closed"
        return "quote is not opened" if was_open and self.unopened.fullmatch(line) else None
