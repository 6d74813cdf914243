"""What a workspace may know of users, as of one moment: who was forgotten, and whether ids are pseudonyms.

A tombstone is a keyed hash (HMAC-SHA256) of a forgotten id, so the list of them names nobody. A pseudonym is one too:

    anon-<32 hex digits of the id><8 hex digits over these>

The last digits say that it was made with this key, so a pseudonym that comes back, from an export or the page, is taken
as it is. Ids are hashed as they come: spaces around them and their Unicode form are for the door and the contract.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from motet.errors import DataError
from motet.mirror import at_hand
from motet.privacy.secret import FOLDER, make_key, read_key
from motet.storage import fingerprint, write_json

_PREFIX, _DIGITS, _CHECK = "anon-", 32, 8
TOMBSTONES = "tombstones.json"


@dataclass(frozen=True)
class Privacy:
    """Names and tombstones."""

    key: bytes | None
    """Of the workspace; None only if it has neither pseudonyms nor tombstones."""
    pseudonymise: bool = False
    tombstones: frozenset[str] = frozenset()

    @classmethod
    def load(cls, workspace: Path, pseudonymise: bool = False) -> "Privacy":
        """Read what a workspace has; its key is made if it is needed.

        Raises:
            DataError: if key or tombstones cannot be read.
        """
        found = read_tombstones(workspace)
        key = make_key(workspace) if pseudonymise else read_key(workspace)
        if found and key is None:
            raise DataError(f"{workspace / FOLDER} has tombstones and no key; put back the one that was there")
        return cls(key, pseudonymise, frozenset(found))

    @property
    def active(self) -> bool:
        """Whether any user is left out or renamed."""
        return self.pseudonymise or bool(self.tombstones)

    @cached_property
    def state(self) -> str:
        """What decides the result of a stage."""
        return fingerprint(self.pseudonymise, sorted(self.tombstones)) if self.active else "none"

    def tombstone(self, name: str) -> str:
        """Return the tombstone of a user, by the name that is stored."""
        return self._hash("tombstone", name)

    def forgets(self, name: str | None) -> bool:
        """Return whether a user was forgotten, by the name that is stored."""
        return name is not None and bool(self.tombstones) and self.tombstone(name) in self.tombstones

    def stored(self, user: str) -> str:
        """Return the name by which a user is stored: the id, or its pseudonym."""
        return self.pseudonym(user) if self.pseudonymise else user

    def pseudonym(self, user: str) -> str:
        """Return a user's pseudonym; a pseudonym of this workspace is its own."""
        if self._is_pseudonym(user):
            return user
        digits = self._hash("user", user)[:_DIGITS]
        return f"{_PREFIX}{digits}{self._check(digits)}"

    def _is_pseudonym(self, user: str) -> bool:
        if not user.startswith(_PREFIX) or len(user) != len(_PREFIX) + _DIGITS + _CHECK:
            return False
        digits = user[len(_PREFIX) : -_CHECK]
        return user.isascii() and hmac.compare_digest(self._check(digits), user[-_CHECK:])

    def _check(self, digits: str) -> str:
        return self._hash("pseudonym", digits)[:_CHECK]

    def _hash(self, purpose: str, text: str) -> str:
        assert self.key is not None
        return hmac.new(self.key, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()

    def apply(self, users: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Return (the names by which users are stored, whether they were forgotten), each user hashed once.

        Args:
            users: ids as text, null where there is none.
        """
        encoded = users.dictionary_encode()
        names = [None if one is None else self.stored(one) for one in encoded.dictionary.to_pylist()]
        gone = [self.forgets(one) for one in names]
        taken = pa.array(names, pa.string()).take(encoded.indices)
        return taken, pc.fill_null(pa.array(gone, pa.bool_()).take(encoded.indices), False)


def read_tombstones(workspace: Path) -> list[str]:
    """Return the tombstones of a workspace.

    Raises:
        DataError: if the file holds none; a user who was forgotten must not come back by that.
    """
    path = at_hand(workspace / FOLDER / TOMBSTONES)
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise DataError(f"{path} holds no tombstones; put back the file that was there, from a copy") from error
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise DataError(f"{path} holds no tombstones; put back the file that was there, from a copy")
    return found


def add_tombstones(workspace: Path, user: str) -> list[str]:
    """Have every later prepare and every endpoint forget a user, whether ids are pseudonyms or not.

    Returns:
        The names under which the workspace may hold the user.
    """
    privacy = Privacy(make_key(workspace))
    names = [user, privacy.pseudonym(user)]
    known = read_tombstones(workspace)
    write_json(workspace / FOLDER / TOMBSTONES, sorted({*known, *map(privacy.tombstone, names)}))
    return names
