"""Columns that labels may read without their being in the log."""

import numpy as np
import pyarrow as pa

from motet.data.histories import DAY_MS, days_until_again, label_columns, part_ends
from motet.task import Task


def _events(rows: list[tuple[str, str, float, int]]) -> pa.Table:
    users, items, days, parts = zip(*rows, strict=True)
    return pa.table(
        {
            "user": list(users), "item": list(items), "timestamp": [round(day * DAY_MS) for day in days],
            "part": pa.array(parts, pa.int8()),
        }
    )  # fmt: skip


def test_days_until_again_by_hand() -> None:
    events = _events(
        [("u", "milk", 0, 0), ("u", "bread", 1, 0), ("u", "milk", 3.5, 0), ("u", "milk", 10, 2), ("v", "milk", 4, 0)]
    )
    # the third milk comes in a later part: in train nobody can know of it
    assert days_until_again(events).to_pylist() == [3.5, np.inf, np.inf, np.inf, np.inf]


def test_a_later_part_changes_no_label_of_train() -> None:
    task = Task(name="again", kind="binary", label="days_until_again <= 28", delay_days=28)
    boundaries = (40 * DAY_MS, 60 * DAY_MS, 90 * DAY_MS)
    known = [("u", "milk", 5, 0), ("u", "milk", 30, 0), ("u", "tea", 10, 0)]
    labels = {}
    for name, future in {"once more": [("u", "milk", 45, 1)], "never": [("u", "soap", 45, 1)]}.items():
        events = _events(known + future)
        table = label_columns(events, [task], part_ends(events, boundaries, 90 * DAY_MS))
        labels[name] = table.column("label:again").to_pylist()[:3]
    # day 5 to 30 is again within 28 days; day 30 is too young at day 40 to tell; day 10 is old enough to be a no
    assert labels["once more"] == labels["never"] == [1.0, None, 0.0]


def test_feedback_is_known_until_the_end_of_the_log_without_a_split_by_time() -> None:
    events = _events([("u", "milk", 0, 0), ("u", "tea", 1, 1)])
    assert part_ends(events, None, 7).to_pylist() == [7, 7]
    assert part_ends(events, (1, 2, 3), None).to_pylist() == [1, 2]
