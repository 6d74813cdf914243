"""The ladder: the best answer that the deadline allows.

full        Embedder -> Retriever -> Reranker
retrieval   the Reranker is late or down: candidates in fused order, sources as reasons
popular     the Embedder or the Retriever is late or down: the Gateway's own popular list
"""

from dataclasses import dataclass, field
from typing import Literal

from motet.recommend import Item, Query, Whereabouts
from motet.recommend.shortfall import Shortfall, shortfall
from motet.recommend.trace import Ranked, Traced
from motet.retrieval.state import Candidates, Stages, UserState
from serve.calls import Deadline, Step, StepFailed
from serve.front import Front
from serve.held import SameRelease
from serve.meters import Meters

ServedLevel = Literal["full", "retrieval", "popular"]


@dataclass
class Answer:
    """What is known of an answer on the way to it."""

    level: ServedLevel = "popular"
    user: UserState | None = None
    candidates: Candidates | None = None
    items: list[Item] = field(default_factory=list)
    ranked: Ranked | None = None
    stages: Stages | None = None
    failed: StepFailed | None = None
    """The step that kept the answer from being full."""
    shortfall: Shortfall | None = None

    @property
    def parts(self) -> list[UserState | Candidates | Ranked]:
        """What the steps answered."""
        return [part for part in (self.user, self.candidates, self.ranked) if part is not None]

    @property
    def trace(self) -> list[Traced]:
        """The candidates with their scores, if they were asked for and ranked."""
        return self.ranked.trace or [] if self.ranked is not None else []


class Ladder:
    """Asks the steps in turn, and falls back.

    Args:
        embedder: who is asking.
        retriever: which items.
        reranker: in which order.
        meters: what is counted.
    """

    def __init__(self, embedder: Step, retriever: Step, reranker: Step, meters: Meters) -> None:
        self.embedder, self.retriever, self.reranker = embedder, retriever, reranker
        self.meters, self.same = meters, SameRelease("gateway")

    async def climb(self, front: Front, query: Query, deadline: Deadline, trace: bool = False) -> Answer:
        """Return the best answer of a release that can be had before the deadline.

        Raises:
            RequestError: if the release cannot answer the query at all.
        """
        front.popular.check(query)
        answer = Answer()
        try:
            await self._ask(answer, front.release, query, deadline, trace)
        except StepFailed as failed:
            answer.failed = failed
            self._fall_back(answer, front, query)
            self.meters.fallback(answer.level, failed.step, failed.because)
        self.same.require(front.release, *answer.parts)
        self._sum_up(answer, front, query)
        return answer

    async def _ask(self, answer: Answer, release: str, query: Query, deadline: Deadline, trace: bool) -> None:
        answer.user = user = await self.embedder.call("run", release, query, deadline=deadline)
        answer.candidates = found = await self.retriever.call("run", release, user, query, deadline=deadline)
        answer.ranked = await self.reranker.call("run", release, user, found, query, trace, deadline=deadline)
        assert answer.ranked is not None
        answer.items, answer.level = answer.ranked.items, "full"

    async def explain(self, front: Front, query: Query, item: str, deadline: Deadline) -> Whereabouts:
        """Return how far an item came on the way into a query's list.

        Raises:
            StepFailed: if a step does not answer.
        """
        release = front.release
        user = await self.embedder.call("run", release, query, deadline=deadline)
        found = await self.retriever.call("explain", release, user, query, item, deadline=deadline)
        if not isinstance(found, Whereabouts):
            found = await self.reranker.call("explain", release, user, found, query, item, deadline=deadline)
        assert isinstance(found, Whereabouts)
        return found

    def _fall_back(self, answer: Answer, front: Front, query: Query) -> None:
        popular = front.popular
        if answer.candidates is not None:
            answer.items, answer.level = popular.of_candidates(answer.candidates, query), "retrieval"
            return
        seen = None  # the request's history
        if answer.user is not None:
            seen = answer.user.seen_S
        elif query.history is None:
            seen = front.met.of(query.user)
        answer.items, screen = popular.run(query, seen)
        allowed, removed = screen.counts
        answer.stages = Stages(len(popular.items), allowed, removed, {}, allowed, 0)

    def _sum_up(self, answer: Answer, front: Front, query: Query) -> None:
        """Say what is missing, and count."""
        if answer.candidates is not None:
            answer.stages = answer.candidates.stages
        stages, shown = answer.stages, len(answer.items)
        assert stages is not None
        surface = front.recipe.surfaces[front.surface(query)]
        answer.shortfall = shortfall(query, shown, stages.allowed, stages.removed, list(surface.caps))
        ranked = len(answer.candidates.places_C) if answer.candidates is not None else stages.found
        self.meters.stages(stages, ranked, shown, answer.ranked.capped if answer.ranked is not None else {})
