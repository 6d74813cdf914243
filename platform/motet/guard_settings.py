"""Who may ask the endpoint how often, and under which names users are stored."""

from pydantic import Field

from motet.data_settings import Section


class LimitSettings(Section):
    """Token buckets; each Gateway counts for itself."""

    per_key_s: float = Field(default=0.0, ge=0, le=1e6)
    """Requests a second of one key, on average; 0 is no limit. Needs serve.keys = required."""
    per_user_s: float = Field(default=0.0, ge=0, le=1e6)
    """Requests and events a second of one user, on average; 0 is no limit."""
    burst: int = Field(default=20, ge=1, le=1_000_000)
    """How many may come at once after a pause."""


class PrivacySettings(Section):
    """What the workspace holds of users."""

    pseudonymise: bool = False
    """Store keyed hashes in place of user ids, everywhere. Ids are hashed at the door of the endpoint and as files are
    read; the key is `privacy/key` of the workspace."""
