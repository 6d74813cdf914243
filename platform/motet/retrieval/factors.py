"""Implicit matrix factorisation by alternating least squares (Hu, Koren and Volinsky, ICDM 2008).

    minimise  sum over users u and items i of  c_ui (p_ui - x_u . y_i)^2 + ridge (|x_u|^2 + |y_i|^2)
    p_ui = 1 if u met i, else 0          c_ui = 21 for what was met, 1 for all else

Only item factors are kept: a user's factors follow from the history by one solve, so people who are new are served
like all others. Each half-step for items needs sums over users only, so shards can be counted anywhere and added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from motet.errors import RetrievalError
from motet.retrieval.sources import Answer, DenseAnswer
from motet.retrieval.state import UserState

EXTRA_WEIGHT = 20.0
"""What a met item weighs more than one that was not met; each counts once, however often it was met."""


@dataclass
class ItemSums:
    """The normal equations of the items: left_IKK [I, K, K], right_IK [I, K], and the Gram matrix of the users."""

    left_IKK: np.ndarray
    right_IK: np.ndarray
    users_KK: np.ndarray

    @classmethod
    def zeros(cls, items: int, factors: int) -> "ItemSums":
        """Return empty sums."""
        return cls(
            np.zeros((items, factors, factors), np.float32),
            np.zeros((items, factors), np.float32),
            np.zeros((factors, factors), np.float64),
        )

    def add(self, other: "ItemSums") -> None:
        """Add the sums of other users."""
        self.left_IKK += other.left_IKK
        self.right_IK += other.right_IK
        self.users_KK += other.users_KK

    def to_bytes(self) -> dict[str, bytes]:
        """Return the arrays' bytes by name."""
        return {"left": self.left_IKK.tobytes(), "right": self.right_IK.tobytes(), "users": self.users_KK.tobytes()}

    @classmethod
    def from_bytes(cls, row: dict[str, bytes], items: int, factors: int) -> "ItemSums":
        """Rebuild from `to_bytes`."""
        return cls(
            np.frombuffer(row["left"], np.float32).reshape(items, factors, factors),
            np.frombuffer(row["right"], np.float32).reshape(items, factors),
            np.frombuffer(row["users"], np.float64).reshape(factors, factors),
        )


def require_small(items: int, factors: int, limit: int) -> None:
    """Refuse normal equations that are too large.

    Raises:
        RetrievalError: with the numbers.
    """
    needed = items * factors**2
    if needed > limit:
        raise RetrievalError(
            f"retrieval.sources: als holds items x factors x factors = {needed:,} numbers, above retrieval.als_limit = "
            f"{limit:,}; lower retrieval.als_factors, leave als out, or raise the limit"
        )


def start(items: int, factors: int, seed: int) -> np.ndarray:
    """Return small random item factors, float32 [I, K]."""
    return np.random.default_rng(seed).normal(0, 0.1, (items, factors)).astype(np.float32)


def user_factors(places_S: np.ndarray, items_IK: np.ndarray, gram_KK: np.ndarray, ridge: float) -> np.ndarray:
    """Return the factors of one user, float32 [K].

    Args:
        places_S: what the user met, each once.
        items_IK: item factors.
        gram_KK: items_IK' items_IK.
        ridge: penalty.
    """
    met_SK = items_IK[places_S].astype(np.float64)
    left_KK = gram_KK + EXTRA_WEIGHT * met_SK.T @ met_SK + ridge * np.eye(items_IK.shape[1])
    return np.linalg.solve(left_KK, (1 + EXTRA_WEIGHT) * met_SK.sum(0)).astype(np.float32)


def item_sums(
    histories: list[np.ndarray], items_IK: np.ndarray, ridge: float, weights: Sequence[float] | None = None
) -> ItemSums:
    """Return the items' normal equations over some users, who are solved on the way; each counts 1, or its weight."""
    sums = ItemSums.zeros(*items_IK.shape)
    gram_KK = items_IK.T.astype(np.float64) @ items_IK
    for places_S, weight in zip(histories, weights or [1.0] * len(histories), strict=True):
        user_K = user_factors(places_S, items_IK, gram_KK, ridge)
        outer_KK = weight * np.outer(user_K, user_K)
        sums.users_KK += outer_KK
        sums.left_IKK[places_S] += EXTRA_WEIGHT * outer_KK
        sums.right_IK[places_S] += weight * (1 + EXTRA_WEIGHT) * user_K
    return sums


def solve_items(sums: ItemSums, ridge: float) -> np.ndarray:
    """Return new item factors, float32 [I, K]."""
    left_IKK = sums.left_IKK + sums.users_KK + ridge * np.eye(sums.users_KK.shape[0])
    return np.linalg.solve(left_IKK, sums.right_IK[..., None])[..., 0].astype(np.float32)


class FactorSource:
    """`als`: inner products of the user's factors with all items'.

    Args:
        items_IK: item factors.
        ridge: the penalty that they were fitted with.
    """

    def __init__(self, items_IK: np.ndarray, ridge: float) -> None:
        self.items_IK, self.ridge = items_IK, ridge
        self.gram_KK = items_IK.T.astype(np.float64) @ items_IK

    def ask(self, user: UserState) -> Answer | None:
        """Answer if there is a history."""
        if not user.has_history:
            return None
        known_S = np.unique(user.within(len(self.items_IK)).items_S)  # the others have no factors
        user_K = user_factors(known_S, self.items_IK, self.gram_KK, self.ridge)
        return DenseAnswer(np.asarray(self.items_IK @ user_K, np.float32))
