"""Token buckets by name: so many a second on average, so many at once after a pause."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

_MOST_NAMES = 100_000


class Rates:
    """A bucket for each name that asked lately.

    Whoever has a whole token may ask, for more than one if need be; the bucket then is in debt, and the next one waits
    until it is not. A bucket that is full again is forgotten, and beyond 100,000 the one that was asked longest ago.

    Args:
        per_s: tokens that a bucket gains a second; 0 is no limit.
        burst: tokens of a full bucket.
        clock: seconds.
    """

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s, self.burst, self.clock = per_s, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, names: Iterable[str]) -> float:
        """Return the seconds until all of these may ask; 0 if they may now."""
        if not self.per_s:
            return 0.0
        return max((max(0.0, (1 - self._tokens(name)) / self.per_s) for name in names), default=0.0)

    def spend(self, costs: Mapping[str, float]) -> None:
        """Take so many tokens of each name."""
        if not self.per_s:
            return
        now = self.clock()
        for name, cost in costs.items():
            left = self._tokens(name) - cost
            self._buckets[name] = left, now
            self._buckets.move_to_end(name)
        while self._buckets and (len(self._buckets) > _MOST_NAMES or self._oldest_is_full()):
            self._buckets.popitem(last=False)

    def _oldest_is_full(self) -> bool:
        return self._tokens(next(iter(self._buckets))) >= self.burst

    def _tokens(self, name: str) -> float:
        if name not in self._buckets:
            return float(self.burst)
        left, since = self._buckets[name]
        return min(float(self.burst), left + (self.clock() - since) * self.per_s)
