"""The FastAPI application without its routes: size limit, and errors that never repeat the input."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from motet.errors import RequestError
from serve.schemas import Problems, RecommendRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_KNOWN = {"body", "query", "path", "header", "item", "k", *RecommendRequest.model_fields}
REFUSED: dict[int | str, dict[str, Any]] = {422: {"model": Problems, "description": "The request is refused."}}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problems, "description": "There is no such item."}}


def refuse(message: str, *, where: str = "body", kind: str = "request", status: int = 422) -> JSONResponse:
    """Return a refusal in the shape of `Problems`."""
    return JSONResponse({"detail": [{"loc": [where], "msg": message, "type": kind}]}, status)


class BodyLimit:
    """ASGI middleware that reads at most a number of bytes of a body and refuses the rest."""

    def __init__(self, app: Any, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Buffer the body, then hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.most:
                await self._refuse(send)
                return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    async def _refuse(self, send: Send) -> None:
        detail = [{"loc": ["body"], "msg": f"the body is larger than {self.most} bytes", "type": "too_long"}]
        content = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 422, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def make_app(most_body_bytes: int = 65_536) -> FastAPI:
    """Return the application that the Gateway adds its routes to."""
    app = FastAPI(
        title="Motet",
        description="Recommendations with task scores and reasons.",
        version="1",
        docs_url="/docs",
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, most=most_body_bytes)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(RequestError, _on_refused)
    app.add_exception_handler(HTTPException, _on_http)
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
    return refuse(str(error.detail), where="path", kind="http", status=error.status_code)


async def _on_refused(request: Request, error: Exception) -> JSONResponse:
    del request
    return refuse(str(error))
