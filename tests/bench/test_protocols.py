"""The protocols of the quality benchmark on rows whose parts are known."""

import csv
from pathlib import Path

import numpy as np

from bench import protocols


def _log(users: list[int], moments: list[int]) -> protocols.Log:
    count = len(users)
    return protocols.Log(np.array(users), np.arange(count) + 100, np.full(count, 4.0), np.array(moments))


def test_the_total_order_is_time_user_item(tmp_path: Path) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user_id,item_id,rating,timestamp\n2,9,4,7\n1,9,3,7\n1,5,2,7\n3,1,5,2\n")
    log = protocols.Log.read(path)
    assert list(zip(log.user_N, log.item_N, log.moment_N, strict=True)) == [
        (3, 1, 2000), (1, 5, 7000), (1, 9, 7000), (2, 9, 7000),
    ]  # fmt: skip


def test_windows_by_time() -> None:
    log = _log([1] * 100, list(range(100)))
    # floor(0.3 x 99) = 29, floor(0.4 x 99) = 39, floor(0.5 x 99) = 49
    assert np.bincount(protocols.by_time(log, 0.5)).tolist() == [30, 10, 10, 50]


def test_leave_one_out_takes_the_last_two_of_each() -> None:
    log = _log([1, 2, 1, 1, 2, 2], [10, 5, 30, 20, 6, 7])
    assert protocols.leave_one_out(log).tolist() == [0, 0, 2, 1, 1, 2]


def test_ties_get_an_order_and_nothing_else_moves() -> None:
    log = _log([1, 1, 1, 2, 1], [1000, 1000, 1000, 1000, 9000])
    moved = protocols.with_random_ties(log)
    assert sorted(moved.moment_N[:3]) == [1000, 1001, 1002]
    assert moved.moment_N[3:].tolist() == [1000, 9000]
    assert (protocols.with_random_ties(log).moment_N == moved.moment_N).all()


def test_a_random_split_has_its_shares() -> None:
    assert np.bincount(protocols.at_random(_log([1] * 50, list(range(50))))).tolist() == [35, 5, 10]


def test_a_split_file_holds_what_is_used(tmp_path: Path) -> None:
    log = _log([1, 2, 3], [1, 2, 3])
    log.write(tmp_path / "a" / "split.csv", np.array([0, 2, 3]))
    with (tmp_path / "a" / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["user_id"], row["fold"]) for row in rows] == [("1", "train"), ("2", "test")]
