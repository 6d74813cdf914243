"""Follower: the Gateway's side of the Conductor. It knows by which release each request is answered."""

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from motet.errors import MotetError, RequestError
from motet.release.canary import Outcomes, gets_candidate
from serve.front import Front
from serve.gate import Busy
from serve.held import Held
from serve.state import State

_PAUSE_S, _PATIENCE_S, _PERIOD_S = 0.25, 5.0, 0.5
_log = logging.getLogger("ray.serve")


class Follower:
    """Asks the Conductor four times a second, and reports what came of the answers.

    Args:
        conductor: handle of the Conductor; None stays with one release.
        fronts: this Gateway's part of the releases.
    """

    def __init__(self, conductor: DeploymentHandle | None, fronts: Held[Front]) -> None:
        self.conductor = None if conductor is None else conductor.options(_by_reference=False)
        self.fronts, self.name = fronts, uuid.uuid4().hex
        self.state = State(fronts.names[0])
        self._front = fronts.oldest
        self._candidate: Front | None = None
        self.outcomes: dict[str, Outcomes] = defaultdict(Outcomes)
        self._silent, self._taking = False, asyncio.Lock()
        self._task = asyncio.get_running_loop().create_task(self._follow()) if conductor is not None else None

    @property
    def front(self) -> Front:
        """The release that requests are answered by."""
        return self._front

    def front_for(self, user: str | None) -> Front:
        """Return the release for one who asks: the candidate for some known by an id, else the active one."""
        canary = self.state.canary
        if canary is None or self._candidate is None or user is None:
            return self._front
        return self._candidate if gets_candidate(user, canary.release, canary.settings.share) else self._front

    async def _follow(self) -> None:
        while True:
            try:
                await self.take(await self._ask())
                self._silent = False
            except (RayActorError, DeploymentUnavailableError, BackPressureError, TimeoutError, MotetError) as error:
                if not self._silent:
                    _log.warning("no word of the conductor, or not to be followed: %s; all stays as it is", error)
                self._silent = True
            await asyncio.sleep(_PAUSE_S)

    async def _ask(self) -> State:
        assert self.conductor is not None
        call = self.conductor.report.remote(self.name, self._front.release, self.state.candidate, dict(self.outcomes))
        state = await asyncio.wait_for(call, _PATIENCE_S)
        assert isinstance(state, State)
        return state

    async def take(self, state: State) -> None:
        """Do as the Conductor says.

        Raises:
            ReleaseError: if this Gateway cannot load what the steps could; it goes on with what it has.
        """
        async with self._taking:
            if not state.is_older_than(self.state):  # else an answer that another one overtook
                await self._take(state)

    async def _take(self, state: State) -> None:
        active = state.active or self._front.release
        kept = [name for name in (self._front.release, active, state.candidate) if name is not None]
        await asyncio.to_thread(self.fronts.hold, kept)
        if state.candidate != self.state.candidate:
            self.outcomes.clear()
        self._front = self.fronts.of(active)
        self._candidate = self.fronts.of(state.candidate) if state.candidate is not None else None
        self.state = state

    async def keep_up(self) -> None:
        """Read the logs twice a second, for answers that cannot wait for it; one that cannot be read is tried again."""
        unread = False
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await asyncio.to_thread(self.catch_up)
                unread = False
            except MotetError as error:
                if not unread:
                    _log.warning("answers go without the latest of the logs: %s", error)
                unread = True

    def catch_up(self) -> None:
        """Read the logs for every release that answers."""
        for front in (self._front, self._candidate):
            if front is not None:
                front.catch_up()

    def count(self, front: Front, seconds: float, full: bool) -> None:
        """Count an answer, while a candidate is tried out."""
        if self.state.candidate is not None:
            self.outcomes[front.release].count(seconds, full)

    @contextmanager
    def counts_failure(self, front: Front) -> Iterator[None]:
        """Count an error of the server, while a candidate is tried out; refusals are none."""
        try:
            yield
        except (RequestError, Busy):
            raise
        except Exception:
            if self.state.candidate is not None:
                self.outcomes[front.release].failed += 1
            raise
