"""Arrow has dozens of types; the contract knows text, lists of text, numbers, truths and moments.

`plain` brings any column that a parquet file may hold to one of these, and names the rows that cannot be.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def plain(array: pa.Array, name: str, problems: list[str | None]) -> pa.Array:
    """Return a column as string, list of string, a number, a truth, or a moment.

    Args:
        array: a column of any type.
        name: its name, for the problems.
        problems: per row; filled for rows whose value cannot be read, which becomes null or is mended.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode(), name, problems)
    if _is(kind, _TEXTS) or _is(kind, _BYTES):
        return _decoded(array, name, problems)
    if _is(kind, _LISTS):
        return _list_of_text(array, name, problems)
    if pa.types.is_nested(kind):
        for row in pc.indices_nonzero(array.is_valid()).to_pylist():
            problems[row] = problems[row] or f"{name} is an object, not a value"
        return pa.nulls(len(array), pa.string())
    return array.cast(pa.float32()) if pa.types.is_float16(kind) else array


def _is(kind: pa.DataType, tests: tuple[Any, ...]) -> bool:
    return any(test(kind) for test in tests)


def _decoded(array: pa.Array, name: str, problems: list[str | None]) -> pa.Array:
    """Return text or bytes as string; a value that is not UTF-8 is mended and its row gets a problem."""
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        for row, value in enumerate(_as_bytes(array).to_pylist()):
            texts.append(None if value is None else value.decode("utf-8", errors="replace"))
            if value is not None and not _is_utf8(value):
                problems[row] = problems[row] or f"{name} is not UTF-8"
        return pa.array(texts, pa.string())
    return text


def _as_bytes(array: pa.Array) -> pa.Array:
    if not _is(array.type, _TEXTS):
        return array
    return array.cast(pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary())


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _list_of_text(array: pa.Array, name: str, problems: list[str | None]) -> pa.Array:
    """Return a list of anything as list of string, without its nulls."""
    flat, parents = pc.list_flatten(array), pc.list_parent_indices(array).to_pylist()
    inner: list[str | None] = [None] * len(flat)
    texts = as_text(plain(flat, name, inner) if not _is(flat.type, _LISTS) else pa.nulls(len(flat), pa.string()))
    if _is(flat.type, _LISTS):
        inner = [f"{name} is a list of lists"] * len(flat)
    rows: list[Any] = [[] if valid else None for valid in array.is_valid().to_pylist()]
    for parent, value, problem in zip(parents, texts.to_pylist(), inner, strict=True):
        problems[parent] = problems[parent] or problem
        if value is not None:
            rows[parent].append(value)
    return pa.array(rows, pa.list_(pa.string()))


def as_text(array: pa.Array) -> pa.Array:
    """Return what `plain` gives as string: 3.0 as '3', a list joined by ', '."""
    kind = array.type
    if pa.types.is_list(kind):
        return pa.array([None if v is None else ", ".join(v) for v in array.to_pylist()], pa.string())
    if pa.types.is_floating(kind):
        whole = pc.and_(pc.equal(array, pc.floor(array)), pc.less(pc.abs(array), 2.0**53))
        integers = pc.if_else(whole, array, pa.scalar(None, kind)).cast(pa.int64())
        return pc.coalesce(integers.cast(pa.string()), array.cast(pa.string()))
    return array.cast(pa.string())
