"""One log line and one measurement a request, and the trace id that ties them to the answer."""

from __future__ import annotations

import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aisleflow import log, metrics, tracing

_TRACE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

logger = log.get(__name__)


def trace_id(headers: Headers) -> str:
    """The caller's trace id, from ``traceparent`` (W3C) or ``X-Trace-Id`` if valid; else a new one."""
    if known := tracing.trace_id_of(headers.get(tracing.HEADER)):
        return known
    given = headers.get("x-trace-id", "")
    return given if _TRACE_ID.fullmatch(given) else tracing.new_id()


class RequestLog:
    """ASGI middleware. A route may put further fields of the line in ``scope["log_fields"]``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        trace = trace_id(headers)
        parent = headers.get(tracing.HEADER) if tracing.trace_id_of(headers.get(tracing.HEADER)) else None
        scope["log_fields"] = {}
        status = 500

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Trace-Id"] = trace
            await send(message)

        try:
            # Not the path, which may be anything: what is seen in traces is named below.
            with tracing.span(scope["method"], "SERVER", parent=parent, trace_id=tracing.w3c_id(trace)) as span:
                await self._app(scope, receive, send_traced)
                if span is not None:
                    template = getattr(scope.get("route"), "path", None) or "page"
                    span.update_name(f"{scope['method']} {template}")
                    span.set_attribute("http.route", template)
                    span.set_attribute("http.response.status_code", status)
        except Exception:
            logger.exception("request_failed", trace_id=trace)
            raise
        finally:
            elapsed = time.perf_counter() - started
            path: str = scope["path"]
            # The template, not the path: a metric must not grow with every id that somebody asks for.
            template = getattr(scope.get("route"), "path", None) or "page"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            metrics.REQUESTS.labels(method, template, status).inc()
            metrics.REQUEST_SECONDS.labels(method, template).observe(elapsed)
            write = logger.debug if path.startswith("/_nicegui") else logger.info
            write(
                "request_complete",
                trace_id=trace,
                endpoint=path[:200],
                method=method,
                status_code=status,
                latency_ms=round(elapsed * 1000),
                **scope["log_fields"],
            )


_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
