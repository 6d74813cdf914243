"""What is fitted on validation events, by the steps that serving uses: fusion weights and calibrators."""

from dataclasses import dataclass

import numpy as np

from motet.evaluation.held_out import HeldOut
from motet.recommend import Recommender
from motet.retrieval.state import UserState


@dataclass(frozen=True)
class Example:
    """One user's candidates and which of them came next; raw scores and labels of all that came."""

    scores_CS: np.ndarray
    ranks_CS: np.ndarray
    rows: np.ndarray
    raw_NT: np.ndarray
    labels_NT: np.ndarray


def _excluded(state: UserState, repeats: bool) -> np.ndarray:
    """Return the places that cannot come next; the filters of a surface play no part in the fit."""
    return np.zeros(0, np.int64) if repeats else state.items_S


def gather_examples(recommender: Recommender, users: list[HeldOut], repeats: bool) -> list[Example]:
    """Return one example per user.

    Args:
        recommender: sources fitted without the held-out part.
        users: held-out users.
        repeats: whether items of the history may come again.
    """
    embedder, retriever, reranker = recommender.embedder, recommender.retriever, recommender.reranker
    states = embedder.states([user.person(embedder.people.find(user.user)) for user in users])
    examples = []
    for user, state in zip(users, states, strict=True):
        places_C, scores_CS, ranks_CS = retriever.collect(state, retriever.items.allowed({}, _excluded(state, repeats)))
        rows = np.flatnonzero(np.isin(places_C, user.targets_N))
        pairs_ND = np.broadcast_to(state.raw_D, (len(user.targets_N), len(state.raw_D)))
        raw_NT = reranker.raw_scores(pairs_ND, user.targets_N)
        labels = [user.labels[name] for name in reranker.model.scored]
        labels_NT = np.stack(labels, 1) if labels else np.zeros((len(user.targets_N), 0), np.float32)
        examples.append(Example(scores_CS, ranks_CS, rows, raw_NT, labels_NT))
    return examples
