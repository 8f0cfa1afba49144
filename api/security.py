"""Who may call: keys, the wall's cookie, and what keeps foreign web pages out of a loopback server."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aisleflow.settings import Settings
from api.problems import ProblemResponse

COOKIE = "aisleflow_wall"
COOKIE_LIFE_S = 30 * 24 * 3600
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
OPEN_PATHS = frozenset({"/health", "/login"})
QUESTION_PATHS = frozenset({"/questions", "/questions/measures"})
#: In the scope of a request: the shops that its key may ask about; not there for who may know of all.
SHOPS = "aisleflow_shops"


class InsecureError(RuntimeError):
    """The program would be open to a network; the message says what to set."""


def check_binding(settings: Settings) -> None:
    """Refuse to serve a network without keys.

    Raises:
        InsecureError: the host is not loopback and no key is configured.
    """
    if settings.host not in LOOPBACK and not settings.api_key_set:
        raise InsecureError(
            f"AISLEFLOW_HOST is {settings.host}, which others can reach, but AISLEFLOW_API_KEYS is empty: "
            "set keys, or use 127.0.0.1."
        )


def _sign(key: str, until: int) -> str:
    return hmac.new(key.encode(), f"aisleflow wall until {until}".encode(), hashlib.sha256).hexdigest()


def make_cookie(key: str, now: float | None = None) -> str:
    """A pass for the pages that does not show the key, and ends with it or after 30 days."""
    until = int(now if now is not None else time.time()) + COOKIE_LIFE_S
    return f"{until}.{_sign(key, until)}"


def is_cookie(value: str, keys: frozenset[str], now: float | None = None) -> bool:
    """Whether the value was made from one of the keys and holds still."""
    until, _, signature = value.partition(".")
    if not until.isascii() or not until.isdecimal() or len(until) > 12:
        return False
    if int(until) < (now if now is not None else time.time()):
        return False
    return any(hmac.compare_digest(_sign(key, int(until)).encode(), signature.encode()) for key in keys)


def is_key(value: str, keys: frozenset[str]) -> bool:
    """Whether the value is one of the keys, in constant time."""
    return any(hmac.compare_digest(key.encode(), value.encode()) for key in keys)


def _shops_of(value: str, keys: Mapping[str, frozenset[str]]) -> frozenset[str] | None:
    """The shops of a key that may only ask; None if it is no such key. In the same time whichever it is."""
    found = [shops for key, shops in keys.items() if hmac.compare_digest(key.encode(), value.encode())]
    return found[0] if found else None


def asker(headers: Headers, keys: bool) -> str:
    """Who asks, for the record: a mark of the key, which does not show it; the page; or open, where no key is needed."""
    if given := _given_key(headers):
        return f"key {hashlib.sha256(given.encode()).hexdigest()[:8]}"
    return "page" if keys else "open"


def _given_key(headers: Headers) -> str:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return headers.get("x-api-key") or (credentials.strip() if scheme.lower() == "bearer" else "")


def _given_cookie(headers: Headers) -> str:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def hostname(host: str) -> str:
    """The name in a Host header, without port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """ASGI middleware for HTTP and websockets alike."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = settings.api_key_set
        self._question_keys = settings.question_key_shops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # Without keys, only names of this machine: a foreign name that resolves to loopback is DNS rebinding.
        if not self._keys and hostname(host) not in LOOPBACK:
            return ProblemResponse(400, "This server answers only to localhost; configure API keys to serve others.")
        origin = headers.get("origin")
        if origin is not None and origin != "null" and urlsplit(origin).netloc.lower() != host.lower():
            return ProblemResponse(403, "Pages of other origins may not call this server.")
        if origin == "null" and scope.get("method", "GET") not in ("GET", "HEAD"):
            return ProblemResponse(403, "Pages of unknown origin may not call this server.")
        given = _given_key(headers)
        if scope["path"] in QUESTION_PATHS and (shops := _shops_of(given, self._question_keys)) is not None:
            scope[SHOPS] = shops
            return None
        if not self._keys or scope["path"] in OPEN_PATHS or is_key(given, self._keys):
            return None
        # The cookie opens the pages only: it must not let a browser be talked into changing anything.
        reading = (
            scope["type"] == "websocket" or scope["method"] in ("GET", "HEAD") or scope["path"].startswith("/_nicegui")
        )
        if reading and is_cookie(_given_cookie(headers), self._keys):
            return None
        if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return ProblemResponse(303, "Log in first.", headers={"Location": "/login"})
        return ProblemResponse(
            401,
            "Give an API key as X-API-Key or as Authorization: Bearer.",
            headers={"WWW-Authenticate": 'Bearer realm="aisleflow"'},
        )
