"""One event: who met which item, when, and how it went. Checked when it is made, whoever makes it."""

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from motet.errors import RequestError
from motet.events.codec import Codec

LONGEST_ID = 128
LONGEST_KIND = 64
LARGEST_VALUE = 3.4e38
"""Numbers are float32 in the model."""
LAST_MS = 253_402_300_799_999
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened between a user and an item."""

    event_id: str
    """Names the event; of several with one id the first counts."""
    user: str
    item: str
    timestamp_ms: int
    """Milliseconds since 1970-01-01 UTC."""
    kind: str | None = None
    """What happened, such as click or rating."""
    value: float | None = None
    """How it went, such as the rating's stars."""
    request_id: str | None = None
    """The request whose answer showed the item."""

    def __post_init__(self) -> None:
        for name in ("event_id", "user", "item"):
            check_text("event", name, getattr(self, name), LONGEST_ID)
        for name, longest in (("kind", LONGEST_KIND), ("request_id", LONGEST_ID)):
            if getattr(self, name) is not None:
                check_text("event", name, getattr(self, name), longest)
        if type(self.timestamp_ms) is not int or not 0 <= self.timestamp_ms <= LAST_MS:
            raise RequestError("event: timestamp_ms is not a whole number of milliseconds from 1970 to 9999")
        if self.value is not None and not _is_number(self.value):
            raise RequestError(f"event: value is not a number between -{LARGEST_VALUE:g} and {LARGEST_VALUE:g}")

    def to_json(self) -> str:
        """Return the event on one line of ASCII."""
        known = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps({n: v for n, v in known.items() if v is not None}, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Event":
        """Return the event of a line.

        Raises:
            RequestError: if it is not an event.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            return cls(**found)
        except (ValueError, TypeError, RecursionError) as error:
            raise RequestError(f"event: not the JSON object of one with {', '.join(_FIELDS)}") from error


_FIELDS = tuple(Event.__dataclass_fields__)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_text(what: str, name: str, text: Any, longest: int) -> None:
    """Refuse what is not 1 to `longest` characters of normal, visible text; the message does not repeat it."""
    if not isinstance(text, str) or not 0 < len(text) <= longest or not _is_clean(text):
        raise RequestError(f"{what}: {name} is not a text of 1 to {longest} characters without control characters")


def _is_clean(text: str) -> bool:
    if _CONTROL.search(text) or text != text.strip():
        return False
    return text.isascii() or (not _SURROGATE.search(text) and unicodedata.is_normalized("NFC", text))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST_VALUE


EVENTS = Codec("events", Event.to_json, Event.from_json, lambda event: event.event_id)
frame, unframe = EVENTS.frame, EVENTS.unframe
