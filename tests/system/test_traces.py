"""A request's way through the real parts, told by its trace id: by the logs, and by spans that a collector receives."""

from __future__ import annotations

import gzip
import json
import secrets
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from typer.testing import CliRunner

from aisleflow.cli import app
from aisleflow.clients import kafka_producer
from aisleflow.commands.trace import Line, story
from aisleflow.tracing import new_id, trace_id_of, w3c_id
from stream_processors.engine.dead_letter_desk import Desk
from tests.system.running import System

pytestmark = pytest.mark.system


class Collector:
    """An OTLP receiver over HTTP, which keeps every span by its name."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    (service,) = (a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                    for scope in resource.scope_spans:
                        collector.spans += [(service, span) for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def named(self, name: str) -> list[Any]:
        return [span for _, span in self.spans if span.name == name]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


@pytest.fixture(scope="module", params=["logs only", "with a collector"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[System]:
    variables = {"otlp_endpoint": collector.url} if request.param == "with a collector" else {}
    system = System(tmp_path_factory.mktemp("traces"), 1, **variables)
    yield system
    system.stop()


def event(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}",
        "store_id": "S1",
        "camera_id": "C1",
        "visitor_id": secrets.token_hex(4),
        "event_type": "ENTRY",
        "timestamp": datetime.now(UTC).isoformat(),
        "confidence": 0.9,
        **changes,
    }


def send(system: System, headers: dict[str, str]) -> str:
    """Ingest an event and wait until it is processed; the trace id of the answer."""
    request = urllib.request.Request(
        f"{system.url}/events/ingest?wait=processed&timeout_s=30",
        json.dumps({"events": [event()]}).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.loads(answer.read())["processed"] is True
        return str(answer.headers["X-Trace-Id"])


def told(system: System, trace_id: str, wanted: set[str]) -> list[Line]:
    """The story of a trace, once it holds these events."""
    deadline = time.monotonic() + 20
    while True:
        lines = story(system.data_dir / "logs", trace_id)
        if wanted <= {line.fields["event"] for line in lines} or time.monotonic() > deadline:
            return lines
        time.sleep(0.1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": f"00-{new_id()}-00f067aa0ba902b7-01"},
        {"X-Trace-Id": "order 66".replace(" ", "-") + "-and-more"},
    ],
    ids=["made here", "W3C", "a name"],
)
def test_the_story_goes_from_http_to_kafka_to_clickhouse(running: System, headers: dict[str, str]) -> None:
    trace_id = send(running, headers)
    if "X-Trace-Id" in headers:
        assert trace_id == headers["X-Trace-Id"]
    lines = told(running, trace_id, {"published", "cycle_stored", "statement", "request_complete"})
    parts = {(line.part, line.fields["event"]) for line in lines}
    assert parts >= {
        ("api", "published"),
        ("worker-0", "cycle_stored"),
        ("clickhouse", "statement"),
        ("api", "request_complete"),
    }
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    (stored,) = (line.fields for line in lines if line.fields["event"] == "cycle_stored")
    (published,) = (line.fields for line in lines if line.fields["event"] == "published")
    assert w3c_id(trace_id) in stored["trace_ids"] and published["trace_id"] == w3c_id(trace_id)
    ((place, _),) = published["offsets"].items()
    assert any(offsets.startswith(f"{place.replace('/', '-')}-") for offsets in stored["offsets"])
    inserted = [line.fields["statement"] for line in lines if line.fields.get("comment", "").startswith("cycle ")]
    assert {"INSERT events", "INSERT event_ids", "INSERT visits"} <= set(inserted)
    result = CliRunner().invoke(app, ["trace", trace_id, "--logs", str(running.data_dir / "logs")])
    assert result.exit_code == 0 and "POST /events/ingest: 200 after" in result.output
    assert "INSERT visits: 1 rows in" in result.output


def test_a_dead_letter_carries_the_trace_of_its_sender(running: System) -> None:
    trace_id = new_id()
    producer = kafka_producer(running.settings)
    headers: list[Any] = [("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01".encode())]
    producer.produce("visit-events", b"{", b"S1", headers=headers)
    producer.flush()
    lines = told(running, trace_id, {"dead_letters", "cycle_stored"})
    assert {"dead_letters", "cycle_stored"} <= {line.fields["event"] for line in lines}
    (letter,) = (
        letter
        for letter in Desk(running.settings, "visit-events").waiting()
        if trace_id_of(letter.headers.get("traceparent")) == trace_id
    )
    assert letter.value == b"{"


def test_a_trace_that_nobody_knows(running: System) -> None:
    result = CliRunner().invoke(app, ["trace", new_id(), "--logs", str(running.data_dir / "logs")])
    assert result.exit_code == 1 and "no log in" in result.output


def test_spans_reach_a_collector(running: System, collector: Collector) -> None:
    caller = new_id()
    before = len(collector.spans)
    send(running, {"traceparent": f"00-{caller}-00f067aa0ba902b7-01"})
    if not (running._variables.get("AISLEFLOW_OTLP_ENDPOINT")):
        assert len(collector.spans) == before, "without the setting nothing is exported"
        return
    deadline = time.monotonic() + 20
    of_caller: list[Any] = []
    linked: list[Any] = []
    while time.monotonic() < deadline and not (len(of_caller) >= 2 and linked):
        time.sleep(0.2)
        of_caller = [span for _, span in collector.spans if span.trace_id.hex() == caller]
        linked = [s for s in collector.named("cycle") if any(link.trace_id.hex() == caller for link in s.links)]
    by_name = {span.name: span for span in of_caller}
    request, publish = by_name["POST /events/ingest"], by_name["visit-events publish"]
    assert request.parent_span_id.hex() == "00f067aa0ba902b7" and publish.parent_span_id == request.span_id
    cycle = linked[0]
    assert [link.span_id for link in cycle.links if link.trace_id.hex() == caller] == [publish.span_id]
    inserts = [span for _, span in collector.spans if span.parent_span_id == cycle.span_id]
    assert {"INSERT events", "INSERT visits"} <= {span.name for span in inserts}
    assert {service for service, span in collector.spans if span.name == "cycle"} == {"aisleflow-worker"}
    made_here = send(running, {})
    deadline = time.monotonic() + 20
    while not (roots := [s for _, s in collector.spans if s.trace_id.hex() == made_here and not s.parent_span_id]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert [span.name for span in roots] == ["POST /events/ingest"], "a trace begins where its id was made"
