"""Leases on a store: what one machine at a time holds, such as the right to write a workspace."""

import atexit
import contextlib
import fcntl
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motet.errors import DataError
from motet.mirror import mirror_of

LEASES = "leases"
"""Their folder in a workspace."""
_BEAT_S = 15.0
_DEAD_S = 60.0
"""A lease that was not renewed for so long is nobody's."""


class Lease:
    """A name that one holder has on a store, for as long as its process lives.

    Whoever wants it writes a file of its own and then looks for others': two that come at once both see the other and
    both give way. A holder renews its file; what was not renewed for a minute, by the clock of the store, is nobody's.
    Holders on one machine are kept apart by a lock there, which the caller has: files of the own machine are of the
    dead.

    Args:
        path: of the lease, in a mirror.
    """

    def __init__(self, path: Path) -> None:
        mirror = mirror_of(path)
        assert mirror is not None
        self.mirror, self.folder = mirror, path
        self._host = _machine(mirror.root)
        self._file = path / f"{self._host}-{uuid.uuid4().hex[:8]}"
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> bool:
        """Return whether the lease is held from now on."""
        self._beat()
        known = self.mirror.listed(self.folder)
        if self._file not in known:
            return False
        now = known[self._file].second
        for file, about in known.items():
            if file == self._file:
                continue
            if file.name.startswith(self._host) or now - about.second > _DEAD_S:
                self.mirror.delete(file)
            else:
                self.mirror.delete(self._file)
                return False
        self._renewing.start()
        atexit.register(self.give_back)
        return True

    def _beat(self) -> None:
        try:
            with self.mirror.store.open_output_stream(self.mirror.inner(self._file)) as file:
                file.write(socket.gethostname().encode())
        except OSError as error:
            raise self.mirror.said(error) from error

    def _renew(self) -> None:
        while not self._over.wait(_BEAT_S):
            try:
                if self._file not in self.mirror.listed(self.folder):  # this machine was away for too long
                    self.mirror.lost = f"the lease {self.folder.name}"
                    return
                self._beat()
            except DataError:  # the store is away; whatever is written meets that too
                continue

    def give_back(self) -> None:
        """Let others have it, once it was taken."""
        self._over.set()
        self._renewing.join()
        with contextlib.suppress(DataError):  # the store is away: nobody renews the lease, so it ends by itself
            self.mirror.delete(self._file)
        atexit.unregister(self.give_back)


def _machine(root: Path) -> str:
    """Return the name of this machine, which it has as long as its folder."""
    path = root / ".machine"
    if not path.exists():
        temporary = root / f".machine.{uuid.uuid4().hex}"
        temporary.write_text(uuid.uuid4().hex[:12], encoding="ascii")
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_text(encoding="ascii")


@contextmanager
def only_holder(path: Path, seconds: float = 30.0) -> Iterator[None]:
    """Hold a lease for as long as this lasts, if the path is in a mirror.

    Args:
        path: of the lease.
        seconds: how long it is waited for.

    Raises:
        DataError: if it could not be had.
    """
    if mirror_of(path) is None:
        yield
        return
    lease, until = Lease(path), time.monotonic() + seconds
    with _lock(lease.mirror.root / f".{path.name}"):
        while not lease.take():
            if time.monotonic() > until:
                raise DataError(f"another machine is writing {path.name} of the workspace; try again when it is done")
            time.sleep(random.uniform(0.1, 1.0))
        try:
            yield
        finally:
            lease.give_back()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Be the only process of this machine, for as long as this lasts."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
