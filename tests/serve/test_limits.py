"""Deadlines, the budget of retries, and the door."""

import time

import pytest

from serve.calls import Deadline, RetryBudget
from serve.gate import Busy, Gate
from serve.meters import Meters


def test_a_deadline_runs_out_and_never_below_nothing():
    deadline = Deadline(0.02)
    assert 0 < deadline.left <= 0.02
    time.sleep(0.03)
    assert deadline.left == 0
    assert deadline.passed >= 0.03


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_retries_stay_within_a_share_of_the_calls(share):
    budget, calls, retries = RetryBudget(share), 1000, 0
    for _ in range(calls):  # every call fails, and would be made once more
        budget.earn()
        retries += budget.spend()
    assert retries == pytest.approx(share * calls, abs=2)


def test_saved_retries_are_few():
    budget = RetryBudget(0.1)
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10


def test_the_door_closes_when_the_house_is_full_and_opens_again():
    gate = Gate(2, Meters())
    with gate.enter(), gate.enter():
        with pytest.raises(Busy), gate.enter():
            pass
        assert gate.inside == 2
    assert gate.inside == 0
    with pytest.raises(ZeroDivisionError), gate.enter():
        raise ZeroDivisionError
    assert gate.inside == 0
