"""Which ids a log has: 16 bytes each, however many there are."""

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

_RECENT = 65_536
_BYTES = 16
T = TypeVar("T")
_KIND = np.dtype(f"S{_BYTES}")


def _digest(text: str) -> bytes:
    """Return 16 bytes of a text's hash; the last is odd, since numpy takes zeros at the end for padding."""
    digest = hashlib.blake2b(text.encode(), digest_size=_BYTES).digest()
    return digest[:-1] + bytes([digest[-1] | 1])


class IdSet:
    """A set of ids that only grows: the latest as a set, older ones in sorted arrays that are merged as they grow.

    Two ids count as one if 127 bits of their hashes agree: among 10 billion ids by chance in 1 of 10^18 logs.
    """

    def __init__(self) -> None:
        self._recent: set[bytes] = set()
        self._sorted: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._sorted))

    def add(self, name: str) -> None:
        """Add an id that is not in it."""
        self._recent.add(_digest(name))
        if len(self._recent) >= _RECENT:
            self._freeze()

    def known(self, names: Sequence[str]) -> list[bool]:
        """Return for each id whether it is in the set."""
        digests = [_digest(name) for name in names]
        found_N = np.array([one in self._recent for one in digests], bool)
        wanted_N = np.array(digests, _KIND)
        for ids in self._sorted:
            place_N = np.minimum(np.searchsorted(ids, wanted_N), len(ids) - 1)
            found_N |= ids[place_N] == wanted_N
        return [bool(one) for one in found_N]

    def _freeze(self) -> None:
        """Turn the recent ids into a sorted array; merge it with older ones that are not larger."""
        ids = np.sort(np.array(list(self._recent), _KIND))
        self._recent = set()
        while self._sorted and len(self._sorted[-1]) <= len(ids):
            ids = np.sort(np.concatenate([self._sorted.pop(), ids]), kind="stable")
        self._sorted.append(ids)


def append_new(
    entries: Sequence[T], id_of: Callable[[T], str], ids: IdSet, write: Callable[[list[T]], None]
) -> list[bool]:
    """Write the entries whose ids are new, if there are any, and add these ids; return for each whether it is new.

    Args:
        entries: in their order; the first of an id counts.
        id_of: what names an entry.
        ids: those that the log has.
        write: writes all it is given, or raises.
    """
    first: dict[str, T] = {}
    for entry in entries:
        first.setdefault(id_of(entry), entry)
    known = ids.known(list(first))
    fresh = {name: entry for (name, entry), old in zip(first.items(), known, strict=True) if not old}
    if fresh:
        write(list(fresh.values()))
    for name in fresh:
        ids.add(name)
    return [fresh.pop(id_of(entry), None) is not None for entry in entries]
