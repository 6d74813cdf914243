"""Why an item is not in a list: the stage that stopped it, and the rule or the rank.

unknown    the catalogue does not have it
filters    a rule stopped it: a list, a filter, or it was seen already
sources    no source listed it
fusion     its fused rank is beyond the candidates that are ranked
ranking    its rank by value is beyond k, or a cap or diversity passed it over
shown      it is in the list
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from motet.recommend.query import Query
from motet.recommend.reranker import Reranker
from motet.recommend.retriever import Retriever
from motet.recommend.trace import kept_out, value_ranks
from motet.retrieval.state import Candidates, UserState


@dataclass(frozen=True)
class Whereabouts:
    """How far an item came."""

    stage: Literal["unknown", "filters", "sources", "fusion", "ranking", "shown"]
    because: str
    """A sentence for people."""
    rule: str | None = None
    """The rule of filters or ranking that stopped it."""
    rank: int | None = None
    """Its rank from 1 at that stage."""
    of: int | None = None
    """How many ranks go on from there."""


def explain_retrieval(retriever: Retriever, user: UserState, query: Query, item: str) -> Whereabouts | Candidates:
    """Return where the Retriever lost an item, or the candidates if it is among them.

    Raises:
        RequestError: for a surface or filter that the release does not have.
    """
    retriever.catch_up()
    with retriever.items.standstill.looking():
        return _explain_retrieval(retriever, user.within(len(retriever.items)), query, item)


def _explain_retrieval(retriever: Retriever, user: UserState, query: Query, item: str) -> Whereabouts | Candidates:
    screen = retriever.screen(user, query)
    place = retriever.items.place_of.get(item)
    if place is None:
        return Whereabouts("unknown", "this release has no such item")
    if (rule := screen.why(place)) is not None:
        return Whereabouts("filters", f"the item is left out: {rule}", rule)
    found = retriever.fuse(user, query, screen)
    rows = np.flatnonzero(found.places_C == place)
    if not len(rows):
        return Whereabouts("sources", f"none of the sources {list(retriever.sources)} listed it")
    kept = retriever.keep(found, query)
    if place in kept.places_C:
        return kept
    rank, most = int(rows[0]) + 1, len(kept.places_C)
    said = f"its fused rank {rank} is beyond the {most} candidates that are ranked"
    return Whereabouts("fusion", said, rank=rank, of=most)


def explain_ranking(
    reranker: Reranker, user: UserState, candidates: Candidates, query: Query, item: str
) -> Whereabouts:
    """Return where the Reranker put an item that is among the candidates."""
    reranker.catch_up()
    with reranker.items.standstill.looking():
        return _explain_ranking(reranker, user, candidates, query, item)


def _explain_ranking(
    reranker: Reranker, user: UserState, candidates: Candidates, query: Query, item: str
) -> Whereabouts:
    row = int(np.flatnonzero(candidates.places_C == reranker.items.place_of[item])[0])
    weighed = reranker.weigh(user, candidates, query)
    rows, stopped = reranker.pick(candidates, weighed.values_C, query)
    rank = int(value_ranks(weighed.values_C)[row])
    if row in rows:
        place = int(np.flatnonzero(rows == row)[0]) + 1
        return Whereabouts("shown", f"it is at place {place} of the list", rank=place, of=len(rows))
    rule = kept_out(row, rank, len(rows), stopped)
    said = {
        "value": f"its rank {rank} by value is beyond the {len(rows)} of the list",
        "diversity": f"its rank {rank} by value would do, but it is too much like others of the list",
    }.get(rule, f"its rank is {rank} by value, and the {rule} is reached")
    return Whereabouts("ranking", said, rule, rank, len(rows))
