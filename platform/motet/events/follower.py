"""Reading a log up to its end again and again, for one who has somebody waiting for an answer."""

import logging
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

from motet.events.store import START, Readable

T = TypeVar("T")
_PAUSE_S = 1.0
_MOST_AT_ONCE = 2000
_log = logging.getLogger(__name__)


class Follower(Generic[T]):
    """Hands on what a log has since the last time.

    Args:
        store: the log; read, never written.
        take: takes some entries in their order; if it raises, it gets them again.
        what: the log's name, for people.
    """

    def __init__(self, store: Readable[T], take: Callable[[list[T]], None], what: str) -> None:
        self.store, self.take, self.what = store, take, what
        self.position = START
        self.lock = threading.Lock()
        self._unread, self._pause_until = False, 0.0

    def catch_up(self) -> None:
        """Take in what the log has since the last time.

        If it cannot be read, answers go on with what is known, which is better than none; it is said once, and tried
        again once a second by one of those who ask, so that a log that hangs holds up nobody else.
        """
        if time.monotonic() < self._pause_until:
            return
        with self.lock:
            if time.monotonic() < self._pause_until:
                return
            if self._unread:
                self._pause_until = time.monotonic() + _PAUSE_S
            try:
                self._take_new()
                self._unread, self._pause_until = False, 0.0
            except Exception as error:
                if not self._unread:
                    _log.warning("the %s log cannot be read, answers go without its latest: %s", self.what, error)
                self._unread, self._pause_until = True, time.monotonic() + _PAUSE_S

    def _take_new(self) -> None:
        found = self.store.read(self.position)
        while group := list(islice(found, _MOST_AT_ONCE)):
            self.take([entry for _, entry in group])
            self.position = group[-1][0]
