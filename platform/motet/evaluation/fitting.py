"""What is fitted on held-out events, by the steps that serving uses: fusion and calibrators."""

from dataclasses import dataclass

import numpy as np

from motet.evaluation.held_out import HeldOut, target_rows
from motet.recommend import Recommender
from motet.retrieval.state import UserState


@dataclass(frozen=True)
class Example:
    """One user's candidates with their features, which of them came; raw scores, labels, times of all that came."""

    scores_CS: np.ndarray
    ranks_CS: np.ndarray
    features_CF: np.ndarray
    rows: np.ndarray
    missed: int
    raw_NT: np.ndarray
    labels_NT: np.ndarray
    moments_N: np.ndarray
    """When each came, in milliseconds."""


def _excluded(state: UserState, repeats: bool) -> np.ndarray:
    """Return the places that cannot come next; the filters of a surface play no part in the fit."""
    return np.zeros(0, np.int64) if repeats else state.items_S


def gather_examples(
    recommender: Recommender,
    users: list[HeldOut],
    withheld: tuple[str, ...] = (),
    most: int | None = None,
    seed: int = 0,
    scored: bool = True,
) -> list[Example]:
    """Return one example per user.

    Args:
        recommender: sources fitted without the held-out part.
        users: held-out users.
        withheld: sources that have seen the held-out part, and therefore say nothing.
        most: candidates kept per user: all that came, and a sample of the others; all if None.
        seed: of the sample.
        scored: whether the raw scores are wanted; else there are no rows of scores and labels.
    """
    embedder, retriever, reranker = recommender.embedder, recommender.retriever, recommender.reranker
    recipe, draw = retriever.recipe, np.random.default_rng(seed)
    states = embedder.states([user.person(embedder.people.find(user.user)) for user in users])
    examples = []
    for user, state in zip(users, states, strict=True):
        allowed_I = retriever.items.allowed({}, _excluded(state, not recipe.excludes_seen))
        found = retriever.collect(state, allowed_I, withheld=withheld)
        targets_N = np.unique(user.targets_N[target_rows(user, recipe)])
        taken_C = np.isin(found.places_C, targets_N)
        missed = len(targets_N) - int(taken_C.sum())
        features_CF = retriever.features.of(state, found)
        if most is not None and len(taken_C) > most:
            order_C = np.argsort(draw.random(len(taken_C)) - taken_C, kind="stable")[:most]
            kept = np.sort(order_C)
            found, features_CF, taken_C = found.take(kept), features_CF[kept], taken_C[kept]
        judged = slice(None) if scored else slice(0)
        raw_NT = reranker.raw_scores(state, user.targets_N[judged])
        labels = [score.labels(user.labels)[judged] for score in recipe.scores]
        labels_NT = np.stack(labels, 1) if labels else np.zeros((len(raw_NT), 0), np.float32)
        assert user.moments_N is not None
        examples.append(
            Example(
                found.scores_CS, found.ranks_CS, features_CF, np.flatnonzero(taken_C), missed, raw_NT, labels_NT,
                user.moments_N[judged],
            )
        )  # fmt: skip
    return examples
