"""Keys: shown once, kept as hashes, revoked at once."""

import pytest

from motet.errors import ReleaseError
from motet.release.keys import Keys


def test_a_key_opens_until_it_is_revoked_and_stands_in_no_file(tmp_path):
    keys, elsewhere = Keys(tmp_path), Keys(tmp_path)
    assert keys.find("anything") is None
    secret = keys.add("me", ("feedback", "admin"))
    name, key = elsewhere.find(secret)
    assert (name, key.scopes) == ("me", ("feedback", "admin"))
    assert elsewhere.find(secret[:-1]) is None
    assert elsewhere.find("") is None
    assert secret not in keys.path.read_text()
    assert keys.path.stat().st_mode & 0o077 == 0
    assert key.users == ""
    other = keys.add("you", ("admin",), "acme-")
    assert elsewhere.find(other)[1].users == "acme-"
    keys.revoke("me")
    assert elsewhere.find(secret) is None
    assert elsewhere.find(other)[0] == "you"


def test_names_are_taken_once_and_must_be_known(tmp_path):
    keys = Keys(tmp_path)
    keys.add("me", ("admin",))
    with pytest.raises(ReleaseError, match="there is a key 'me' already"):
        keys.add("me", ("admin",))
    with pytest.raises(ReleaseError, match=r"there is no key 'you'; keys: \['me'\]"):
        keys.revoke("you")


def test_a_damaged_file_opens_nothing(tmp_path):
    keys = Keys(tmp_path)
    secret = keys.add("me", ("admin",))
    keys.path.write_text('{"me": {"scopes": ["king"], "sha256": ""}}')
    with pytest.raises(ReleaseError, match="holds no keys"):
        Keys(tmp_path).find(secret)
