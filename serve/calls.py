"""A call of a step of the graph: within a deadline, with at most one retry, and retries within a budget.

    StepFailed
    ├── Late    no answer within what was left of the deadline
    └── Down    the step failed, and so did its retry if there was one

A RequestError of the step itself is passed on as it is.
"""

import asyncio
import time
from typing import Any

from ray.serve.handle import DeploymentHandle

from motet.errors import RequestError
from serve.meters import Meters

_MOST_SAVED = 10.0


class StepFailed(Exception):
    """A step gave no answer; `because` says why in one word."""

    because = "failed"

    def __init__(self, step: str) -> None:
        super().__init__(f"{step}: {self.because}")
        self.step = step


class Late(StepFailed):
    """A step did not answer in time."""

    because = "late"


class Down(StepFailed):
    """A step answered with an error."""

    because = "down"


class Deadline:
    """A moment by which all must be done."""

    def __init__(self, seconds: float) -> None:
        self.start = time.monotonic()
        self.end = self.start + seconds

    @property
    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self.end - time.monotonic())

    @property
    def passed(self) -> float:
        """Seconds since it was set."""
        return time.monotonic() - self.start


class RetryBudget:
    """A bucket of tokens: each call adds a share of one, a retry takes one; ten are kept at most.

    Args:
        share: most retries, as a share of the calls.
    """

    def __init__(self, share: float) -> None:
        self.share, self.tokens = share, 1.0 if share > 0 else 0.0

    def earn(self) -> None:
        """Count a call."""
        self.tokens = min(self.tokens + self.share, max(_MOST_SAVED, 1.0))

    def spend(self) -> bool:
        """Take a token, if there is a whole one."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Step:
    """One step of the graph as the Gateway calls it.

    A call that failed, or that took half of what was left, is made once more if the budget has a token. Serve sends the
    second one to the replica with the fewest calls in flight, which is another one if there is another. The first
    answer counts; what is still under way is cancelled.

    Args:
        name: for errors and metrics.
        handle: the deployment.
        budget: of its retries.
        meters: what is counted.
    """

    def __init__(self, name: str, handle: DeploymentHandle, budget: RetryBudget, meters: Meters) -> None:
        self.name, self.budget, self.meters = name, budget, meters
        self.handle = handle.options(_by_reference=False)

    async def call(self, method: str, *args: Any, deadline: Deadline) -> Any:
        """Return what a method of the step answers.

        Raises:
            RequestError: if the step refuses what is asked.
            Late: if there is no answer before the deadline.
            Down: if the step fails.
        """
        began, tries = time.monotonic(), [self._send(method, args)]
        self.budget.earn()
        try:
            return await self._first_answer(tries, method, args, deadline)
        finally:
            for response, task in tries:
                _cancel(response, task)
            self.meters.step(self.name, time.monotonic() - began)

    async def _first_answer(self, tries: list[Any], method: str, args: tuple[Any, ...], deadline: Deadline) -> Any:
        pending, patience = {task for _, task in tries}, deadline.left / 2
        while pending:
            wait = patience if len(tries) == 1 else deadline.left
            done, pending = await asyncio.wait(pending, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result()
                if isinstance(error, RequestError):
                    raise error
            if deadline.left == 0:
                raise Late(self.name)
            if len(tries) == 1 and self.budget.spend():
                self.meters.retry(self.name)
                tries.append(self._send(method, args))
                pending.add(tries[-1][1])
            elif len(tries) == 1:
                patience = deadline.left
        raise Down(self.name)

    def _send(self, method: str, args: tuple[Any, ...]) -> tuple[Any, "asyncio.Task[Any]"]:
        response = getattr(self.handle, method).remote(*args)
        return response, asyncio.ensure_future(_await(response))


async def _await(response: Any) -> Any:
    return await response


def _cancel(response: Any, task: "asyncio.Task[Any]") -> None:
    if task.done():
        if not task.cancelled():
            task.exception()
        return
    response.cancel()
    task.cancel()
    task.add_done_callback(lambda one: one.cancelled() or one.exception())
