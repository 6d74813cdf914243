"""Conductor: the one process that says which release is served, which is tried out, and with which weights.

    CURRENT, CANDIDATE --looked at--> Conductor --hold(releases)--> every Embedder, Retriever, Reranker
                                          ^
                                          +--reports, asked for the State--  every Gateway

A release is served only once every replica of every step holds it, so a swap costs no request anything: a Gateway
answers each request by one release from end to end, by the old one until the Conductor says that the new one is there,
and the steps keep the old one until nobody can be under way with it any more. A release that cannot be loaded is
refused, and the one before it goes on. If the Conductor dies, Serve starts another; until it knows what is served, the
Gateways go on with what they had.
"""

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Gauge

from motet.errors import ReleaseError, user_mistake
from motet.recommend import read_recipe
from motet.recommend.recall import Recall
from motet.release.canary import Outcomes, add_up, verdict
from motet.release.publish import Releases
from serve.state import Canary, State, read_surfaces, write_surfaces

_FIRST_S = 1.0
"""Pause before the first look, in which the Gateways say what they serve."""
_LOAD_S = 120.0
"""How long the replicas may take to load a release."""
_GRACE_S = 5.0
"""How long the old release is kept after a swap, beyond the deadline of a request."""
_AGAIN_S = 5.0
"""Pause before a release that could not be loaded is tried again."""
_RECALL_S = 5.0
_SILENT_S = 10.0
"""After so long without a report a Gateway counts as gone."""
_log = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Report:
    """What a Gateway said last."""

    moment: float
    active: str
    candidate: str | None
    outcomes: dict[str, Outcomes]


