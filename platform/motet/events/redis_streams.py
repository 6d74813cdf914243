"""The event log as a Redis stream, for endpoints on several machines without a common disk.

One script per append: an id that the set `<key>:ids` does not have yet is added to it and its event to the stream, all
of the append or nothing. Redis must run with `appendonly yes` and `appendfsync always`; then it answers after its own
sync, and the log says no to any other setting, under which an acknowledged event could be lost. Several writers may
append, as Redis orders them. Entries hold the same checksummed line as a segment.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from motet.errors import EventLogError
from motet.events.address import from_environment
from motet.events.codec import Codec
from motet.events.event import EVENTS
from motet.events.store import START, Position

_APPEND = """
local new = {}
for i = 1, #ARGV, 2 do
  new[#new + 1] = redis.call('SADD', KEYS[2], ARGV[i])
  if new[#new] == 1 then redis.call('XADD', KEYS[1], '*', 'line', ARGV[i + 1]) end
end
return new
"""
_NEEDED = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
_PAGE = 2000
_WRITE_S, _READ_S = 5.0, 0.25
"""How long an answer may take. A reader has somebody waiting for a recommendation, and can do without the latest."""
_log = logging.getLogger(__name__)


T = TypeVar("T")


class RedisStream(Generic[T]):
    """The log in a Redis.

    Args:
        url: its address; `${NAME}` is taken from the environment.
        key: of the stream.
        codec: of its entries.
    """

    def __init__(self, url: str, key: str, codec: Codec[T] = EVENTS) -> None:  # type: ignore[assignment]
        self.url, self.key, self.codec = url, key, codec
        self._clients: dict[float, Any] = {}
        self._ready = False

    def open(self) -> None:
        """Connect and check that the server syncs before it answers.

        Raises:
            EventLogError: if it cannot be reached or does not.
        """
        if self._ready:
            return
        settings = self._ask(_WRITE_S, "config_get", *_NEEDED)
        for name, needed in _NEEDED.items():
            if (found := settings.get(name)) != needed:
                raise EventLogError(
                    f"serve.events.url: the Redis has {name} = {found}, under which acknowledged events can be lost; "
                    f"set {name} {needed}"
                )
        self._ready = True

    def append(self, entries: Sequence[T]) -> list[bool]:
        """Add the entries whose ids are new; see `Store.append`."""
        self.open()
        parts = [part for entry in entries for part in (self.codec.id_of(entry), self.codec.frame(entry))]
        return [one == 1 for one in self._ask(_WRITE_S, "eval", _APPEND, 2, self.key, f"{self.key}:ids", *parts)]

    def read(self, after: Position = START) -> Iterator[tuple[Position, T]]:
        """Yield (position, entry) after a position; see `Store.read`."""
        while page := self._ask(_READ_S, "xrange", self.key, f"({after}" if after else "-", "+", _PAGE):
            for name, fields in page:
                after = name
                entry = self.codec.unframe(fields.get("line", "").encode().rstrip(b"\n"))
                if entry is None:
                    _log.error("%s: entry %s is damaged and skipped", self.key, name)
                else:
                    yield after, entry
            if len(page) < _PAGE:
                return

    def remove(self, entries: Sequence[tuple[Position, str]]) -> None:
        """Delete entries by (position, id), and forget their ids.

        Raises:
            EventLogError: if the server is not there or refuses.
        """
        for start in range(0, len(entries), _PAGE):
            positions, names = zip(*entries[start : start + _PAGE], strict=True)
            self._ask(_WRITE_S, "xdel", self.key, *positions)
            self._ask(_WRITE_S, "srem", f"{self.key}:ids", *names)

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients, self._ready = {}, False

    def _ask(self, seconds: float, command: str, *arguments: Any) -> Any:
        """Return the answer to a command.

        Raises:
            EventLogError: if the server is not there or refuses; its address, which may hold a password, is not said.
        """
        import redis

        try:
            return getattr(self._client(seconds), command)(*arguments)
        except (redis.RedisError, OSError) as error:
            self._ready = False
            raise EventLogError(f"serve.events.url: the Redis does not answer ({type(error).__name__})") from error

    def _client(self, seconds: float) -> Any:
        if seconds not in self._clients:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            self._clients[seconds] = redis.Redis.from_url(
                from_environment(self.url),
                decode_responses=True,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 1),  # the connection may have been closed since it was used
            )
        return self._clients[seconds]
