"""The fitted estimates, and what they say of a user's events or of items that are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from motet.estimates.counting import LabelSums, standardised
from motet.estimates.latent import Latent
from motet.estimates.normal import Normal, whole
from motet.estimates.running import LOG_SCALE, MOOD, OF_USER, UserEvents, before, running, without_own
from motet.kinds import LabelScale
from motet.mirror import at_hand
from motet.storage import write_file_atomic

OF_ITEM = ("prior", "count", "near", "factors")
NAMES = (*OF_USER, *OF_ITEM)
ESTIMATES = "estimates.safetensors"
_SHRINK_NEAR = 0.3
_LATEST = 1000
"""Events that `near` reads; earlier ones are left out."""
_BLOCK = 500
_LATENT = ("items_IZ", "doubt_IZ", "ridge_Z")


@dataclass(frozen=True)
class Later:
    """A user's events that came after the moment of asking and are known all the same: places and labels."""

    items_S: np.ndarray
    labels_ST: np.ndarray


@dataclass(frozen=True)
class Estimates:
    """Fitted estimates; what `near_TII` or `latents` would say is zero without it."""

    scales: tuple[LabelScale, ...]
    prior_TI: np.ndarray
    count_TI: np.ndarray
    near_TII: np.ndarray | None
    latents: tuple[Latent, ...] | None = None

    @classmethod
    def fit(
        cls,
        scales: Sequence[LabelScale],
        sums: LabelSums,
        near_TII: np.ndarray | None,
        latents: Sequence[Latent] | None = None,
    ) -> "Estimates":
        """Put together what was counted."""
        count_TI = (np.log1p(sums.counts_TI) / LOG_SCALE).astype(np.float32)
        return cls(tuple(scales), sums.prior_TI, count_TI, near_TII, None if latents is None else tuple(latents))

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        tensors = {"prior": self.prior_TI, "count": self.count_TI}
        if self.near_TII is not None:
            tensors["near"] = self.near_TII
        if self.latents is not None:
            for name in _LATENT:
                tensors[name] = np.stack([getattr(one, name) for one in self.latents])
        write_file_atomic(path, lambda target: save_file(tensors, target))

    @classmethod
    def load(cls, path: Path, scales: Sequence[LabelScale]) -> "Estimates":
        """Read what `save` wrote; the scales are those of the model's card."""
        tensors = load_file(at_hand(path))
        latents = None
        if _LATENT[0] in tensors:
            latents = tuple(Latent(*one) for one in zip(*(tensors[name] for name in _LATENT), strict=True))
        return cls(tuple(scales), tensors["prior"], tensors["count"], tensors.get("near"), latents)

    def with_unmet(self) -> "Estimates":
        """Return these estimates with one place more: that of an item without labels."""

        def padded(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
            return np.pad(values, [(0, int(axis in axes)) for axis in range(values.ndim)])

        return replace(
            self,
            prior_TI=padded(self.prior_TI, (1,)),
            count_TI=padded(self.count_TI, (1,)),
            near_TII=None if self.near_TII is None else padded(self.near_TII, (1, 2)),
            latents=None if self.latents is None else tuple(one.with_unmet() for one in self.latents),
        )

    def along(self, items_S: np.ndarray, labels_ST: np.ndarray, starts_S: np.ndarray | None = None) -> np.ndarray:
        """Return the estimates of each event from the events before it, float32 [S, F].

        Args:
            items_S: a user's places, oldest first.
            labels_ST: their labels, NaN for unknown.
            starts_S: how many events may be read for each; as many as precede it if None.
        """
        count = len(items_S)
        starts_S = np.arange(count) if starts_S is None else starts_S
        events = self._events(items_S, labels_ST)
        user_STU = running(events)[starts_S]
        said_STV = np.zeros((count, len(self.scales), 2), np.float32)
        for begin in range(0, count, _BLOCK):
            asked = slice(begin, min(count, begin + _BLOCK))
            last = int(starts_S[asked].max())
            read = slice(max(0, int(starts_S[asked].min()) - _LATEST), last)
            may_RN = np.arange(read.start, read.stop)[:, None] < starts_S[asked]
            near_NT = self._near(events.of(read), items_S[asked], user_STU[asked, :, 0], may_RN)
            factors_NT = self._factors_along(events.of(slice(0, last)), items_S[asked], user_STU[asked, :, 0],
                                             starts_S[asked])  # fmt: skip
            said_STV[asked] = np.stack([near_NT, factors_NT], -1)
        return self._columns(user_STU, items_S, said_STV)

    def around(self, items_S: np.ndarray, labels_ST: np.ndarray) -> np.ndarray:
        """Return the estimates of each event from all other events of the user, float32 [S, F].

        Args:
            items_S: a user's places, oldest first.
            labels_ST: their labels, NaN for unknown.
        """
        events = self._events(items_S, labels_ST)
        user_STU = without_own(events)
        said_STV = np.zeros((len(items_S), len(self.scales), 2), np.float32)
        places_S = np.arange(len(items_S))
        for begin in range(0, len(items_S), _BLOCK):
            asked = slice(begin, min(len(items_S), begin + _BLOCK))
            read = slice(max(0, begin - _LATEST // 2), begin + _BLOCK + _LATEST // 2)
            may_RN = places_S[read, None] != places_S[asked]
            near_NT = self._near(events.of(read), items_S[asked], user_STU[asked, :, 0], may_RN)
            factors_NT = self._factors_around(events, asked, user_STU[asked, :, 0])
            said_STV[asked] = np.stack([near_NT, factors_NT], -1)
        return self._columns(user_STU, items_S, said_STV)

    def of(
        self, items_S: np.ndarray, labels_ST: np.ndarray | None, places_N: np.ndarray, later: Later | None = None
    ) -> np.ndarray:
        """Return the estimates of items for a user after all their events, float32 [N, F].

        Args:
            items_S: the user's places, oldest first.
            labels_ST: their labels, NaN for unknown; None if all are.
            places_N: the items asked for.
            later: events after the moment of asking that are known too; the mood reads none of them.
        """
        if labels_ST is None:
            items_S, labels_ST = items_S[:0], np.zeros((0, len(self.scales)), np.float32)
        now = len(items_S)
        if later is not None:
            items_S, labels_ST = np.append(items_S, later.items_S), np.concatenate([labels_ST, later.labels_ST])
        events = self._events(items_S, labels_ST)
        running_PTU = running(events)
        user_TU = running_PTU[-1].copy()
        user_TU[:, MOOD] = running_PTU[now, :, MOOD]
        user_NTU = np.broadcast_to(user_TU, (len(places_N), *user_TU.shape))
        read = slice(max(0, now - (_LATEST if later is None else _LATEST // 2)), now + _LATEST // 2)
        near_NT = self._near(events.of(read), places_N, user_NTU[:, :, 0], None)
        factors_NT = self._factors(events, places_N, user_TU[:, 0])
        return self._columns(user_NTU, places_N, np.stack([near_NT, factors_NT], -1))

    def _events(self, items_S: np.ndarray, labels_ST: np.ndarray) -> "UserEvents":
        residual_ST = standardised(labels_ST[:, : len(self.scales)], self.scales) - self.prior_TI.T[items_S]
        known_ST = ~np.isnan(residual_ST)
        return UserEvents(items_S, np.where(known_ST, residual_ST, 0.0), known_ST.astype(np.float32))

    def _near(
        self, events: "UserEvents", places_N: np.ndarray, offset_NT: np.ndarray, may_RN: np.ndarray | None
    ) -> np.ndarray:
        """Return [N, T]: events R weighed for places N; `may_RN` says which events each may read, all if None."""
        result_NT = np.zeros((len(places_N), len(self.scales)), np.float32)
        if self.near_TII is None or len(events.items_S) == 0:
            return result_NT
        for task, near_II in enumerate(self.near_TII):
            near_RN = near_II[np.ix_(events.items_S, places_N)]
            if may_RN is not None:
                near_RN = near_RN * may_RN
            whole_N = events.known_ST[:, task] @ near_RN
            sum_N = events.residual_ST[:, task] @ near_RN - offset_NT[:, task] * whole_N
            result_NT[:, task] = sum_N / (whole_N + _SHRINK_NEAR)
        return result_NT

    def _factors_along(
        self, events: "UserEvents", places_N: np.ndarray, offset_NT: np.ndarray, starts_N: np.ndarray
    ) -> np.ndarray:
        """Return [N, T]: what the first `starts_N` events say of places N."""
        result_NT = np.zeros(offset_NT.shape, np.float32)
        first = int(starts_N.min(initial=0))
        for task, latent in enumerate(self.latents or ()):
            base = whole(latent, events.of(slice(0, first)), task)
            then = Normal.of(latent, events.of(slice(first, None)), task)
            upto = Normal(*(one + before(own) for one, own in zip(base, then, strict=True)))
            mine = Normal(*(sums[starts_N - first] for sums in upto))
            result_NT[:, task] = mine.predict(latent, offset_NT[:, task], places_N)
        return result_NT

    def _factors_around(self, events: "UserEvents", asked: slice, offset_NT: np.ndarray) -> np.ndarray:
        """Return [N, T]: what all other events say of those asked for."""
        result_NT = np.zeros(offset_NT.shape, np.float32)
        for task, latent in enumerate(self.latents or ()):
            own = Normal.of(latent, events.of(asked), task)
            others = Normal(*(whole - one for whole, one in zip(whole(latent, events, task), own, strict=True)))
            result_NT[:, task] = others.predict(latent, offset_NT[:, task], events.items_S[asked])
        return result_NT

    def _factors(self, events: "UserEvents", places_N: np.ndarray, offset_T: np.ndarray) -> np.ndarray:
        """Return [N, T]: what all events say of places N."""
        result_NT = np.zeros((len(places_N), len(self.scales)), np.float32)
        for task, latent in enumerate(self.latents or ()):
            result_NT[:, task] = whole(latent, events, task).predict(latent, offset_T[task : task + 1], places_N)
        return result_NT

    def _columns(self, user_NTU: np.ndarray, places_N: np.ndarray, said_NTV: np.ndarray) -> np.ndarray:
        item_NTI = np.stack([self.prior_TI.T[places_N], self.count_TI.T[places_N]], -1)
        columns_NTE = np.concatenate([user_NTU, item_NTI, said_NTV], -1)
        return np.asarray(columns_NTE.reshape(len(places_N), len(self.scales) * len(NAMES)), np.float32)
