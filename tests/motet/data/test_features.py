"""Fitted features by hand; the same numbers offline and online, before and after JSON."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.features import FeatureSpec, FitState, fit_number
from motet.data_settings import Clean, Entity, Missing

_ENTITY = Entity(path="x", id="id", categories=("genre", "tag"), numbers=("year",))


def _table(genre: list[Any], tag: list[Any], year: list[Any]) -> pa.Table:
    lists = pa.list_(pa.string())
    columns = {"genre": pa.array(genre, lists), "tag": pa.array(tag, lists), "year": pa.array(year, pa.float64())}
    rows = len(genre)
    return pa.table({**columns, "_file": ["f"] * rows, "_row": pa.array(range(rows), pa.int64())})


_TRAIN = _table([["b", "a"], ["b"], None, []], [["x"], None, ["x"], ["y"]], [2000.0, 2004.0, None, 2008.0])


def _fit(table: pa.Table = _TRAIN, **clean: Any) -> FeatureSpec:
    state = FitState(_ENTITY)
    state.add(table)
    return state.fit(Clean(**clean))


def test_vocabulary_and_slots_by_hand() -> None:
    # 0 is padding; genre: 1 unknown, 2 b (twice), 3 a; tag: 4 unknown, 5 x (twice), 6 y
    spec = _fit()
    genre, tag = spec.categories
    assert (genre.offset, genre.vocabulary, genre.fill, genre.slots) == (1, ("b", "a"), 1, 3)
    assert (tag.offset, tag.vocabulary, tag.fill, tag.slots) == (4, ("x", "y"), 4, 3)
    assert spec.slots == 7


def test_apply_by_hand() -> None:
    # year: median 2004, clipped to nothing; values 2000 2004 2004 2008: mean 2004, variance 32 / 4 = 8
    applied = _fit().apply(_TRAIN)
    assert applied.column("slots").to_pylist() == [[2, 3, 5], [2, 4], [1, 5], [1, 6]]
    expected = [-4 / 8**0.5, 0.0, 0.0, 4 / 8**0.5]
    assert [row[0] for row in applied.column("numbers").to_pylist()] == pytest.approx(expected)
    assert applied.schema.types == [pa.list_(pa.int32()), pa.list_(pa.float32())]


@pytest.mark.parametrize(
    ("genre", "slots"),
    [(["z"], [1]), (["z", "q"], [1]), (["b", "z"], [1, 2]), (["b", "b"], [2]), (["a", "b"], [2, 3]), ([], [1])],
)
def test_unknown_repeated_and_several_values(genre: list[str], slots: list[int]) -> None:
    applied = _fit().apply(_table([genre], [["x"]], [2004.0]))
    assert applied.column("slots").to_pylist() == [[*slots, 5]]


def test_the_most_frequent_category_stands_in() -> None:
    spec = _fit(missing={"categories": "most_frequent"})
    assert spec.apply(_table([None, ["z"]], [[], ["y"]], [None, None])).column("slots").to_pylist() == [[2, 5], [1, 6]]


def test_without_any_category_unknown_stands_in() -> None:
    spec = _fit(_table([None], [None], [None]), missing={"categories": "most_frequent"})
    assert [(one.vocabulary, one.fill) for one in spec.categories] == [((), 1), ((), 2)]
    assert spec.apply(_TRAIN).column("slots").to_pylist() == [[1, 2]] * 4


def test_a_limited_vocabulary_keeps_the_most_frequent_and_breaks_ties_by_name() -> None:
    spec = _fit(_table([["c"], ["b"], ["a", "c"]], [None] * 3, [1.0] * 3), max_vocabulary=2)
    assert spec.categories[0].vocabulary == ("c", "a")


def test_a_missing_column_counts_as_missing_values() -> None:
    spec = _fit()
    none = spec.apply(pa.table({"id": ["u", "v"]}))
    nulls = spec.apply(_table([None] * 2, [None] * 2, [None] * 2))
    assert none.equals(nulls)
    assert none.column("slots").to_pylist() == [[1, 4]] * 2


@pytest.mark.parametrize(
    ("how", "outliers", "low", "high", "fill"),
    [
        # 1 2 3 4 100 and one missing: median 3, mean 22
        ("median", (0.0, 1.0), 1, 100, 3),
        ("mean", (0.0, 1.0), 1, 100, 22),
        (7.0, (0.0, 1.0), 1, 100, 7),
        # the quantile 0.75 stands on 4: 1 2 3 4 4, mean 2.8
        ("mean", (0.0, 0.75), 1, 4, 2.8),
        # a constant outside of the range widens it, so that it is not clipped away
        (-5.0, (0.0, 0.75), -5, 4, -5),
        (50.0, (0.25, 0.75), 2, 50, 50),
    ],
)
def test_numbers_by_hand(how: Any, outliers: tuple[float, float], low: float, high: float, fill: float) -> None:
    values = pa.chunked_array([[1.0, 2.0, None], [3.0, 4.0, 100.0]])
    feature = fit_number("n", values, Clean(outliers=outliers, missing=Missing(numbers=how)))
    assert (feature.low, feature.high, feature.fill) == pytest.approx((low, high, fill))
    clipped = np.clip([1, 2, 3, 4, 100], *np.quantile([1, 2, 3, 4, 100], outliers))
    filled = [*clipped, fill]
    assert (feature.mean, feature.std) == pytest.approx((np.mean(filled), np.std(filled)))


@pytest.mark.parametrize("values", [[], [None, None]])
def test_a_column_without_values_gives_zeros(values: list[None]) -> None:
    feature = fit_number("n", pa.chunked_array([pa.array(values, pa.float64())]), Clean())
    spec = FeatureSpec(numbers=(feature,))
    assert spec.apply(pa.table({"n": pa.array([5.0, None])})).column("numbers").to_pylist() == [[0.0], [0.0]]


def test_a_constant_column_gives_zeros() -> None:
    feature = fit_number("n", pa.chunked_array([[3.0, 3.0, None]]), Clean())
    assert (feature.std, feature.mean) == (1.0, 3.0)
    applied = FeatureSpec(numbers=(feature,)).apply(pa.table({"n": [3.0, 9.0]}))
    assert applied.column("numbers").to_pylist() == [[0.0], [0.0]]


def test_the_largest_numbers_of_the_contract_stay_finite() -> None:
    feature = fit_number("n", pa.chunked_array([[3.4e38, -3.4e38, 0.0]]), Clean())
    applied = FeatureSpec(numbers=(feature,)).apply(pa.table({"n": [3.4e38, -3.4e38, None]}))
    # variance 2 x 3.4e38 squared / 3: the ends stand at the root of 3 / 2
    assert applied.column("numbers").combine_chunks().flatten().to_pylist() == pytest.approx([1.5**0.5, -(1.5**0.5), 0])


def test_values_beyond_the_range_are_clipped() -> None:
    spec = _fit()
    years = spec.apply(_table([None] * 2, [None] * 2, [1900.0, 2100.0])).column("numbers").to_pylist()
    assert [row[0] for row in years] == pytest.approx([-4 / 8**0.5, 4 / 8**0.5])


_CELL = st.none() | st.lists(st.sampled_from(["a", "b", "c", "z"]), max_size=3)
_ROWS = st.lists(
    st.tuples(_CELL, _CELL, st.none() | st.floats(-1e6, 1e6)), min_size=1, max_size=8
)  # fmt: skip


@given(_ROWS, st.sampled_from(["mean", "median", 3.5]), st.sampled_from([(0.0, 1.0), (0.1, 0.9)]))
def test_json_and_single_rows_give_the_same_numbers(rows: list[tuple], how: Any, outliers: Any) -> None:
    table = _table(*map(list, zip(*rows, strict=True)))
    spec = _fit(table, missing={"numbers": how}, outliers=outliers)
    again = FeatureSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json"))))
    whole = spec.apply(table)
    assert again.apply(table).equals(whole)
    for place in range(len(rows)):
        assert spec.apply(table.slice(place, 1)).to_pylist() == whole.slice(place, 1).to_pylist()


@given(_ROWS, st.integers(0, 8))
def test_fitting_in_parts_is_fitting_the_whole(rows: list[tuple], cut: int) -> None:
    table = _table(*map(list, zip(*rows, strict=True)))
    merged = FitState(_ENTITY)
    for part in (table.slice(0, cut), table.slice(cut)):
        state = FitState(_ENTITY)
        if part.num_rows:
            state.add(part)
        merged.merge_row(json.loads(json.dumps(state.to_row())))
    whole, parts = _fit(table), merged.fit(Clean())
    assert parts.categories == whole.categories
    for one, other in zip(parts.numbers, whole.numbers, strict=True):
        assert one.model_dump(exclude={"name"}) == pytest.approx(other.model_dump(exclude={"name"}))


def test_unit_rows_by_hand() -> None:
    # slots 2, 3 and 5 of 7: a third each at places 1, 2, 4; the number -2; length = root(3 / 9 + 4)
    spec = _fit()
    (row,) = spec.unit_rows([[2, 3, 5]], np.array([[-2.0]]))
    assert row * (1 / 3 + 4) ** 0.5 == pytest.approx([0, 1 / 3, 1 / 3, 0, 1 / 3, 0, -2.0])
    assert np.linalg.norm(row) == pytest.approx(1.0)
    assert (spec.width, row.dtype) == (7, np.float32)


def test_a_row_of_nothing_is_zero() -> None:
    assert _fit().unit_rows([[]], np.array([[0.0]])).tolist() == [[0.0] * 7]


def test_a_spec_without_features() -> None:
    applied = FeatureSpec().apply(pa.table({"id": ["a", "b"]}))
    assert applied.to_pylist() == [{"slots": [], "numbers": []}] * 2
    assert (FeatureSpec().slots, FeatureSpec().width) == (1, 0)
