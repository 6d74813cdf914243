"""Windows: every training event is a target exactly once, and nothing of validation or test is ever seen."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motet.data.split import TEST, TRAIN, VALIDATION
from motet.estimates import Estimates, LabelSums, Later
from motet.kinds import LabelScale
from motet.training.batches import collate
from motet.training.windows import gaps_of, liking_of, train_rows, validation_rows, window_bounds

USERS = pa.table(
    {
        "user": ["a", "b"],
        "text": ["x", "x"],
        "slots": pa.array([[1], [2]], pa.list_(pa.int32())),
        "numbers": pa.array([[0.5], [1.5]], pa.list_(pa.float32())),
    }
)


def _text(texts: list[str]) -> np.ndarray:
    return np.full((len(texts), 3), 0.5, np.float32)


def _histories(*rows: tuple[str, list[int], list[int], list[float | None]]) -> pa.Table:
    """Histories whose events are 10, 20, 30, ... seconds after one another."""
    names = ("user", "items", "parts", "label:like")
    made = [dict(zip(names, row, strict=True)) for row in rows]
    times = [np.cumsum(10_000 * np.arange(len(row[1]))).tolist() for row in rows]
    return pa.Table.from_pylist([{**row, "timestamps": one} for row, one in zip(made, times, strict=True)])


@given(events=st.integers(0, 300), history=st.integers(1, 40))
def test_each_event_is_the_target_of_one_window_with_half_a_window_before_it(events: int, history: int) -> None:
    targets: list[int] = []
    for first, end, target in window_bounds(events, history):
        assert 0 <= first <= target < end <= events
        assert end - 1 - first <= history  # inputs: first..end-2
        # The first target of a window sees at least half a window, unless there are fewer events before it.
        assert target - first >= min(target, history // 2)
        targets += range(target, end)
    assert targets == list(range(events))


def test_bounds_by_hand() -> None:
    # 6 events, 3 inputs a window, stride 1: events 0..3 are targets of the first window; the second starts
    # 2 = 3 - 1 events before the last input of the first, at 4 - 1 - 2 = 1; the third at 5 - 1 - 2 = 2.
    assert list(window_bounds(6, 3)) == [(0, 4, 0), (1, 5, 4), (2, 6, 5)]


def test_rows_by_hand() -> None:
    table = train_rows(_histories(("b", [5, 6, 7, 8, 9], [0, 0, 0, 0, 0], [1.0, 0.0, None, 1.0, 0.0])), USERS, 3, _text)
    first, second = table.to_pylist()
    assert (first["items"], first["targets"]) == ([5, 6, 7], [5, 6, 7, 8])
    assert first["event:like"][:2] == [1.0, 0.0]
    assert np.isnan(first["event:like"][2])
    # Before event 5 is nothing; 10 seconds later 6, then 20, and 30 until the last target.
    assert np.isnan(first["gaps"][0])
    assert (first["gaps"][1:], second["gaps"]) == ([10, 20, 30], [10, 20, 30, 40])
    assert first["label:like"][:2] == [1.0, 0.0]
    assert np.isnan(first["label:like"][2])
    assert (second["items"], second["targets"]) == ([6, 7, 8], [-1, -1, -1, 9])
    assert np.isnan(second["label:like"][:3]).all()
    assert second["label:like"][3] == 0.0
    assert (first["user_slots"], first["user_numbers"], first["user_text"]) == ([2], [1.5], [0.5, 0.5, 0.5])


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from([TRAIN, VALIDATION, TEST])), max_size=60), st.integers(1, 9)
)
def test_nothing_of_validation_and_test_leaks_into_training_nor_test_into_validation(
    events: list[tuple[int, int]], history: int
) -> None:
    # An item's number says its part: train 0..50, validation 100..150, test 200..250; its like label says it too.
    items = [item + 100 * part for item, part in events]
    parts = [part for _, part in events]
    histories = _histories(("a", items, parts, [float(part == TRAIN) for part in parts]))
    train = train_rows(histories, USERS, history, _text).to_pylist()
    seen = [item for row in train for item in (*row["items"], *row["targets"])]
    assert all(item < 100 for item in seen)
    targets = sorted(item for row in train for item in row["targets"] if item >= 0)
    assert targets == sorted(item for item in items if item < 100)
    labels = np.array([x for row in train for x in row["label:like"]], np.float64)
    assert (labels[~np.isnan(labels)] == 1).all()
    assert (~np.isnan(labels)).sum() == len(targets)
    held = validation_rows(histories, USERS, history, _text).to_pylist()
    assert len(held) == (VALIDATION in parts)
    for row in held:
        assert row["items"] == [item for item in items if item < 100][-history:]
        assert row["seen"] == sorted({item for item in items if item < 100})
        assert row["targets"] == [item for item in items if 100 <= item < 200]
        assert row["label:like"] == [0.0] * len(row["targets"])


@pytest.mark.parametrize(("multiple_of", "rows"), [(1, 3), (2, 4), (5, 5)])
def test_padding_rows_make_an_equal_division_and_hold_no_event(multiple_of: int, rows: int) -> None:
    histories = _histories(("a", [1, 2, 3], [0] * 3, [1.0] * 3), ("b", [4] * 5, [0] * 5, [1.0] * 5))
    table = train_rows(histories, USERS, 3, _text, multiple_of).to_pylist()
    assert len(table) == rows
    for padding in table[3:]:
        assert (padding["items"], padding["targets"], padding["label:like"]) == ([], [-1], [None])
        assert padding["event:like"] == []


def test_users_without_a_training_event_have_no_row_but_the_columns_stay() -> None:
    histories = _histories(("a", [1, 2], [VALIDATION, TEST], [1.0, 1.0]))
    full = train_rows(_histories(("a", [1], [TRAIN], [1.0])), USERS, 3, _text)
    empty = train_rows(histories, USERS, 3, _text, multiple_of=4)
    assert empty.num_rows == 0
    assert empty.schema == full.schema
    held = validation_rows(histories, USERS, 3, _text)
    assert held.to_pylist()[0]["items"] == []
    none = validation_rows(_histories(("a", [1], [TRAIN], [1.0])), USERS, 3, _text)
    assert none.num_rows == 0
    assert none.schema == held.schema


def test_liking_and_gaps_by_hand() -> None:
    assert liking_of(np.array([0.0, 1.0, np.nan, 0.4, 0.6])).tolist() == [0, 1, 2, 0, 1]
    assert gaps_of(np.array([1_000, 4_500, 4_500]))[1:].tolist() == [3.5, 0.0]
    assert gaps_of(np.zeros(0, np.int64)).shape == (0,)


def _slates(slates: list[int], parts: list[int] | None = None) -> pa.Table:
    count = len(slates)
    row = ("a", list(range(count)), parts or [0] * count, [1.0] * count)
    return (
        _histories(row)
        .append_column("slate:best", pa.array([slates]))
        .append_column("weight:best", pa.array([[0.5] * count]))
    )


def test_a_slate_s_user_state_is_that_before_its_first_event() -> None:
    # Events 1 to 3 are one slate, 5 and 6 another; 0 and 4 are in none.
    (row,) = train_rows(_slates([-1, 7, 7, 7, -1, 8, 8]), USERS, 10, _text).to_pylist()
    assert row["slate:best"] == [-1, 1, 1, 1, -1, 5, 5]
    assert row["weight:best"] == [0.5] * 7


def test_a_slate_whose_beginning_the_window_lacks_is_left_out_of_it() -> None:
    # History 2: windows (0, 3, 0), (1, 4, 3), (2, 5, 4); their first inputs are events 0, 1 and 2.
    rows = train_rows(_slates([7, 7, 7, 7, 9]), USERS, 2, _text).to_pylist()
    assert [row["targets"] for row in rows] == [[0, 1, 2], [-1, -1, 3], [-1, -1, 4]]
    assert [row["slate:best"] for row in rows] == [[0, 0, 0], [-1, -1, -1], [-1, -1, 2]]


def test_a_slate_that_began_in_training_is_none_of_validation() -> None:
    histories = _slates([1, 2, 2, 3, 3], [TRAIN, TRAIN, VALIDATION, VALIDATION, VALIDATION])
    (row,) = validation_rows(histories, USERS, 4, _text).to_pylist()
    assert row["slate:best"] == [-1, 3, 3]
    assert row["gaps"][1:] == [10, 20]
    assert row["event:like"] == [1.0, 1.0]


def _asked(known: str, history: int = 9) -> list[tuple[list[int], list[int]]]:
    """Rows of someone with held-out events among and after the training events: (inputs, targets)."""
    parts = [TRAIN, VALIDATION, TRAIN, TEST, VALIDATION, TRAIN]
    histories = _histories(("a", [1, 2, 3, 4, 5, 6], parts, [1.0, 0.0, None, 1.0, 1.0, 0.0]))
    rows = validation_rows(histories, USERS, history, _text, None, known).to_pylist()
    return [(row["items"], row["targets"]) for row in rows]


def test_validation_knows_what_the_evaluation_will_know() -> None:
    assert _asked("parts") == [([1, 3, 6], [2, 5])]
    assert _asked("before") == [([1], [2]), ([1, 3], [5])]
    assert _asked("around") == _asked("before")
    assert _asked("rolling") == [([1], [2]), ([1, 2, 3], [5])]
    assert _asked("rolling", history=2) == [([1], [2]), ([2, 3], [5])]


def test_of_very_many_events_some_are_asked() -> None:
    histories = _histories(("a", list(range(1000)), [VALIDATION] * 1000, [1.0] * 1000))
    rows = validation_rows(histories, USERS, 3, _text, None, "rolling").to_pylist()
    assert [row["targets"][0] for row in rows[:2]] == [0, 52]
    assert (len(rows), rows[-1]["targets"]) == (20, [999])


def _estimates() -> Estimates:
    draw = np.random.default_rng(0)
    sums = LabelSums(draw.normal(size=(1, 20)), draw.integers(1, 9, (1, 20)).astype(float))
    scale = LabelScale(0.5, 0.5, 0.0, 1.0, True)
    return Estimates.fit([scale], sums, draw.normal(size=(1, 20, 20)).astype(np.float32))


def test_each_target_has_its_estimates_in_training_and_validation() -> None:
    items, labels = [5, 6, 7, 8, 9, 3, 4], [1.0, 0.0, None, 1.0, 0.0, 1.0, 1.0]
    histories = _histories(("b", items, [TRAIN] * 5 + [VALIDATION] * 2, labels))
    estimates = _estimates()
    train_NF = estimates.along(np.array(items[:5]), np.array(labels[:5], np.float32)[:, None])
    windows = train_rows(histories, USERS, 3, _text, 2, lambda _: estimates)
    batch = collate(windows, ["like"], 3)
    assert batch.estimates_BPF is not None
    targets_BP = batch.targets_BP.numpy()
    for place, item in enumerate(items[:5]):
        found = batch.estimates_BPF[torch.from_numpy(targets_BP == item)].numpy()
        np.testing.assert_allclose(found, train_NF[place : place + 1], atol=1e-6)
    assert (batch.estimates_BPF[batch.targets_BP < 0] == 0).all()
    held = collate(validation_rows(histories, USERS, 3, _text, estimates), ["like"], 3)
    assert held.estimates_BPF is not None
    asked_NF = estimates.of(np.array(items[:5]), np.array(labels[:5], np.float32)[:, None], np.array([3, 4]))
    np.testing.assert_allclose(held.estimates_BPF[0].numpy(), asked_NF, atol=1e-6)


def test_around_each_target_the_later_labels_of_train_are_known() -> None:
    items, labels = [5, 6, 7, 8, 9, 3, 4], np.array([1.0, 0.0, np.nan, 1.0, 0.0, 1.0, 1.0], np.float32)[:, None]
    parts = np.array([TRAIN, TRAIN, VALIDATION, TRAIN, TRAIN, TRAIN, VALIDATION])
    histories = _histories(("b", items, parts.tolist(), [None if np.isnan(one) else one for one in labels[:, 0]]))
    estimates, known = _estimates(), np.flatnonzero(parts == TRAIN)
    (row,) = train_rows(histories, USERS, 10, _text, 1, lambda _: estimates, around=True).to_pylist()
    expected_NF = estimates.around(np.array(items)[known], labels[known])
    np.testing.assert_allclose(np.array(row["estimates"], np.float32).reshape(5, -1), expected_NF, atol=1e-6)
    held = validation_rows(histories, USERS, 10, _text, estimates, "around").to_pylist()
    for row, place in zip(held, (2, 6), strict=True):
        first, last = known[known < place], known[known > place]
        later = Later(np.array(items)[last], labels[last])
        asked_NF = estimates.of(np.array(items)[first], labels[first], np.array([items[place]]), later)
        np.testing.assert_allclose(row["estimates"], asked_NF[0], atol=1e-6)


def test_events_of_a_slate_have_estimates_from_before_it() -> None:
    estimates = _estimates()
    (row,) = train_rows(_slates([-1, 7, 7, 7]), USERS, 10, _text, 1, lambda _: estimates).to_pylist()
    found_NF = np.array(row["estimates"], np.float32).reshape(len(row["targets"]), -1)
    assert row["targets"] == [0, 1, 2, 3]
    expected_NF = estimates.along(np.arange(4), np.ones((4, 1), np.float32), np.array([0, 1, 1, 1]))
    np.testing.assert_allclose(found_NF, expected_NF, atol=1e-6)
    assert not np.allclose(found_NF, estimates.along(np.arange(4), np.ones((4, 1), np.float32)))
