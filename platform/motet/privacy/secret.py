"""The key of a workspace: 32 random bytes in `privacy/key`, which its owner alone may read."""

import os
import secrets
from pathlib import Path

from motet.errors import DataError
from motet.lease import LEASES, only_holder
from motet.mirror import at_hand, send
from motet.storage import fsync_path

FOLDER = "privacy"
_BYTES = 32


def read_key(workspace: Path) -> bytes | None:
    """Return the key, or None if none was made yet.

    Raises:
        DataError: if the file holds something else.
    """
    path = at_hand(workspace / FOLDER / "key")
    try:
        found = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path} is not a key; put back the one that was there, from a copy") from error
    if len(found) != _BYTES:
        raise DataError(f"{path} holds {len(found)} bytes, a key has {_BYTES}; put back the one that was there")
    return found


def make_key(workspace: Path) -> bytes:
    """Return the key, made if there is none; of several that make one at once, all get the same."""
    if (found := read_key(workspace)) is not None:
        return found
    with only_holder(workspace / LEASES / "key"):
        return _make_key(workspace) if (found := read_key(workspace)) is None else found


def _make_key(workspace: Path) -> bytes:
    folder = workspace / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".key.{secrets.token_hex(4)}"
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(handle, secrets.token_bytes(_BYTES).hex().encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        send(temporary, folder / "key")
        os.link(temporary, folder / "key")
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    fsync_path(folder)
    made = read_key(workspace)
    assert made is not None
    return made
