"""The application's OpenAPI document: what FastAPI makes of the routes, and which key each call needs."""

from typing import Any

from fastapi import FastAPI

from serve.door import rule_of

SCHEME = "key"
_DENIED = {
    "401": "A key is needed, and there is none or it is none of this workspace.",
    "403": "The key has not the scope that this needs, or may not name this user.",
    "429": "The key or the user asks too often, or too many requests are in flight; come again after Retry-After.",
}


class Api(FastAPI):
    """A FastAPI application whose document names the keys."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            said = "From `motet keys add NAME --scope SCOPE`; the list of each call says which scope."
            schemes[SCHEME] = {"type": "http", "scheme": "bearer", "description": said}
            for path, methods in document["paths"].items():
                for method, call in methods.items():
                    _say_key(method.upper(), path, call)
        return super().openapi()


def _say_key(method: str, path: str, call: dict[str, Any]) -> None:
    rule = rule_of(method, path)
    if rule is None:
        return
    needed = {SCHEME: [rule.scope]}
    call["security"] = [needed] if rule.always else [{}, needed]
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problems"}}}
    for status, said in _DENIED.items():
        call["responses"].setdefault(status, {"description": said, "content": content})
