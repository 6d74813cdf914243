"""How a log writes its entries: one line of JSON behind its checksum, whatever they are."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from motet.errors import RequestError

T = TypeVar("T")


@dataclass(frozen=True)
class Codec(Generic[T]):
    """The entries of one kind of log."""

    name: str
    """Of the log; its files and its stream bear it."""
    to_json: Callable[[T], str]
    """One line of ASCII."""
    from_json: Callable[[bytes], T]
    """Raises RequestError for what is not an entry."""
    id_of: Callable[[T], str]
    """What names an entry; of several with one id the first counts."""

    def frame(self, entry: T) -> bytes:
        """Return the line of an entry: CRC-32, a space, its JSON, a line feed."""
        content = self.to_json(entry).encode("ascii")
        return b"%08x %s\n" % (zlib.crc32(content), content)

    def unframe(self, line: bytes) -> T | None:
        """Return the entry of a line without its end; None if it is damaged."""
        checksum, _, content = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(content):
            return None
        try:
            return self.from_json(content)
        except RequestError:
            return None
