"""Trace ids from HTTP to Kafka to ClickHouse (W3C Trace Context) and, with ``AISLEFLOW_OTLP_ENDPOINT``, OpenTelemetry spans.

``current`` is the ``traceparent`` of what is being done; threads and tasks begun meanwhile inherit it. Without an endpoint a
``span`` only passes its parent on, and OpenTelemetry's SDK is not even imported.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from aisleflow.settings import Settings

HEADER = "traceparent"
#: More links than this say nothing more about a cycle.
MOST_LINKS = 128
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

current: ContextVar[str | None] = ContextVar("traceparent", default=None)
_wanted: ContextVar[str | None] = ContextVar("wanted_trace_id", default=None)
_tracer: Tracer | None = None


def new_id() -> str:
    """A trace id that nobody has: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def w3c_id(name: str) -> str:
    """The W3C trace id for a trace's name: itself where it is one (also written as a UUID), else one that follows from it."""
    digits = name.lower().replace("-", "")
    if re.fullmatch(r"[0-9a-f]{32}", digits) and digits.strip("0"):
        return digits
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def trace_id_of(traceparent: str | bytes | None) -> str | None:
    """The trace id in a ``traceparent``; None if it is not one."""
    if isinstance(traceparent, bytes):
        traceparent = traceparent.decode("latin-1")
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match and match[1].strip("0") and match[2].strip("0") and match[0][:2] != "ff" else None


def traceparent_of(headers: Iterable[tuple[str, Any]]) -> str | None:
    """The valid ``traceparent`` among a Kafka record's headers."""
    for name, value in headers:
        if name == HEADER and trace_id_of(value) is not None:
            return value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return None


def http_headers() -> dict[str, str] | None:
    """What a request made now carries, so that a server's log can be tied to this one; None if nothing."""
    traceparent = current.get()
    return {HEADER: traceparent} if traceparent else None


def configure(settings: Settings, service: str) -> None:
    """Export spans to ``AISLEFLOW_OTLP_ENDPOINT``, if it is set; ``service`` is this program's name in them.

    What cannot be exported is dropped, with a line in the log; nothing waits for it.
    """
    global _tracer
    if not settings.otlp_endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):  # type: ignore[misc, unused-ignore]
        """The trace id that the log has, where a trace begins here."""

        def generate_trace_id(self) -> int:
            wanted = _wanted.get()
            return int(wanted, 16) if wanted else int(super().generate_trace_id())

    provider = TracerProvider(id_generator=Ids(), resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(settings.otlp_endpoint.rstrip("/") + "/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    _tracer = provider.get_tracer("aisleflow")


@contextmanager
def span(
    name: str,
    kind: str = "INTERNAL",
    *,
    parent: str | None = None,
    trace_id: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """Do something under a span: ``current`` is its ``traceparent`` meanwhile. Gives the span, None without an endpoint.

    Args:
        name: as OpenTelemetry's conventions say.
        kind: INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER.
        parent: ``traceparent`` of the caller; else a trace begins here.
        trace_id: the id of a trace that begins here (32 hexadecimal digits).
        links: ``traceparent`` of what led to this and is no caller.
        attributes: what else to tell.
    """
    if _tracer is None:
        token = current.set(
            parent or (f"00-{trace_id}-{secrets.token_hex(8)}-01" if trace_id else next(iter(links), None))
        )
        try:
            yield None
        finally:
            current.reset(token)
        return
    from opentelemetry import trace
    from opentelemetry.context import Context

    wanted = _wanted.set(trace_id)
    try:
        started = _tracer.start_span(
            name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(_context(parent))) if parent else Context(),
            kind=trace.SpanKind[kind],
            links=[trace.Link(_context(link)) for link, _ in zip(links, range(MOST_LINKS), strict=False)],
            attributes=dict(attributes or {}),
        )
    finally:
        _wanted.reset(wanted)
    ids = started.get_span_context()
    token = current.set(f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}")
    try:
        yield started
    except BaseException as error:
        started.record_exception(error)
        started.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        current.reset(token)
        started.end()


def _context(traceparent: str) -> Any:
    from opentelemetry import trace

    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return trace.INVALID_SPAN_CONTEXT
    flags = trace.TraceFlags(int(match[3], 16))
    return trace.SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=flags)
