"""Factors of items from labels and contents: what else a user's labels say about an item that they have not met.

    residual of user u and item i = p_u . q_i + noise        q_i = [learned factors, contents of the item]

The learned part is probabilistic matrix factorisation, fitted by variational Bayes (Lim and Teh, KDD Cup 2007), so
that an item with few labels has factors near zero and a variance that says so. The part of the contents is fixed: it is
a ridge regression of each user's residuals on what the items are, with one ridge per column that is learned over all
users. Only the items' side is kept: a user's vector follows from their events by one solve, so people who are new are
served too.

Letters: U users, I items, K learned factors, M contents, Z = K + M, S events of a user, N rows asked.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD

FACTORS = 8
CONTENTS = 20
_ROUNDS = 12
_START, _START_VARIANCE, _START_CONTENTS, _START_NOISE = 0.1, 0.03, 0.1, 0.6
_LEAST_VARIANCE = 1e-4
_USERS = 2_000
"""Users that are solved at once."""


@dataclass(frozen=True)
class Latent:
    """Items as a user's residuals see them.

    Attributes:
        items_IZ: learned factors, then contents.
        doubt_IZ: variances of the learned factors; zero for contents.
        ridge_Z: variance of the noise by that of a user's vector.
    """

    items_IZ: np.ndarray
    doubt_IZ: np.ndarray
    ridge_Z: np.ndarray

    def alone(self, items_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what single events add to the two sides of a user's normal equations: [S, Z, Z] and [S, Z]."""
        items_SZ = self.items_IZ[items_S].astype(np.float64)
        left_SZZ = items_SZ[:, :, None] * items_SZ[:, None, :]
        left_SZZ[:, range(len(self.ridge_Z)), range(len(self.ridge_Z))] += self.doubt_IZ[items_S]
        return left_SZZ, items_SZ

    def predict(self, left_NZZ: np.ndarray, right_NZ: np.ndarray, places_N: np.ndarray) -> np.ndarray:
        """Return the predicted residuals [N] of items, each for the user of its row's normal equations."""
        ridge_ZZ = np.diag(self.ridge_Z.astype(np.float64))
        users_NZ = np.linalg.solve(left_NZZ + ridge_ZZ, right_NZ[..., None])[..., 0]
        return np.asarray((users_NZ * self.items_IZ[places_N]).sum(-1), np.float32)

    def with_unmet(self) -> "Latent":
        """Return these factors with one place more: that of an item of which nothing is known."""
        items_IZ, doubt_IZ = (np.pad(values, [(0, 1), (0, 0)]) for values in (self.items_IZ, self.doubt_IZ))
        return Latent(items_IZ, doubt_IZ, self.ridge_Z)


def contents_of(slots: list[list[int]], numbers_IM: np.ndarray) -> np.ndarray:
    """Return at most `CONTENTS` columns, centred, of items' categories and standardised numbers, float32 [I, M].

    Args:
        slots: of each item, from 1.
        numbers_IM: standardised numbers.
    """
    lengths_I = [len(one) for one in slots]
    places = np.concatenate([*map(np.asarray, slots), np.zeros(0)]).astype(np.int64) - 1
    width = int(places.max(initial=-1)) + 1
    owner = np.repeat(np.arange(len(slots)), lengths_I)
    matrix = sp.csr_matrix((np.ones(len(places)), (owner, places)), shape=(len(slots), width))
    matrix = sp.hstack([matrix, sp.csr_matrix(numbers_IM / 2)]).tocsr()
    kept = np.flatnonzero(np.asarray((matrix != 0).sum(0)).ravel())
    if len(kept) > CONTENTS and len(slots) > CONTENTS:
        dense_IM = TruncatedSVD(CONTENTS, random_state=0).fit_transform(matrix)
    else:
        dense_IM = matrix[:, kept].toarray()[:, :CONTENTS]
    return np.asarray(dense_IM - dense_IM.mean(0, keepdims=True), np.float32)


