"""Rows to padded tensors: inputs on the right end, output 0 before any event."""

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given
from hypothesis import strategies as st

from motet.training.batches import collate
from motet.training.windows import train_rows, validation_rows

USERS = pa.table(
    {
        "user": ["a", "b", "c"],
        "text": ["", "x", ""],
        "slots": pa.array([[1, 3], [], [2]], pa.list_(pa.int32())),
        "numbers": pa.array([[], [], []], pa.list_(pa.float32())),
    }
)


def _text(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), 1.0] for text in texts], np.float32).reshape(-1, 2)


def _histories(lengths: list[int], held: int = 0) -> pa.Table:
    rows = [
        {
            "user": user,
            "items": [10 * place + step for step in range(n + held)],
            "parts": [0] * n + [1] * held,
            "timestamps": [1_000 * step * step for step in range(n + held)],
            "label:like": [float(step % 2) for step in range(n + held)],
        }
        for place, (user, n) in enumerate(zip("abc", lengths, strict=False))
    ]
    return pa.Table.from_pylist(rows)


def test_a_batch_by_hand() -> None:
    batch = collate(train_rows(_histories([3, 1]), USERS, 4, _text), ["like"], 4)
    assert batch.items_BS.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert batch.valid_BS.tolist() == [[False, False, True, True], [False] * 4]
    assert batch.events_BST[0, 2:, 0].tolist() == [0.0, 1.0]
    assert batch.events_BST[0, :2].isnan().all()
    assert batch.events_BST[1].isnan().all()
    # Events at 0, 1 and 4 seconds: event 1 came one second after event 0, and event 2 three after that.
    assert batch.gaps_BS.nan_to_num(-1).tolist() == [[-1, -1, -1, 1], [-1, -1, -1, -1]]
    assert batch.away_BP.nan_to_num(-1).tolist() == [[-1, -1, -1, 1, 3], [-1, -1, -1, -1, -1]]
    assert batch.weights_BPT is None
    assert batch.slates_BPT is None
    # Output 0 is before any event: its target is the first event. The last output, after event 1, has event 2.
    assert batch.targets_BP.tolist() == [[0, -1, -1, 1, 2], [10, -1, -1, -1, -1]]
    known = ~batch.labels_BPT[..., 0].isnan()
    assert known.tolist() == [[True, False, False, True, True], [True, False, False, False, False]]
    assert batch.labels_BPT[0, known[0], 0].tolist() == [0.0, 1.0, 0.0]
    assert batch.text_BX.tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert batch.slots_BL.tolist() == [[1, 3], [0, 0]]
    assert batch.numbers_BM.tolist() == [[0.0], [0.0]]
    assert batch.seen_BN is None


def test_signals_are_read_of_inputs_behind_their_labels() -> None:
    histories = _histories([3, 1], held=1)
    values = [[10.0, None, 12.0, 13.0], [20.0, 21.0]]
    histories = histories.append_column("signal:price", pa.array(values, pa.list_(pa.float32())))
    rows = train_rows(histories, USERS, 4, _text, multiple_of=3)
    batch = collate(rows, ["like"], 4)
    assert batch.labels_BPT.shape[-1] == 1
    assert batch.events_BST[0, 2:].nan_to_num(-1).tolist() == [[0.0, 10.0], [1.0, -1.0]]
    assert batch.events_BST[1:].isnan().all()
    held = collate(validation_rows(histories, USERS, 2, _text), ["like"], 2)
    assert held.events_BST[0].nan_to_num(-1).tolist() == [[1.0, -1.0], [0.0, 12.0]]
    assert held.events_BST[1, 1].tolist() == [0.0, 20.0]


def test_a_validation_batch_by_hand() -> None:
    batch = collate(validation_rows(_histories([3, 1], held=2), USERS, 2, _text), ["like"], 2)
    assert batch.items_BS.tolist() == [[1, 2], [0, 10]]
    assert batch.targets_BP.tolist() == [[3, 4], [11, 12]]
    assert batch.labels_BPT[..., 0].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert batch.gaps_BS.nan_to_num(-1).tolist() == [[1, 3], [-1, -1]]
    assert batch.away_BP.nan_to_num(-1).tolist() == [[-1, -1, 5], [-1, -1, 1]]  # until the first target
    assert batch.seen_BN is not None
    assert batch.seen_BN.tolist() == [[0, 1, 2], [10, -1, -1]]


@given(st.lists(st.integers(0, 25), min_size=1, max_size=3), st.integers(1, 8))
def test_each_target_stands_at_the_output_after_the_event_before_it(lengths: list[int], history: int) -> None:
    table = train_rows(_histories(lengths), USERS, history, _text, multiple_of=3)
    if table.num_rows == 0:
        return
    batch = collate(table, ["like"], history)
    found = []
    for row, column in torch.nonzero(batch.targets_BP >= 0).tolist():
        target = int(batch.targets_BP[row, column])
        found.append(target)
        if target % 10 == 0 and column == 0:
            continue
        assert batch.valid_BS[row, column - 1]
        assert int(batch.items_BS[row, column - 1]) == target - 1
    assert sorted(found) == sorted(10 * place + step for place, n in enumerate(lengths) for step in range(n))


def test_a_batch_of_padding_alone_has_no_target_and_no_label() -> None:
    table = train_rows(_histories([1]), USERS, 3, _text, multiple_of=4).slice(1)
    batch = collate(table, ["like"], 3)
    assert not batch.valid_BS.any()
    assert (batch.targets_BP == -1).all()
    assert batch.labels_BPT.isnan().all()


def test_to_the_same_device_changes_nothing() -> None:
    batch = collate(train_rows(_histories([3]), USERS, 4, _text), [], 4)
    assert batch.to(torch.device("cpu")) is batch
    assert batch.labels_BPT.shape == (1, 5, 0)


def test_weights_and_slates_of_the_tasks_that_have_them_by_hand() -> None:
    histories = _histories([3, 1]).append_column("weight:like", pa.array([[0.5, 1.0, 2.0], [3.0]]))
    histories = histories.append_column("slate:like", pa.array([[-1, 4, 4], [4]]))
    batch = collate(train_rows(histories, USERS, 4, _text), ["like"], 4)
    known = batch.targets_BP >= 0
    assert batch.weights_BPT is not None
    assert batch.weights_BPT[known][:, 0].tolist() == [0.5, 1.0, 2.0, 3.0]
    assert batch.slates_BPT is not None
    # The slate of events 1 and 2 begins after event 0, whose output is the fourth of five; the other before any event.
    assert batch.slates_BPT[..., 0].tolist() == [[-1, -1, -1, 3, 3], [0, -1, -1, -1, -1]]
