"""Many may look at a thing at once; who changes it waits until nobody looks, and who wants to look waits meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Standstill:
    """A lock of readers and one writer.

    A thread that looks may look again. It must not change, which would wait for itself.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._mine = threading.local()
        self._looking, self._changes = 0, 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Keep all as it is for as long as this lasts."""
        depth = getattr(self._mine, "depth", 0)
        if depth == 0:
            with self._turn:
                self._turn.wait_for(lambda: self._changes == 0)
                self._looking += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if depth == 0:
                with self._turn:
                    self._looking -= 1
                    self._turn.notify_all()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Wait until nobody looks, and let nobody look for as long as this lasts; for one thread at a time."""
        assert getattr(self._mine, "depth", 0) == 0, "whoever looks cannot change"
        with self._turn:
            self._changes += 1
            self._turn.wait_for(lambda: self._looking == 0)
        try:
            yield
        finally:
            with self._turn:
                self._changes -= 1
                self._turn.notify_all()
