"""One entry of the item log: an item with its columns and the vector of its text, or an item that is removed."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motet.errors import RequestError
from motet.events.codec import Codec
from motet.events.event import LAST_MS, LONGEST_ID, check_text

Value = str | int | float | list[str]


@dataclass(frozen=True, slots=True)
class TextVector:
    """What a language model made of a text."""

    encoder: str
    """Key of the model, see `encoders.text.encoder_key`."""
    text_key: str
    """Of the text, in hex, see `encoders.cache.text_keys`."""
    vector: str
    """The model's own vector before whitening: float32, little-endian, base64."""

    @classmethod
    def of(cls, encoder: str, text_key: str, vector_D: np.ndarray) -> "TextVector":
        """Pack a vector."""
        return cls(encoder, text_key, base64.b64encode(vector_D.astype("<f4").tobytes()).decode())

    def unpacked(self) -> np.ndarray:
        """Return the vector, float32 [D].

        Raises:
            RequestError: if it is none.
        """
        try:
            vector_D = np.frombuffer(base64.b64decode(self.vector, validate=True), "<f4").astype(np.float32)
        except ValueError as error:
            raise RequestError("item entry: vector is not base64 of float32 numbers") from error
        if not np.isfinite(vector_D).all():
            raise RequestError("item entry: vector has a number that is not finite")
        return vector_D


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """An item that was added or changed, or removed if `columns` is None."""

    entry_id: str
    """Names the entry; of several with one id the first counts."""
    item: str
    timestamp_ms: int
    """Milliseconds since 1970-01-01 UTC."""
    columns: dict[str, Value] | None = None
    """Value by column of the recipe's `data.items`, without the id."""
    text: TextVector | None = field(default=None)
    """The vector of the item's text."""

    def __post_init__(self) -> None:
        for name in ("entry_id", "item"):
            check_text("item entry", name, getattr(self, name), LONGEST_ID)
        if type(self.timestamp_ms) is not int or not 0 <= self.timestamp_ms <= LAST_MS:
            raise RequestError("item entry: timestamp_ms is not a whole number of milliseconds from 1970 to 9999")
        if self.columns is not None and not all(map(_is_value, self.columns.values())):
            raise RequestError("item entry: columns holds something that is no text, number or list of texts")

    @property
    def removes(self) -> bool:
        """Whether the item is removed."""
        return self.columns is None

    def to_json(self) -> str:
        """Return the entry on one line of ASCII."""
        known: dict[str, Any] = {"entry_id": self.entry_id, "item": self.item, "timestamp_ms": self.timestamp_ms}
        if self.columns is not None:
            known["columns"] = self.columns
        if self.text is not None:
            known["text"] = {name: getattr(self.text, name) for name in ("encoder", "text_key", "vector")}
        return json.dumps(known, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "ItemEntry":
        """Return the entry of a line.

        Raises:
            RequestError: if it is not an entry.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            if found.get("text") is not None:
                found["text"] = TextVector(**found["text"])
                found["text"].unpacked()
            return cls(**found)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RequestError("item entry: not the JSON object of one") from error


def _is_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) for one in value)
    return isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool))


ITEMS = Codec("items", ItemEntry.to_json, ItemEntry.from_json, lambda entry: entry.entry_id)
