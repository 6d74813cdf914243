"""Score held-out users with the three steps of serving, beside each source alone."""

from typing import Any

import numpy as np

from motet.evaluation.held_out import HeldOut, target_rows
from motet.evaluation.ranking_metrics import EMPTY, rank_metrics
from motet.recipe import Recipe
from motet.recommend import Query, Recommender

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
    "rolling": " Each held-out event is asked about on its own, with all the user's earlier events.",
}


def protocol_in_words(recipe: Recipe) -> str:
    """Return how the figures came about."""
    ranked = "all items that the user has not met" if recipe.excludes_seen else "all items"
    target = f"positives of {recipe.evaluate.target}" if recipe.evaluate.target else "any event"
    asked = PROTOCOLS[recipe.data.split.kind] + KNOWN[recipe.evaluate.history]
    return f"{asked} Ranked: {ranked}. Targets: {target}."


def evaluate_users(recommender: Recommender, users: list[HeldOut]) -> list[dict[str, Any]]:
    """Return one row per user: lists and metrics per system, task predictions and labels of the held-out events.

    `warm` says whether the user has a history before the part.

    A system is `motet` (all steps) or a single source's own order. Users without a target get no lists.
    """
    embedder, recipe = recommender.embedder, recommender.retriever.recipe
    states = embedder.states([user.person(embedder.people.find(user.user)) for user in users])
    query = Query(
        surface=recipe.evaluate.surface,
        k=recipe.evaluate.k,
    )
    rows = []
    for user, state in zip(users, states, strict=True):
        targets = set(user.targets_N[target_rows(user, recipe)].tolist())
        lists = _lists(recommender, state, query) if targets else {}
        metrics = {name: rank_metrics(places, targets, query.k) for name, places in lists.items()}
        tasks = _tasks(recommender, state, user)
        warm = state.has_history
        rows.append({"user": user.user, "warm": warm, "lists": lists, "metrics": metrics, "tasks": tasks})
    return rows


def _lists(recommender: Recommender, state: Any, query: Query) -> dict[str, list[int]]:
    retriever = recommender.retriever
    candidates = retriever.run(state, query)
    order, _, _ = recommender.reranker.order(state, candidates, query)
    lists = {OURS: candidates.places_C[order].tolist()}
    allowed_I = retriever.allowed(state, query)
    for name, source in retriever.sources.items():
        answer = source.ask(state)
        places = answer.best(query.k, allowed_I)[0].tolist() if answer is not None else []
        lists[name] = places + [EMPTY] * (query.k - len(places))
    lists[OURS] += [EMPTY] * (query.k - len(lists[OURS]))
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
