"""API keys of a workspace: names, scopes, hashes in `serving/keys.json`; a key itself is shown once and kept nowhere.

A key is 32 random bytes, so one SHA-256 is enough: there is nothing to guess from.
"""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from motet.errors import ReleaseError
from motet.mirror import follow
from motet.storage import write_atomic

Scope = Literal["recommend", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_BYTES = 32


class Key(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: tuple[Scope, ...]
    sha256: str
    users: str = ""
    """What the ids of the users begin with whom it may name: a tenant's, such as `acme-`."""


_KEYS = TypeAdapter(dict[str, Key])


class Keys:
    """The keys of a workspace.

    Args:
        workspace: its folder.
    """

    def __init__(self, workspace: Path) -> None:
        self.path = workspace / "serving" / "keys.json"
        follow(self.path)
        self._read_at: tuple[int, int] | None = None
        self._known: dict[str, Key] = {}

    def all(self) -> dict[str, Key]:
        """Return the keys by name, as the file has them now.

        Raises:
            ReleaseError: if the file cannot be read; then no key opens anything.
        """
        try:
            about = self.path.stat()
        except FileNotFoundError:
            return {}
        changed = (about.st_mtime_ns, about.st_ino)
        if changed != self._read_at:
            try:
                self._known = _KEYS.validate_json(self.path.read_bytes())
            except ValidationError as error:
                raise ReleaseError(f"{self.path} holds no keys; remove it and add the keys again") from error
            self._read_at = changed
        return self._known

    def add(self, name: str, scopes: tuple[Scope, ...], users: str = "") -> str:
        """Make a key and return it.

        Args:
            name: what it is called.
            scopes: what it opens.
            users: what the ids of the users begin with whom it may name.

        Raises:
            ReleaseError: if there is one of that name.
        """
        known = self.all()
        if name in known:
            raise ReleaseError(f"there is a key {name!r} already; revoke it first, or choose another name")
        secret = secrets.token_urlsafe(_BYTES)
        self._write({**known, name: Key(scopes=scopes, sha256=_hash(secret), users=users)})
        return secret

    def revoke(self, name: str) -> None:
        """Take a key away.

        Raises:
            ReleaseError: if there is none of that name.
        """
        known = self.all()
        if name not in known:
            raise ReleaseError(f"there is no key {name!r}; keys: {sorted(known)}")
        self._write({other: key for other, key in known.items() if other != name})

    def find(self, secret: str) -> tuple[str, Key] | None:
        """Return (name, key) of a secret, or None; the time it takes does not tell how near it came.

        Raises:
            ReleaseError: if the keys cannot be read.
        """
        given = _hash(secret)
        same = [(name, key) for name, key in self.all().items() if hmac.compare_digest(key.sha256, given)]
        return same[0] if same else None

    def _write(self, keys: dict[str, Key]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, _KEYS.dump_json(keys, indent=1).decode() + "\n")
        self.path.chmod(0o600)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
