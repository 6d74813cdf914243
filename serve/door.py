"""The door of the endpoint: which scope a call needs, which key opens it, how often a key and a user may ask.

It stands before everything else, so who has no key learns nothing and has no body read by the Gateway. A path that no
rule names needs the scope recommend, also one that is not there.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastapi.responses import JSONResponse
from ray import serve

from motet.errors import ReleaseError
from motet.guard_settings import LimitSettings
from motet.release.keys import Key, Keys, Scope
from serve.meters import Meters
from serve.rates import Rates

_log = logging.getLogger("ray.serve")
_users: ContextVar[str] = ContextVar("users", default="")
"""What the ids of users begin with whom the key of this call may name."""


class Rule(NamedTuple):
    """The scope of the calls of a method below a path."""

    method: str
    path: str
    scope: Scope
    always: bool = False
    """A key is needed even where `serve.keys` is none."""


RULES = (
    Rule("POST", "/v1/events", "feedback"),
    Rule("POST", "/v1/items", "admin"),
    Rule("DELETE", "/v1/items/", "admin"),
    Rule("PATCH", "/v1/surfaces/", "admin", always=True),
)
OPEN, PAGE = ("/", "/healthz"), "/page/"


def rule_of(method: str, path: str) -> Rule | None:
    """Return the rule of a call; None needs no key."""
    if path in OPEN or path.startswith(PAGE):
        return None
    found = (rule for rule in RULES if rule.method == method and path.startswith(rule.path))
    return next(found, Rule(method, path, "recommend"))


class TooOften(Exception):
    """A user or a key has asked more often than it may."""

    def __init__(self, wait_s: float, who: str) -> None:
        super().__init__(f"this {who} asks too often; come again later")
        self.retry_after_s = max(1, math.ceil(wait_s))


class NotTheirs(Exception):
    """A key named a user of somebody else's."""

    def __init__(self) -> None:
        super().__init__("this key may not name this user; it is bound to users whose ids begin otherwise")


@dataclass(frozen=True)
class Refusal:
    """Why a call does not come in."""

    status: int
    kind: str
    message: str
    headers: Mapping[str, str]

    def response(self) -> JSONResponse:
        """Return it in the shape of `Problems`."""
        detail = [{"loc": ["header"], "msg": self.message, "type": self.kind}]
        return JSONResponse({"detail": detail}, self.status, dict(self.headers))


class Guard:
    """Says who may come in.

    Args:
        keys: of the workspace; None without one, where nothing can be changed anyway.
        required: whether all calls need a key.
        limits: how often who may ask.
        meters: what is counted.
    """

    def __init__(self, keys: Keys | None, required: bool, limits: LimitSettings, meters: Meters) -> None:
        self.keys, self.required, self.meters = keys, required, meters
        self.by_key, self.by_user = Rates(limits.per_key_s, limits.burst), Rates(limits.per_user_s, limits.burst)

    def refusal(self, method: str, path: str, authorization: str) -> Refusal | None:
        """Return why a call does not come in, or None if it does; `admit` then knows whom its key may name."""
        _users.set("")
        rule = rule_of(method, path)
        if rule is None or not self._needs_key(rule):
            return None
        found = self._key(authorization)
        if found is None:
            return self._refused("key", 401, "unauthorized", _NO_KEY, {"www-authenticate": "Bearer"})
        name, key = found
        if rule.scope not in key.scopes:
            said = f"this key has not the scope {rule.scope}; motet keys add NAME --scope {rule.scope} makes one"
            return self._refused("scope", 403, "forbidden", said, {})
        if wait_s := self.by_key.wait_s([name]):
            late = TooOften(wait_s, "key")
            return self._refused("key_rate", 429, "too_often", str(late), {"retry-after": str(late.retry_after_s)})
        self.by_key.spend({name: 1})
        _users.set(key.users)
        return None

    def _needs_key(self, rule: Rule) -> bool:
        return self.required or (rule.always and self.keys is not None)

    def _refused(self, because: str, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Refusal:
        self.meters.refused(because)
        return Refusal(status, kind, message, headers)

    def _key(self, authorization: str) -> tuple[str, Key] | None:
        scheme, _, secret = authorization.partition(" ")
        if self.keys is None or scheme.lower() != "bearer":
            return None
        try:
            return self.keys.find(secret.strip())
        except ReleaseError as error:
            _log.warning("no key opens anything: %s", error)
            return None

    def may_name(self, user: str) -> bool:
        """Return whether the key of this call may name a user, by the id as it was asked."""
        return user.startswith(_users.get())

    def require_theirs(self, users: Iterable[str]) -> None:
        """Refuse users of somebody else's, by the ids as they were asked.

        Raises:
            NotTheirs: if one of them is none of the key's.
        """
        if not all(map(self.may_name, users)):
            self.meters.refused("user")
            raise NotTheirs

    def admit(self, users: Mapping[str, int]) -> None:
        """Count what users ask for.

        Args:
            users: how much by user; a user who asks for more than is left now, waits for longer afterwards.

        Raises:
            TooOften: if one of them must wait; then none is counted.
        """
        if wait_s := self.by_user.wait_s(users):
            self.meters.refused("user_rate")
            raise TooOften(wait_s, "user")
        self.by_user.spend(users)


_NO_KEY = "this asks for `authorization: Bearer KEY`; motet keys add NAME makes a key"


def guard_here() -> Guard:
    """Return the guard of the Gateway that this process runs."""
    guard: Guard = serve.get_replica_context().servable_object.guard
    return guard


class Door:
    """ASGI middleware that asks the guard first.

    Args:
        app: what is behind.
        guard: returns the guard.
    """

    def __init__(self, app: Any, guard: Callable[[], Guard] = guard_here) -> None:
        self.app, self.guard = app, guard

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand on the calls that may come in, and answer the others."""
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            if (refusal := self.guard().refusal(scope["method"], path, given)) is not None:
                await refusal.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)
