"""The privacy of a workspace for a process that goes on: looked at again four times a second."""

import threading
import time
from pathlib import Path

from motet.mirror import follow
from motet.privacy.privacy import TOMBSTONES, Privacy
from motet.privacy.secret import FOLDER

_PAUSE_S = 0.25


class Watch:
    """Knows who was forgotten.

    Args:
        workspace: None has neither tombstones nor pseudonyms.
        pseudonymise: as the recipe says.

    Raises:
        DataError: if key or tombstones cannot be read.
    """

    def __init__(self, workspace: Path | None, pseudonymise: bool = False) -> None:
        self.workspace, self.pseudonymise = workspace, pseudonymise
        self._lock, self._until = threading.Lock(), 0.0
        self._seen: tuple[int, int] | None = None
        self._now = Privacy(None)
        if workspace is not None:
            follow(workspace / FOLDER)
            self._seen, self._now = self._stamp(), Privacy.load(workspace, pseudonymise)

    @property
    def now(self) -> Privacy:
        """What holds by now.

        Raises:
            DataError: if the tombstones cannot be read any more.
        """
        if self.workspace is None or time.monotonic() < self._until:
            return self._now
        with self._lock:
            if (stamp := self._stamp()) != self._seen:
                self._now, self._seen = Privacy.load(self.workspace, self.pseudonymise), stamp
            self._until = time.monotonic() + _PAUSE_S
            return self._now

    def forgets(self, name: str | None) -> bool:
        """Return whether a user was forgotten, by the name that is stored."""
        return self.now.forgets(name)

    def _stamp(self) -> tuple[int, int] | None:
        assert self.workspace is not None
        try:
            found = (self.workspace / FOLDER / TOMBSTONES).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino
