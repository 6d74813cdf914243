"""What a replica holds of the releases: a step for each, several side by side while one follows another.

Each request bears the release that it is answered by. A replica that does not hold it yet, since it has just begun,
loads it then. `require_same` makes sure that a request never meets two.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from ray.serve.metrics import Counter

from motet.errors import MotetError, RequestError
from motet.mirror import at_hand
from motet.release.publish import Releases

S = TypeVar("S")
A = TypeVar("A")
R = TypeVar("R")


class MixedReleases(Exception):
    """A request met two releases."""


class Turns:
    """One request after another in the replica's own loop, each in the order in which it came.

    Threads that work side by side make all requests late, and each hand-over costs something. Between two requests the
    loop does what else it has to, such as a check of health.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def do(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, once those before it are done."""
        async with self._turn:
            return work()


class Held(Generic[S]):
    """Steps of one kind by release.

    Args:
        make: loads the step from a release's folder.
        folder: the release to begin with.
        watched: begin with the current one instead, if it is another by now.
    """

    def __init__(self, make: Callable[[Path], S], folder: Path, watched: bool = False) -> None:
        self.make, self.releases = make, Releases(folder.parent.parent)
        self._loading = threading.Lock()
        first = self._current(folder) if watched else folder
        self._steps = {first.name: make(at_hand(first))}

    def _current(self, folder: Path) -> Path:
        """Return the current release if it can be had, else the given one, which is good in any case."""
        try:
            return folder if self.releases.current_id() == folder.name else self.releases.current()
        except MotetError:
            return folder

    def of(self, release: str) -> S:
        """Return the step of a release; load it if it is not held.

        Raises:
            ReleaseError: if there is no such release, or it is damaged.
        """
        step = self._steps.get(release)
        return step if step is not None else self._load(release)

    async def ready(self, releases: Iterable[str]) -> None:
        """Load releases that are not held, beside the replica's loop.

        Raises:
            ReleaseError: if there is no such release, or it is damaged.
        """
        for name in releases:
            if name not in self._steps:
                await asyncio.to_thread(self._load, name)

    def _load(self, release: str) -> S:
        with self._loading:
            if release not in self._steps:
                step = self.make(self.releases.verified(release))
                self._steps = {**self._steps, release: step}
            return self._steps[release]

    def hold(self, names: Sequence[str]) -> None:
        """Load these releases, and let go of all others; requests that are under way keep what they have.

        Raises:
            ReleaseError: if one cannot be loaded; then none is let go.
        """
        for name in names:
            self.of(name)
        with self._loading:
            self._steps = {name: step for name, step in self._steps.items() if name in names}

    @property
    def names(self) -> list[str]:
        """The releases that are held, the oldest first."""
        return list(self._steps)

    @property
    def oldest(self) -> S:
        """The step that has served longest: a candidate that fails says nothing about this replica's health."""
        return next(iter(self._steps.values()))


def each_by_its_release(
    asked: Sequence[tuple[str, A]], answers: Callable[[str, list[A]], Sequence[R | RequestError]]
) -> list[tuple[R | RequestError]]:
    """Return one answer a request, of a batch whose requests may be of several releases.

    Args:
        asked: (release, request).
        answers: returns the answers to requests of one release, or why one cannot be answered.

    Returns:
        Each in a tuple, since Serve raises an error among the answers of a batch for all of them.
    """
    found: dict[int, R | RequestError] = {}
    for release in dict.fromkeys(release for release, _ in asked):
        rows = [row for row, (own, _) in enumerate(asked) if own == release]
        found |= dict(zip(rows, answers(release, [asked[row][1] for row in rows]), strict=True))
    return [(found[row],) for row in range(len(asked))]


def unpacked(answer: tuple[R | RequestError]) -> R:
    """Return an answer of `each_by_its_release`.

    Raises:
        RequestError: if the request could not be answered.
    """
    (found,) = answer
    if isinstance(found, RequestError):
        raise found
    return found


class Holder(Generic[S]):
    """A deployment that holds a step for each release; `held` is made by its `__init__`."""

    held: Held[S]

    async def hold(self, releases: Sequence[str]) -> list[str]:
        """Hold these releases and no others; return them.

        Raises:
            ReleaseError: if one cannot be loaded.
        """
        await asyncio.to_thread(self.held.hold, releases)
        return self.held.names

    def ping(self) -> bool:
        """Answer."""
        return True


class SameRelease:
    """Refuses and counts requests that meet two releases: `motet_mixed_releases_total` by step.

    Args:
        step: for the metric.
    """

    def __init__(self, step: str) -> None:
        self.step = step
        self._mixed = Counter("motet_mixed_releases_total", "Requests that met two releases.", ("step",))

    def require(self, release: str, *parts: Any) -> None:
        """Raise MixedReleases if a part, which has a `release`, is of another one."""
        for part in parts:
            if part.release != release:
                self._mixed.inc(1, {"step": self.step})
                raise MixedReleases(f"{type(part).__name__} of {part.release!r} in a request of {release!r}")
