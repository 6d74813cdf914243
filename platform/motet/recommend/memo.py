"""What was computed lately, by the content of what it was computed from; so nothing ever has to be taken back."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np


def content_key(arrays: Iterable[np.ndarray]) -> bytes:
    """Return the key of what some arrays hold."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


class Memo:
    """Vectors by key; those that nobody asked for longest are let go.

    Args:
        most: vectors that are kept.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, keys: Iterable[bytes]) -> list[np.ndarray | None]:
        """Return what is known of each key."""
        with self._lock:
            found = [self._known.get(key) for key in keys]
            for key, one in zip(keys, found, strict=True):
                if one is not None:
                    self._known.move_to_end(key)
        return found

    def keep(self, keys: Iterable[bytes], vectors: Iterable[np.ndarray]) -> None:
        """Know vectors from now on."""
        with self._lock:
            self._known.update(zip(keys, vectors, strict=True))
            while len(self._known) > self.most:
                self._known.popitem(last=False)
