"""From requests to queries, and from answers to responses."""

from dataclasses import asdict

from motet.recommend import Item, Query
from motet.release.canary import Outcomes
from motet.surface_settings import Rule, condition
from serve.front import Front
from serve.ladder import Answer
from serve.schemas import (
    CanaryModel,
    Fallback,
    OutcomesModel,
    ReasonModel,
    RecallModel,
    RecommendedItem,
    RecommendRequest,
    RecommendResponse,
    ReleaseResponse,
    RuleModel,
    Underfilled,
)
from serve.state import Canary, State
from serve.trace_schemas import StageModel, Trace, TracedItem


def to_query(request: RecommendRequest) -> Query:
    """Return the query of a request."""
    filters = {
        name: Rule.model_validate(asked.model_dump()) if isinstance(asked, RuleModel) else condition(asked)
        for name, asked in request.filters.items()
    }
    return Query(
        user=request.user_id,
        history=tuple(request.history) if request.history is not None else None,
        text=request.text,
        surface=request.surface,
        k=request.k,
        exclude_seen=request.exclude_seen,
        filters=filters,
        allow=tuple(request.allow) if request.allow is not None else None,
        deny=tuple(request.deny),
        weights=request.weights,
        attributes=request.attributes,
    )


def to_model(item: Item) -> RecommendedItem:
    """Return the response's form of an item."""
    reason = ReasonModel(text=item.reason.text, by=item.reason.by, item=item.reason.item)
    return RecommendedItem(
        id=item.item,
        title=item.title,
        value=item.value,
        scores=item.scores,
        sources=item.sources,
        reason=reason,
    )


def to_response(answer: Answer, request_id: str, release: str, surface: str, trace: bool) -> RecommendResponse:
    """Return the response's form of an answer."""
    failed = answer.failed
    return RecommendResponse(
        request_id=request_id,
        release=release,
        surface=surface,
        user=answer.user.level if answer.user is not None else "popular",
        level=answer.level,
        fallback=None if failed is None else Fallback(step=failed.step, because=failed.because),
        underfilled=None if answer.shortfall is None else Underfilled(**asdict(answer.shortfall)),
        items=[to_model(item) for item in answer.items],
        trace=to_trace(answer) if trace else None,
    )


def to_trace(answer: Answer) -> Trace:
    """Return how a list came about."""
    stages, shown = answer.stages, len(answer.items)
    assert stages is not None
    kept = len(answer.candidates.places_C) if answer.candidates is not None else stages.found
    capped = dict(answer.ranked.capped) if answer.ranked is not None else {}
    beyond = kept - shown - sum(capped.values())
    ranking = {f"cap of {name}": count for name, count in capped.items()} | {"beyond k": beyond}
    listed = dict(stages.listed) | ({"fill": stages.filled} if stages.filled else {})
    passed = [
        StageModel(stage="filters", kept=stages.allowed, removed=stages.removed),
        StageModel(
            stage="sources", kept=stages.found, removed={"not listed": stages.allowed - stages.found}, listed=listed
        ),
        StageModel(stage="fusion", kept=kept, removed={"beyond the candidates": stages.found - kept}),
        StageModel(stage="ranking", kept=shown, removed=ranking),
    ]
    return Trace(stages=passed, candidates=[TracedItem(**asdict(one)) for one in answer.trace])


def to_about(front: Front, state: State) -> ReleaseResponse:
    """Return what is said of a release: by itself, and by the Conductor."""
    report, recall = front.report, state.recall
    return ReleaseResponse(
        release=front.release,
        recipe=front.recipe.name,
        created=front.manifest["created"],
        items=report["counts"]["items"],
        users=report["counts"]["users"],
        surfaces=front.surfaces(state.surfaces),
        protocol=report["protocol"],
        ndcg={name: one["ndcg"]["mean"] for name, one in report["ranking"]["systems"].items()},
        example_users=front.examples,
        canary=None if state.canary is None else _canary(state.canary),
        refused=state.refused,
        recall=RecallModel(searches=recall.searches, recall=recall.share) if recall.searches else None,
    )


def _canary(canary: Canary) -> CanaryModel:
    outcomes, current = _outcomes(canary.outcomes), _outcomes(canary.current)
    return CanaryModel(release=canary.release, share=canary.settings.share, outcomes=outcomes, current=current)


def _outcomes(of: Outcomes) -> OutcomesModel:
    halves, most = (None if seconds is None else round(seconds * 1000, 1) for seconds in map(of.quantile, (0.5, 0.95)))
    return OutcomesModel(answers=of.answers, failures=round(of.failures, 6), p50_ms=halves, p95_ms=most)
