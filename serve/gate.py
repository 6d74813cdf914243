"""The door of the Gateway: a number of requests at a time, the rest is told to come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from serve.meters import Meters


class Busy(Exception):
    """As many requests are in flight as the Gateway takes."""

    retry_after_s = 1


class Gate:
    """Counts requests in flight.

    Args:
        most: how many there may be.
        meters: what is counted.
    """

    def __init__(self, most: int, meters: Meters) -> None:
        self.most, self.meters, self.inside = most, meters, 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Let a request in until it is done.

        Raises:
            Busy: at once, if there are too many.
        """
        if self.inside >= self.most:
            self.meters.refused("busy")
            raise Busy
        self.inside += 1
        self.meters.in_flight(self.inside)
        try:
            yield
        finally:
            self.inside -= 1
            self.meters.in_flight(self.inside)
