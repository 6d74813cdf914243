"""The FastAPI application without its routes: its door, size limit, and errors that never repeat the input."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from motet.errors import RequestError
from serve.api import Api
from serve.calls import StepFailed
from serve.door import Door, NotTheirs, TooOften
from serve.event_schemas import MOST_EVENT_BYTES, EventRequest
from serve.gate import Busy
from serve.item_schemas import MOST_NEW_BYTES, ItemsQuery, NewItem
from serve.page_files import add_page
from serve.schemas import Problems, RecommendRequest, RuleModel

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_KNOWN = {
    "body", "query", "path", "header", "item", "k", "event", "events", *RecommendRequest.model_fields,
    *EventRequest.model_fields, *ItemsQuery.model_fields, *NewItem.model_fields, *RuleModel.model_fields, "trace",
    "items",
}  # fmt: skip
MOST_BYTES = {"/v1/events": MOST_EVENT_BYTES, "/v1/items": MOST_NEW_BYTES}
"""Largest body by path, where it is another than elsewhere."""
REFUSED: dict[int | str, dict[str, Any]] = {422: {"model": Problems, "description": "The request is refused."}}
BUSY: dict[int | str, dict[str, Any]] = {
    413: {"model": Problems, "description": "The body is too large."},
    429: {"model": Problems, "description": "Too many requests are in flight; come again after Retry-After seconds."},
    503: {"model": Problems, "description": "A step that this needs did not answer in time."},
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problems, "description": "There is no such item."}}


def refuse(
    message: str, *, where: str = "body", kind: str = "request", status: int = 422, wait_s: int | None = None
) -> JSONResponse:
    """Return a refusal in the shape of `Problems`."""
    headers = None if wait_s is None else {"retry-after": str(wait_s)}
    return JSONResponse({"detail": [{"loc": [where], "msg": message, "type": kind}]}, status, headers)


class BodyLimit:
    """ASGI middleware that reads at most a number of bytes of a body and refuses the rest."""

    def __init__(self, app: Any, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Buffer the body, then hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = MOST_BYTES.get(scope["path"].removeprefix(scope.get("root_path", "")), self.most)
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                await self._refuse(send, most)
                return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, replay, send)

    async def _refuse(self, send: Send, most: int) -> None:
        detail = [{"loc": ["body"], "msg": f"the body is larger than {most} bytes", "type": "too_long"}]
        content = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def make_app(most_body_bytes: int = 65_536) -> FastAPI:
    """Return the application that the Gateway adds its routes to."""
    app = Api(
        title="Motet",
        description="Recommendations with task scores and reasons.",
        version="1",
        docs_url="/docs",
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, most=most_body_bytes)
    app.add_middleware(Door)  # the last one is the first to be asked
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(RequestError, _on_refused)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Busy, _on_busy)
    app.add_exception_handler(TooOften, _on_too_often)
    app.add_exception_handler(NotTheirs, _on_not_theirs)
    app.add_exception_handler(StepFailed, _on_failed)
    add_page(app)
    return app


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    """Say where and why, never what."""
    del request
    assert isinstance(error, RequestValidationError)
    detail = [
        {"loc": [_safe(part) for part in one["loc"]], "msg": _message(one), "type": one["type"]}
        for one in error.errors()
    ]
    return JSONResponse({"detail": detail[:20]}, 422)


def _safe(part: Any) -> str | int:
    if isinstance(part, int):
        return part
    return part if part in _KNOWN else "?"


def _message(one: Any) -> str:
    if one["type"] == "json_invalid":
        return "the body is not JSON"
    return str(one["msg"])


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Give every error the same shape; a body that Python cannot parse (too deep, too long a number) is a 422."""
    del request
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return refuse("the body is not JSON that can be read", kind="json_invalid")
    refusal = refuse(str(error.detail), where="path", kind="http", status=error.status_code)
    refusal.headers.update(error.headers or {})  # such as which methods a path allows
    return refusal


async def _on_refused(request: Request, error: Exception) -> JSONResponse:
    del request
    return refuse(str(error))


async def _on_busy(request: Request, error: Exception) -> JSONResponse:
    del request, error
    said = "too many requests are in flight; come again later"
    return refuse(said, kind="busy", status=429, wait_s=Busy.retry_after_s)


async def _on_too_often(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, TooOften)
    return refuse(str(error), kind="too_often", status=429, wait_s=error.retry_after_s)


async def _on_not_theirs(request: Request, error: Exception) -> JSONResponse:
    del request
    return refuse(str(error), kind="forbidden", status=403)


async def _on_failed(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, StepFailed)
    said = f"the {error.step} did not answer ({error.because}); come again later"
    return refuse(said, kind="unavailable", status=503, wait_s=Busy.retry_after_s)
