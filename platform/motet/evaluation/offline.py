"""Score held-out users with the three steps of serving, beside each source alone."""

from typing import Any

import numpy as np

from motet.evaluation.cold_items import ColdItems
from motet.evaluation.held_out import HeldOut, target_rows
from motet.evaluation.ranking_metrics import EMPTY, rank_metrics
from motet.recipe import Recipe
from motet.recommend import Query, Recommender
from motet.storage import fingerprint

OURS = "motet"
PROTOCOLS = {
    "leave_one_out": (
        "Leave one out: each user's last event is the test, the one before is validation; ties in time in a seeded "
        "order; other users' later events are known."
    ),
    "time": (
        "Time: the latest events are the test, those before it validation; no event of the test period is known, but "
        "the item and user tables are. Users with a history are ranked; those new in the test period stand apart."
    ),
    "random": "Random: rows are divided by a seeded hash of user and item; other events of the test period are known.",
    "column": "Column: the log itself says which part each event belongs to.",
}
KNOWN = {
    "parts": "",
    "before": " Each held-out event is asked about on its own, with the user's earlier events of the parts before.",
    "around": " Each held-out event is asked about on its own, with the user's earlier events of the parts before; "
    "estimates from labels alone also read those of the parts before that came later, as matrix factorisation does.",
    "rolling": " Each held-out event is asked about on its own, with all the user's earlier events.",
}


def protocol_in_words(recipe: Recipe) -> str:
    """Return how the figures came about."""
    ranked = "all items that the user has not met" if recipe.excludes_seen else "all items"
    target = f"positives of {recipe.evaluate.target}" if recipe.evaluate.target else "any event"
    asked = PROTOCOLS[recipe.data.split.kind] + KNOWN[recipe.evaluate.history]
    if recipe.data.split.unseen_items:
        asked += f" Of {recipe.data.split.unseen_items:.0%} of the items no event before the test is known."
    return f"{asked} Ranked: {ranked}. Targets: {target}."


def evaluate_users(recommender: Recommender, users: list[HeldOut]) -> list[dict[str, Any]]:
    """Return one row per user: what their held-out events say about the recommender, as JSON types.

    | key | what it holds |
    |---|---|
    | user, warm | the id; whether they have an event in the parts before |
    | asked | a hash of user, history, held-out events and moment: equal if another release was asked the same |
    | lists, metrics | by system: `motet` (all steps) or a single source's own order; nothing without a target |
    | wanted | places of the targets |
    | events | places of the held-out events, and how many events of the user were `known` |
    | tasks | by score the prediction, label and slate of each held-out event |
    | gates | mean weight of each expert by task over the held-out events, None without gates |
    | cold | lists and metrics among cold items if a target is one, None else; see `cold_items` |
    | policy | what `off_policy` needs of the events with a known propensity, None without |
    """
    embedder, recipe = recommender.embedder, recommender.retriever.recipe
    states = embedder.states([user.person(embedder.people.find(user.user)) for user in users])
    query = Query(
        surface=recipe.evaluate.surface,
        k=recipe.evaluate.k,
    )
    rows, cold = [], ColdItems(recommender, query)
    for number, (user, state) in enumerate(zip(users, states, strict=True)):
        targets = set(user.targets_N[target_rows(user, recipe)].tolist())
        logged = user.propensities_N is not None and not np.isnan(user.propensities_N).all()
        shown = _shown(recommender, state, query) if targets or logged else []
        lists = _lists(recommender, state, query, shown) if targets else {}
        rows.append(
            {
                "user": user.user,
                "warm": user.warm,
                "asked": _asked(recommender, user),
                "lists": lists,
                "metrics": {name: rank_metrics(places, targets, query.k) for name, places in lists.items()},
                "wanted": sorted(targets),
                "events": {"places": user.targets_N.tolist(), "known": len(user.items_S)},
                "tasks": _tasks(recommender, state, user),
                "gates": _gates(recommender, state, user),
                "cold": cold.row(state, targets, number),
                "policy": _policy(recommender, state, user, shown) if logged else None,
            }
        )
    return rows


def _asked(recommender: Recommender, user: HeldOut) -> str:
    ids = recommender.embedder.items.ids
    known, came = ([ids[place] for place in places] for places in (user.items_S, user.targets_N))
    return fingerprint(user.user, known, came, user.asked_ms)


def _shown(recommender: Recommender, state: Any, query: Query) -> list[int]:
    candidates = recommender.retriever.run(state, query)
    order, _, _ = recommender.reranker.order(state, candidates, query)
    return [int(place) for place in candidates.places_C[order]]


def _lists(recommender: Recommender, state: Any, query: Query, shown: list[int]) -> dict[str, list[int]]:
    retriever = recommender.retriever
    lists = {OURS: shown + [EMPTY] * (query.k - len(shown))}
    allowed_I = retriever.allowed(state, query)
    for name, source in retriever.sources.items():
        answer = source.ask(state)
        places = answer.best(query.k, allowed_I)[0].tolist() if answer is not None else []
        lists[name] = places + [EMPTY] * (query.k - len(places))
    return lists


def _tasks(recommender: Recommender, state: Any, user: HeldOut) -> dict[str, list[list[float]]]:
    """Return {score: [[prediction, label, slate], ...]} for the held-out events; -1 is no slate."""
    reranker = recommender.reranker
    raw_NT = reranker.raw_scores(state, user.targets_N)
    none_N = np.full(len(user.targets_N), -1)
    rows = {}
    for column, score in enumerate(reranker.recipe.scores):
        served_N, slates_N = reranker.calibrated(score.name, raw_NT[:, column]), user.slates.get(score.name, none_N)
        rows[score.name] = np.stack([served_N, score.labels(user.labels), slates_N], 1).tolist()
    return rows


def _gates(recommender: Recommender, state: Any, user: HeldOut) -> list[list[float]] | None:
    weights_NTE = recommender.reranker.gates(state, user.targets_N)
    return None if weights_NTE is None else weights_NTE.mean(0).tolist()


def _policy(recommender: Recommender, state: Any, user: HeldOut, shown: list[int]) -> dict[str, Any]:
    """Return the propensities of the held-out events, and what the target policy makes of this user.

    The target policy shows one item, drawn evenly from the list that the release gives: probability 1 / length for an
    item of the list, 0 for others. `expected` is its mean reward by binary task if the release's own calibrated
    probabilities are the rewards.
    """
    assert user.propensities_N is not None
    reranker, places = recommender.reranker, np.array(shown, np.int64)
    target_N = np.isin(user.targets_N, places) / max(len(places), 1)
    raw_KT = reranker.raw_scores(state, places)
    binary = [(column, score) for column, score in enumerate(reranker.recipe.scores) if score.is_binary_task]
    served = {score.name: reranker.calibrated(score.name, raw_KT[:, column]) for column, score in binary}
    expected = {name: float(said_K.mean()) if len(said_K) else 0.0 for name, said_K in served.items()}
    return {"propensity": user.propensities_N.tolist(), "target": target_N.tolist(), "expected": expected}
