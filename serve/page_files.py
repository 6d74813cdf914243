"""The page: static files at `/` and `/page/`, read once, under a policy that lets the browser run nothing else."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response

FOLDER = Path(__file__).resolve().parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors", "trusted-types")),
        "require-trusted-types-for 'script'",  # no text can become markup, whatever a script does
    ]
)
_HEADERS = {
    "cache-control": "no-cache",  # kept, but asked for anew each time: a 304 unless a file has changed
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def add_page(app: FastAPI) -> None:
    """Add the page's routes."""
    methods = ["GET", "HEAD"]
    app.add_api_route("/", get_index, methods=methods, include_in_schema=False)
    app.add_api_route("/page/{name}", get_file, methods=methods, include_in_schema=False)


async def get_index(request: Request) -> Response:
    """Return the page."""
    return _answer("index.html", request)


async def get_file(name: str, request: Request) -> Response:
    """Return a file of the page."""
    return _answer(name, request)


def _answer(name: str, request: Request) -> Response:
    if name not in files():
        raise HTTPException(404, "Not Found")
    content, tag = files()[name]
    headers = {**_HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[Path(name).suffix])


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """Return (content, tag) of each file by name."""
    contents = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in _TYPES}
    return {name: (content, f'"{hashlib.sha256(content).hexdigest()[:32]}"') for name, content in contents.items()}