def fit_latent(residuals_UI: sp.csr_matrix, contents_IM: np.ndarray, seed: int) -> Latent:
    """Fit the factors of items.

    Args:
        residuals_UI: a row per user with the residuals of what they have labelled.
        contents_IM: from `contents_of`.
        seed: of the start.
    """
    items, contents = contents_IM.shape
    draw = np.random.default_rng(seed)
    learned_IK = draw.normal(0, _START, (items, FACTORS))
    doubt_IK = np.full((items, FACTORS), _START_VARIANCE)
    state = _State(learned_IK, doubt_IK, np.full(FACTORS, _START_VARIANCE), np.full(contents, _START_CONTENTS),
                   _START_NOISE)  # fmt: skip
    if residuals_UI.nnz:
        for _ in range(_ROUNDS):
            state = _round(residuals_UI, contents_IM.astype(np.float64), state)
    else:
        state.learned_IK, state.doubt_IK = np.zeros_like(learned_IK), np.zeros_like(doubt_IK)
    items_IZ = np.concatenate([state.learned_IK, contents_IM], 1).astype(np.float32)
    doubt_IZ = np.concatenate([state.doubt_IK, np.zeros((items, contents))], 1).astype(np.float32)
    ridge_Z = state.noise / np.concatenate([np.ones(FACTORS), state.tau_M])
    return Latent(items_IZ, doubt_IZ, ridge_Z.astype(np.float32))


@dataclass
class _State:
    """What a round improves: the items' factors with variances, priors of both, variance of the noise."""

    learned_IK: np.ndarray
    doubt_IK: np.ndarray
    prior_K: np.ndarray
    tau_M: np.ndarray
    noise: float


@dataclass
class _Sums:
    """What the items and the priors need of all users."""

    left_IKZ: np.ndarray
    right_IK: np.ndarray
    tau_M: np.ndarray
    squares: float = 0.0
    """Expected squared errors."""


def _round(residuals_UI: sp.csr_matrix, contents_IM: np.ndarray, state: _State) -> _State:
    """Solve all users, then all items, then the priors."""
    factors, width = state.learned_IK.shape[1], state.learned_IK.shape[1] + contents_IM.shape[1]
    items_IZ = np.concatenate([state.learned_IK, contents_IM], 1)
    outer_IZZ = items_IZ[:, :, None] * items_IZ[:, None, :]
    outer_IZZ[:, range(factors), range(factors)] += state.doubt_IK
    precision_Z = 1 / np.concatenate([np.ones(factors), state.tau_M])
    sums = _Sums(np.zeros((len(items_IZ), factors, width)), np.zeros_like(state.learned_IK), np.zeros_like(state.tau_M))
    for start in range(0, residuals_UI.shape[0], _USERS):
        _add_users(sums, residuals_UI[start : start + _USERS], items_IZ, outer_IZZ, precision_Z, state.noise)
    left_IKK, mixed_IKM = sums.left_IKZ[:, :, :factors], sums.left_IKZ[:, :, factors:]
    variance_IKK = np.linalg.inv(left_IKK / state.noise + np.diag(1 / state.prior_K))
    own_IK = sums.right_IK - (mixed_IKM @ contents_IM[:, :, None])[..., 0]
    learned_IK = (variance_IKK @ own_IK[..., None])[..., 0] / state.noise
    doubt_IK = np.ascontiguousarray(np.diagonal(variance_IKK, axis1=1, axis2=2))
    prior_K = np.maximum((learned_IK**2 + doubt_IK).mean(0), _LEAST_VARIANCE)
    tau_M = np.maximum(sums.tau_M / residuals_UI.shape[0], _LEAST_VARIANCE)
    return _State(learned_IK, doubt_IK, prior_K, tau_M, max(sums.squares / residuals_UI.nnz, _LEAST_VARIANCE))


def _add_users(
    sums: _Sums, values_UI: sp.csr_matrix, items_IZ: np.ndarray, outer_IZZ: np.ndarray, precision_Z: np.ndarray,
    noise: float,
) -> None:  # fmt: skip
    """Solve some users and add what follows from them."""
    (users, items), width, factors = values_UI.shape, items_IZ.shape[1], sums.right_IK.shape[1]
    met_UI = values_UI.copy()
    met_UI.data[:] = 1.0
    seen_UZZ = (met_UI @ outer_IZZ.reshape(items, -1)).reshape(users, width, width)
    variance_UZZ = np.linalg.inv(seen_UZZ / noise + np.diag(precision_Z))
    answers_UZ = values_UI @ items_IZ
    mean_UZ = (variance_UZZ @ answers_UZ[..., None])[..., 0] / noise
    second_UZZ = mean_UZ[:, :, None] * mean_UZ[:, None, :] + variance_UZZ
    sums.left_IKZ += (met_UI.T @ second_UZZ[:, :factors].reshape(users, -1)).reshape(items, factors, width)
    sums.right_IK += values_UI.T @ mean_UZ[:, :factors]
    sums.tau_M += np.diagonal(second_UZZ, axis1=1, axis2=2)[:, factors:].sum(0)
    square = float((values_UI.data**2).sum())
    sums.squares += square - 2 * float((mean_UZ * answers_UZ).sum()) + float((second_UZZ * seen_UZZ).sum())
