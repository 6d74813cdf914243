"""The bottom-k sample: exact when small, and independent of how the rows were divided."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from motet.data.sample import merge_samples, row_priority, take_sample


def _table(rows: int) -> pa.Table:
    files = pa.array([f"f{n % 3}" for n in range(rows)], pa.string())
    return pa.table({"x": pa.array(range(rows), pa.int64()), "_file": files, "_row": pa.array(range(rows), pa.int64())})


def _chosen(sample: pa.Table) -> list[int]:
    return sample.column("x").to_pylist()


def test_a_small_table_is_taken_whole() -> None:
    assert sorted(_chosen(take_sample(_table(7), ["x"], 7))) == list(range(7))
    assert take_sample(_table(0), ["x"], 7).num_rows == 0


def test_the_rows_of_lowest_priority_are_taken() -> None:
    table = _table(50)
    lowest = np.argsort(row_priority(table))[:10].tolist()
    assert _chosen(take_sample(table, ["x"], 10)) == lowest


@given(st.lists(st.integers(0, 40), max_size=5), st.integers(1, 20), st.randoms(use_true_random=False))
def test_any_division_gives_the_same_sample(cuts: list[int], size: int, random) -> None:
    table = _table(40)
    ends = [0, *sorted(cuts), 40]
    parts = [take_sample(table.slice(a, b - a), ["x"], size) for a, b in pairwise(ends)]
    random.shuffle(parts)
    whole = take_sample(table, ["x"], size)
    assert _chosen(merge_samples(parts, size)) == _chosen(whole)
    in_steps = parts[0]
    for part in parts[1:]:
        in_steps = merge_samples([in_steps, part], size)
    assert _chosen(in_steps) == _chosen(whole)


def test_the_sample_is_even() -> None:
    # 1,000 of 10,000: 500 of them below the middle, standard deviation of the hypergeometric about 15
    below = sum(n < 5000 for n in _chosen(take_sample(_table(10_000), ["x"], 1000)))
    assert abs(below - 500) < 5 * 15


def test_a_row_has_its_priority_wherever_it_is_read() -> None:
    table = _table(20)
    assert row_priority(table.slice(5, 3)).tolist() == row_priority(table)[5:8].tolist()
    assert len(set(row_priority(table).tolist())) == 20
