"""Calls of a step: retried once if it fails or is slow, within a budget and the deadline; releases never mix."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest

from motet.errors import RequestError
from serve.calls import Deadline, Down, Late, RetryBudget, Step
from serve.held import MixedReleases, SameRelease


class Response:
    """What a handle returns: done after some seconds, with a value or an error."""

    def __init__(self, seconds, outcome):
        self.seconds, self.outcome, self.cancelled = seconds, outcome, False

    def __await__(self):
        return self._answer().__await__()

    async def _answer(self):
        await asyncio.sleep(self.seconds)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def cancel(self):
        self.cancelled = True


class Handle:
    """Answers one call after another as it was told."""

    def __init__(self, *answers):
        self.answers, self.sent = list(answers), []

    def options(self, **_):
        return self

    @property
    def run(self):
        return SimpleNamespace(remote=self._remote)

    def _remote(self, *args):
        self.sent.append(Response(*self.answers[len(self.sent)]))
        return self.sent[-1]


class Counted:
    """Meters that remember."""

    def __init__(self):
        self.retries, self.steps = Counter(), Counter()

    def retry(self, step):
        self.retries[step] += 1

    def step(self, step, seconds):
        self.steps[step] += 1


def call(handle, share=1.0, seconds=0.4):
    """Return (the answer or the error, the meters)."""
    meters = Counted()

    async def ask():
        step = Step("reranker", handle, RetryBudget(share), meters)
        try:
            return await step.call("run", 1, deadline=Deadline(seconds))
        except (Late, Down, RequestError) as error:
            return error

    return asyncio.run(ask()), meters


def test_a_call_that_fails_is_made_once_more():
    handle = Handle((0.0, OSError("gone")), (0.0, "second"))
    answer, meters = call(handle)
    assert (answer, len(handle.sent), meters.retries) == ("second", 2, {"reranker": 1})
    handle = Handle((0.0, OSError("gone")), (0.0, OSError("gone too")), (0.0, "third"))
    answer, meters = call(handle)
    assert isinstance(answer, Down)
    assert (len(handle.sent), meters.retries) == (2, {"reranker": 1})


def test_a_call_that_takes_half_of_what_is_left_is_made_beside_it_and_the_first_answer_counts():
    handle = Handle((5.0, "first"), (0.0, "second"))
    answer, meters = call(handle)
    assert (answer, meters.retries) == ("second", {"reranker": 1})
    assert [one.cancelled for one in handle.sent] == [True, False]
    handle = Handle((0.3, "first"), (5.0, "second"))
    assert call(handle)[0] == "first"
    assert [one.cancelled for one in handle.sent] == [False, True]


def test_without_a_token_there_is_no_second_call():
    handle = Handle((0.0, OSError("gone")))
    answer, meters = call(handle, share=0.0)
    assert isinstance(answer, Down)
    assert (len(handle.sent), meters.retries) == (1, {})
    handle = Handle((0.3, "slow"))
    assert call(handle, share=0.0)[0] == "slow"
    assert len(handle.sent) == 1


def test_what_is_not_there_by_the_deadline_is_late_and_a_refusal_is_no_failure():
    handle = Handle((5.0, "first"), (5.0, "second"))
    answer, meters = call(handle, seconds=0.2)
    assert isinstance(answer, Late)
    assert all(one.cancelled for one in handle.sent)
    assert meters.steps == {"reranker": 1}
    handle = Handle((0.0, RequestError("no such surface")))
    answer, meters = call(handle)
    assert str(answer) == "no such surface"
    assert meters.retries == {}


def test_retries_are_a_share_of_the_calls_after_the_first():
    budget, spent = RetryBudget(0.1), 0
    for _ in range(1000):
        budget.earn()
        spent += budget.spend()
    assert 95 <= spent <= 101
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(50)) == 10  # no more are saved


def test_parts_of_another_release_are_refused_and_counted(monkeypatch):
    same, counted = SameRelease("retriever"), []
    monkeypatch.setattr(same, "_mixed", SimpleNamespace(inc=lambda number, tags: counted.append((number, tags))))
    mine, other = SimpleNamespace(release="one"), SimpleNamespace(release="two")
    same.require("one", mine, mine)
    assert counted == []
    with pytest.raises(MixedReleases, match="of 'two' in a request of 'one'"):
        same.require("one", mine, other)
    assert counted == [(1, {"step": "retriever"})]
