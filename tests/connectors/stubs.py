"""Other systems over real HTTP: ERPs that behave as ERPNext's and Odoo's APIs do, troubles included, and receivers of webhooks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Answer = tuple[int, Any, dict[str, str]]


@dataclass
class Request:
    """What a stub was asked."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def serving(answer: Callable[[Request], Answer | None]) -> Iterator[str]:
    """An HTTP server on loopback; None from ``answer`` hangs up without an answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(
                self.command, unquote(parts.path), dict(parse_qsl(parts.query)), headers, self.rfile.read(length)
            )
            found = answer(request)
            if found is None:
                self.close_connection = True
                return
            status, content, more = found
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Who asked has gone away."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class ErpNext:
    """``/api/resource/DOCTYPE`` of Frappe: JSON in the query, pages by limit_start, 429 with Retry-After, documents made by POST."""

    def __init__(self, documents: list[dict[str, Any]], troubles: list[Answer | None] | None = None) -> None:
        self.documents = documents
        self.made: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.troubles = troubles or []
        self.after_page: Callable[[int], None] = lambda page: None

    def __call__(self, request: Request) -> Answer | None:
        self.requests.append(request)
        if request.headers.get("authorization") != "token key:secret":
            return 403, {"exc_type": "AuthenticationError"}, {}
        if self.troubles and (trouble := self.troubles.pop(0)) != "fine":
            return trouble
        if request.method == "POST":
            document = {**request.json, "name": f"PUR-ORD-{len(self.made) + 1:05}"}
            self.made.append(document)
            return 200, {"data": document}, {}
        return 200, {"data": self._listed(request)}, {}

    def _listed(self, request: Request) -> list[dict[str, Any]]:
        source = self.documents if request.path.endswith("Stock Ledger Entry") else self.made
        found = source
        for name, operator, value in json.loads(request.params["filters"]):
            assert operator in (">=", "=")
            found = [one for one in found if (one[name] >= value if operator == ">=" else one[name] == value)]
        if "order_by" in request.params:
            found = sorted(found, key=lambda one: (one["modified"], one["name"]))
        start, length = int(request.params.get("limit_start", 0)), int(request.params.get("limit_page_length", 20))
        page = [dict(one) for one in found[start : start + length]]
        self.after_page(len(self.requests))
        return page


class Odoo:
    """``POST /json/2/MODEL/search_read`` of Odoo 19: a domain in the body, a bare list as answer, false where a field is empty."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Answer | None:
        self.requests.append(request)
        if request.headers.get("authorization") != "bearer key" or request.headers.get("x-odoo-database") != "shop":
            return 401, {"name": "werkzeug.exceptions.Unauthorized", "message": "Invalid apikey"}, {}
        assert request.path.startswith("/json/2/stock.move.line/search_read")
        asked = request.json
        found = list(self.records)
        for name, operator, value in asked["domain"]:
            found = [one for one in found if (one[name] >= value if operator == ">=" else one[name] == value)]
        found.sort(key=lambda one: (one["write_date"], one["id"]))
        return 200, found[asked["offset"] : asked["offset"] + asked["limit"]], {}