@serve.deployment(name="Conductor")
class Conductor:
    """Leads the graph from release to release.

    Args:
        folder: the release that the graph begins with, in a workspace.
        watched: follow the workspace's pointers.
        steps: handles of the Embedder, the Retriever, the Reranker, and the Shards if there are any.
    """

    def __init__(self, folder: str, watched: bool, *steps: DeploymentHandle) -> None:
        self.workspace, self.watched = Path(folder).parent.parent, watched
        self.releases, self.steps = Releases(self.workspace), [step.options(_by_reference=False) for step in steps]
        recipe = read_recipe(Path(folder))
        self.pause_s, self.deadline_s = recipe.serve.watch_s, recipe.serve.deadline_ms / 1000
        first, surfaces = None if watched else Path(folder).name, read_surfaces(self.workspace)
        self.state = State(first, surfaces=surfaces, conductor=uuid.uuid4().hex)
        self.reports: dict[str, Report] = {}
        self._old: dict[str, float] = {}
        self._failed: dict[str, float] = {}
        self._said: str | None = None
        self._changing = asyncio.Lock()
        self._recalled = 0.0
        self._recall = Gauge("motet_recall", "Share of the exact best that the index found.", ("release",))
        self._task = asyncio.get_running_loop().create_task(self._lead())

    async def _lead(self) -> None:
        await asyncio.sleep(_FIRST_S)
        while True:
            try:
                await self._look()
                self._said = None
            except Exception as error:  # whatever a look met, the next one begins afresh
                if self._said != str(error):
                    _log.exception("the conductor could not look after the releases")
                self._said = str(error)
            await asyncio.sleep(self.pause_s)

    async def _look(self) -> None:
        """Follow the pointers, judge the candidate, ask for the recall."""
        if self.watched:
            await self._follow_current()
            await self._follow_candidate()
            await self._let_go()
        if self.state.active is not None and time.monotonic() - self._recalled > _RECALL_S:
            self._recalled = time.monotonic()
            await self._ask_for_recall(self.state.active)

    async def _follow_current(self) -> None:
        wanted = await asyncio.to_thread(self.releases.current_id)
        if wanted == self.state.active or not await self._is_held_by_all(wanted):
            return
        if self.state.active is not None:
            self._old[self.state.active] = time.monotonic()
        self._old.pop(wanted, None)
        canary = None if self.state.candidate == wanted else self.state.canary
        self.state = self.state.change(active=wanted, canary=canary, recall=Recall())
        _log.info("release %s is served now", wanted)

    async def _follow_candidate(self) -> None:
        wanted = await asyncio.to_thread(self.releases.candidate_id)
        if wanted == self.state.active:
            wanted = None
        if wanted == self.state.candidate:
            await self._judge()
        elif wanted is None or await self._is_held_by_all(wanted):
            if self.state.candidate is not None:
                self._old[self.state.candidate] = time.monotonic()
            canary = await asyncio.to_thread(self._canary_of, wanted)
            self.state = self.state.change(canary=canary)

    def _canary_of(self, release: str | None) -> Canary | None:
        if release is None:
            return None
        return Canary(release, read_recipe(self.releases.find(release)).serve.canary)

    async def _judge(self) -> None:
        """Sum the outcomes up, and drop a candidate that does worse than the current release."""
        if self.state.canary is None:
            return
        candidate, settings = self.state.canary.release, self.state.canary.settings
        known = [one.outcomes for one in self._live_reports() if one.candidate == candidate]
        ours, theirs = (
            add_up([one[name] for one in known if name in one]) for name in (candidate, self.state.active or "")
        )
        self.state = self.state.change(canary=replace(self.state.canary, outcomes=ours, current=theirs))
        if (because := verdict(theirs, ours, settings)) is None:
            return
        _log.warning("candidate %s is dropped: %s", candidate, because)
        try:
            await asyncio.to_thread(self.releases.drop_candidate, candidate, because)
        except ReleaseError as error:  # somebody else was faster
            _log.info("%s", error)
        self._refuse(candidate, because)
        self._old[candidate] = time.monotonic()
        self.state = self.state.change(canary=None)

    def _live_reports(self) -> list["Report"]:
        since = time.monotonic() - _SILENT_S
        self.reports = {name: one for name, one in self.reports.items() if one.moment > since}
        return list(self.reports.values())

    async def _is_held_by_all(self, release: str) -> bool:
        """Have every replica load a release besides what it has; return whether all did."""
        if time.monotonic() < self._failed.get(release, 0.0):
            return False
        try:
            await asyncio.to_thread(self.releases.verified, release)
            await self._broadcast("hold", self._kept(release))
        except Exception as error:
            self._failed[release] = time.monotonic() + _AGAIN_S
            self._refuse(release, _in_words(error))
            return False
        self._failed.pop(release, None)
        refused = {name: because for name, because in self.state.refused.items() if name != release}
        self.state = self.state.change(refused=refused)
        return True

    def _refuse(self, release: str, because: str) -> None:
        if self.state.refused.get(release) != because:
            _log.warning("release %s is not served: %s", release, because)
        self.state = self.state.change(refused={**self.state.refused, release: because})

    def _kept(self, *more: str) -> list[str]:
        """The releases that the replicas hold: served, tried out, and those of before that may still be asked for."""
        asked = [one.active for one in self._live_reports()]
        names = [self.state.active, self.state.candidate, *self._old, *asked, *more]
        return list(dict.fromkeys(name for name in names if name is not None))

    async def _let_go(self) -> None:
        """Have the replicas drop releases that no request can be under way with."""
        until = time.monotonic() - self.deadline_s - _GRACE_S
        gone = [name for name, since in self._old.items() if since < until]
        if not gone:
            return
        for name in gone:
            del self._old[name]
        await self._broadcast("hold", self._kept())

    async def _ask_for_recall(self, release: str) -> None:
        found = await self.steps[1].broadcast("recall", release).results_async(timeout_s=_LOAD_S)
        recall = sum(found, Recall())
        self.state = self.state.change(recall=recall)
        if recall.share is not None:
            self._recall.set(recall.share, {"release": release})

    async def _broadcast(self, method: str, *args: Any) -> None:
        """Call every replica of every step.

        Raises:
            Exception: that of the first one that failed, or did not answer within two minutes.
        """
        calls = [step.broadcast(method, *args).results_async(timeout_s=_LOAD_S) for step in self.steps]
        for answers in await asyncio.gather(*calls):
            if not answers:
                raise ReleaseError("a step of the graph has no replica at the moment")

    async def report(self, gateway: str, active: str, candidate: str | None, outcomes: dict[str, Outcomes]) -> State:
        """Take what a Gateway does and, since a candidate came, counted by release; return what it shall do."""
        self.reports[gateway] = Report(time.monotonic(), active, candidate, outcomes)
        return self.state

    async def change_weights(self, surface: str, weights: dict[str, float] | None) -> State:
        """Set the weights of a surface, or give it back the recipe's; they are on the disk when this answers."""
        async with self._changing:
            changed = {name: one for name, one in self.state.surfaces.items() if name != surface}
            if weights is not None:
                changed[surface] = weights
            await asyncio.to_thread(write_surfaces, self.workspace, changed)
            self.state = self.state.change(surfaces=changed)
            return self.state

    def ping(self) -> bool:
        """Answer."""
        return True


def _in_words(error: BaseException) -> str:
    mistake = user_mistake(error)
    return type(error).__name__ if mistake is None else str(mistake)
