"""Normal equations of users' vectors over the factors of items."""

from typing import NamedTuple

import numpy as np

from motet.estimates.latent import Latent
from motet.estimates.running import UserEvents


class Normal(NamedTuple):
    """Normal equations of users' vectors: left sides, right sides of residuals, and of ones where a label is known."""

    left_NZZ: np.ndarray
    right_NZ: np.ndarray
    ones_NZ: np.ndarray

    @classmethod
    def of(cls, latent: Latent, events: UserEvents, task: int) -> "Normal":
        """Return what each event adds."""
        left_SZZ, items_SZ = latent.alone(events.items_S)
        known_S, residual_S = events.known_ST[:, task], events.residual_ST[:, task]
        return cls(left_SZZ * known_S[:, None, None], items_SZ * residual_S[:, None], items_SZ * known_S[:, None])

    def predict(self, latent: Latent, offset_N: np.ndarray, places_N: np.ndarray) -> np.ndarray:
        """Return the predicted residuals [N] of places, less the user's offset in each row."""
        return latent.predict(self.left_NZZ, self.right_NZ - offset_N[:, None] * self.ones_NZ, places_N)


def whole(latent: Latent, events: UserEvents, task: int) -> Normal:
    """Return the normal equations of all events, as one row."""
    known = np.flatnonzero(events.known_ST[:, task])
    items_SZ = latent.items_IZ[events.items_S[known]].astype(np.float64)
    left_ZZ = items_SZ.T @ items_SZ + np.diag(latent.doubt_IZ[events.items_S[known]].sum(0))
    return Normal(left_ZZ[None], (events.residual_ST[known, task] @ items_SZ)[None], items_SZ.sum(0)[None])
