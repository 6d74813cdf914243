"""EASE: a linear item-to-item model in closed form (Steck, WWW 2019), over histories that fade with time.

    X   users x items: liking x decay with the age of the event
    B = I - P / diag(P),  P = (X'X + ridge I)^-1     score of item c for a user = sum over the user's items of B[., c]

X'X is a sum over users, so parts can be counted anywhere and added. The inverse takes items^3 steps and items^2
memory on one machine, so it is for catalogues of some thousand items.
"""

import numpy as np
import scipy.sparse as sp

from motet.errors import RetrievalError
from motet.retrieval.sources import Answer, DenseAnswer
from motet.retrieval.state import UserState


def liking_weight(liking_S: np.ndarray, disliked: float) -> np.ndarray:
    """Return what an event counts: 1 if liked or unknown, `disliked` if not liked; float32."""
    return np.where(liking_S == 0, disliked, 1.0).astype(np.float32)


def gram(histories: list[np.ndarray], weights: list[np.ndarray], items: int) -> np.ndarray:
    """Return X'X of some users, float64 [I, I].

    Args:
        histories: places per user, each at most once.
        weights: what each event counts.
        items: size of the catalogue.
    """
    indptr = np.append(0, np.cumsum([len(one) for one in histories]))
    indices = np.concatenate([*histories, np.zeros(0, np.int64)]).astype(np.int64)
    values = np.concatenate([*weights, np.zeros(0, np.float64)]).astype(np.float64)
    matrix = sp.csr_matrix((values, indices, indptr), shape=(len(histories), items))
    return np.asarray((matrix.T @ matrix).todense())


def require_small(items: int, limit: int) -> None:
    """Refuse a catalogue whose items x items matrix is too large.

    Raises:
        RetrievalError: with both numbers.
    """
    if items > limit:
        raise RetrievalError(
            f"retrieval.sources: ease solves a matrix of items x items and {items:,} items are above "
            f"retrieval.ease_limit = {limit:,}; leave ease out (item_knn and als scale), or raise the limit"
        )


def solve(gram_II: np.ndarray, ridge: float) -> np.ndarray:
    """Return B, float32 [I, I], with a zero diagonal."""
    inverse_II = np.linalg.inv(gram_II + ridge * np.eye(len(gram_II)))
    weights_II = -inverse_II / np.diag(inverse_II)
    np.fill_diagonal(weights_II, 0.0)
    return weights_II.astype(np.float32)


class LinearSource:
    """`ease`: the sum of B's rows over the user's items.

    Args:
        weights_II: from `solve`.
        disliked: what a disliked event counts.
    """

    def __init__(self, weights_II: np.ndarray, disliked: float) -> None:
        self.weights_II, self.disliked = weights_II, disliked

    def ask(self, user: UserState) -> Answer | None:
        """Answer if there is a history."""
        if not user.has_history:
            return None
        user = user.within(len(self.weights_II))  # the others have no weight
        say_S = liking_weight(user.liking_S, self.disliked)
        return DenseAnswer(np.asarray(say_S @ self.weights_II[user.items_S], np.float32))
