"""Rows are streamed once and then come from memory, if they fit."""

from collections.abc import Iterator
from itertools import chain

import pyarrow as pa
import pytest

from motet.training.row_cache import RowCache


class Stream:
    """Gives rows 0..9 in tables of 4 and notes the epochs that asked."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __call__(self, epoch: int) -> Iterator[pa.Table]:
        self.epochs.append(epoch)
        table = pa.table({"row": list(range(10))})
        yield from (table.slice(start, 4) for start in range(0, 10, 4))


def _rows(cache: RowCache, epoch: int, seed: int | None = 1, size: int = 3) -> list[list[int]]:
    return [table.column("row").to_pylist() for table in cache.batches(epoch, size, seed)]


@pytest.mark.parametrize(("limit", "epochs"), [(10, [0]), (9, [0, 1, 2]), (0, [0, 1, 2])])
def test_rows_are_kept_if_they_fit(limit: int, epochs: list[int]) -> None:
    stream = Stream()
    cache = RowCache(stream, limit)
    for epoch in range(3):
        assert sorted(chain.from_iterable(_rows(cache, epoch))) == list(range(10))
    assert stream.epochs == epochs


def test_kept_rows_are_shuffled_by_seed_and_epoch() -> None:
    cache = RowCache(Stream(), 100)
    list(cache.batches(0, 3, 1))
    assert _rows(cache, 1) == _rows(cache, 1)
    assert _rows(cache, 1) != _rows(cache, 2)
    assert _rows(cache, 1) != _rows(cache, 1, seed=2)
    assert [len(rows) for rows in _rows(cache, 1)] == [3, 3, 3, 1]
    assert _rows(cache, 1, seed=None) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_a_pass_that_was_not_finished_is_not_kept() -> None:
    stream = Stream()
    cache = RowCache(stream, 100)
    iterator = cache.batches(0, 3, 1)
    next(iterator)
    iterator.close()
    assert sorted(chain.from_iterable(_rows(cache, 0))) == list(range(10))
    assert stream.epochs == [0, 0]
