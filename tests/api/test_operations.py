"""Health, metrics, the log, keys, and what keeps foreign pages out."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from aisleflow.settings import Settings
from api import security
from api.app import create_app
from api.health.monitor import stale
from api.request_log import trace_id
from api.stores.known import Store
from schemas.events import StoreLayout
from schemas.layouts import StoreCalendar
from tests.api.rows import feed, fill

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)  # a Tuesday
HOURS = '{"store_id": "S", "timestamp": "2026-01-01T00:00:00Z", "opening_hours": {"tue": [["10:00", "12:00"]]}}'
WITH_HOURS = StoreCalendar("S", StoreLayout.model_validate_json(HOURS))


def test_health(api: TestClient, world: Settings) -> None:
    last = datetime.now(UTC) - timedelta(minutes=61, seconds=30)
    fill(world, store_feed=[feed("SLOW", last), feed("FRESH", datetime.now(UTC))])
    deadline = time.monotonic() + 30
    # A broker that has just started knows no groups for a moment.
    while "does not tell" in (answer := api.get("/health")).json()["parts"]["workers"]["detail"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = answer.json()
    assert answer.status_code == 200 and found["status"] == "degraded"
    assert found["stores"]["SLOW"]["lag_minutes"] == 61 and found["stores"]["FRESH"]["lag_minutes"] == 0
    assert [(w["type"], w["store_id"], w["lag_minutes"]) for w in found["warnings"]] == [("STALE_FEED", "SLOW", 61)]
    assert {name: part["status"] for name, part in found["parts"].items()} == {
        "kafka": "up",
        "clickhouse": "up",
        "workers": "down",
    }


@pytest.mark.parametrize("away", ["kafka", "clickhouse"])
def test_health_without_a_part(kafka: str, clickhouse: str, make_world: Callable[..., Settings], away: str) -> None:
    settings = make_world(None if away == "kafka" else kafka, None if away == "clickhouse" else clickhouse)
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as alone:
        answer = alone.get("/health")
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    found = answer.json()
    assert found["status"] == "unhealthy" and found["parts"][away]["status"] == "down"
    password = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
    assert password.split("@")[0] not in answer.text


@pytest.mark.parametrize(
    ("calendar", "now", "last", "expected"),
    [
        (StoreCalendar("S"), NOW, NOW - timedelta(minutes=10), None),
        (StoreCalendar("S"), NOW, NOW - timedelta(minutes=10, milliseconds=1), 10),
        (StoreCalendar("S"), NOW, None, None),
        (WITH_HOURS, NOW, NOW - timedelta(hours=5), None),
        (WITH_HOURS, NOW - timedelta(seconds=1), NOW - timedelta(hours=5), 299),
        (WITH_HOURS, NOW + timedelta(days=1, hours=-1), NOW, None),
        (StoreCalendar("S"), None, NOW - timedelta(hours=5), None),
    ],
)
def test_stale_only_in_opening_hours_and_where_all_is_read(
    calendar: StoreCalendar, now: datetime | None, last: datetime | None, expected: int | None
) -> None:
    warning = stale(Store("S", calendar, last), now)
    assert (warning.lag_minutes if warning else None) == expected


def test_metrics_for_prometheus(api: TestClient) -> None:
    api.get("/stores/nobody/metrics")
    text = api.get("/metrics").text
    line = r'aisleflow_http_requests_total\{endpoint="/stores/\{store_id\}/metrics",method="GET",status_code="404"\} \d'
    assert re.search(line, text)
    assert "nobody" not in text


def test_the_log_line_of_a_request(api: TestClient) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = api.post("/events/ingest", json={"events": [{}, {}]}, headers={"X-Trace-Id": "trace-00042"})
    (line,) = [line for line in lines if line["event"] == "request_complete"]
    assert isinstance(line.pop("latency_ms"), int)
    assert line == {
        "event": "request_complete",
        "log_level": "info",
        "trace_id": "trace-00042",
        "endpoint": "/events/ingest",
        "method": "POST",
        "status_code": 200,
        "inserted_events": 0,
        "duplicates": 0,
        "errors": 2,
    }
    assert answer.headers["X-Trace-Id"] == "trace-00042"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01", "x-trace-id": "given-0001"}, "given-0001"),
        ({"x-trace-id": "a\nb-forged-line"}, None),
        ({"x-trace-id": "x" * 65}, None),
        ({}, None),
    ],
)
def test_trace_id(headers: dict[str, str], expected: str | None) -> None:
    found = trace_id(Headers(headers))
    assert found == expected if expected else re.fullmatch(r"[0-9a-f]{32}", found)


@pytest.mark.parametrize("path", ["/nothing", "/stores/S/nothing", "/events"])
def test_what_is_not_there_is_a_problem(api: TestClient, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


def test_the_wrong_method_is_a_405(api: TestClient) -> None:
    answer = api.delete("/events/ingest")
    assert answer.status_code == 405 and answer.json()["status"] == 405 and "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Host": "evil.example:8000"}, 400),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": ""}, 400),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}, 200),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9000"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "null"}, 403),
    ],
)
def test_foreign_pages_stay_out(api: TestClient, headers: dict[str, str], status: int) -> None:
    assert api.post("/events/ingest", json=[], headers=headers).status_code == status


@pytest.fixture(scope="module")
def locked(world: Settings) -> Any:
    """The API with two keys configured."""
    keyed = world.model_copy(update={"api_keys": type(world.clickhouse_url)("first-key, second-key")})
    with TestClient(create_app(keyed, wall=False), base_url="http://shops.example") as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": "first-key"}, 200),
        ({"X-API-Key": "second-key"}, 200),
        ({"Authorization": "Bearer second-key"}, 200),
        ({"Authorization": "bearer first-key"}, 200),
        ({"X-API-Key": "first-key, second-key"}, 401),
        ({"X-API-Key": "first"}, 401),
        ({"X-API-Key": "é"}, 401),
        ({"Authorization": "Basic Zmlyc3Qta2V5"}, 401),
        ({"Cookie": f"{security.COOKIE}={security.make_cookie('first-key')}"}, 401),
    ],
)
def test_with_keys_every_call_needs_one(locked: TestClient, headers: dict[str, str], status: int) -> None:
    raw = {name: value.encode() for name, value in headers.items()}
    answer = locked.post("/events/ingest", json=[], headers=raw)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["content-type"] == "application/problem+json" and answer.headers["WWW-Authenticate"]
    assert locked.get("/stores", headers={**raw, "Cookie": ""}).status_code == status


def test_health_needs_no_key_and_the_cookie_opens_pages(locked: TestClient) -> None:
    assert locked.get("/health").status_code == 200
    cookie = {"Cookie": f"{security.COOKIE}={security.make_cookie('second-key')}"}
    assert locked.get("/stores", headers=cookie).status_code == 200
    sent_to_login = locked.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
    assert sent_to_login.status_code == 303 and sent_to_login.headers["Location"] == "/login"


def test_the_cookie_ends() -> None:
    keys = frozenset({"k"})
    cookie = security.make_cookie("k", now=1000)
    assert security.is_cookie(cookie, keys, now=1000 + security.COOKIE_LIFE_S)
    assert not security.is_cookie(cookie, keys, now=1001 + security.COOKIE_LIFE_S)
    assert not security.is_cookie(cookie, frozenset({"other"}), now=1000)
    until, _, signature = cookie.partition(".")
    assert not security.is_cookie(f"{int(until) + 1}.{signature}", keys, now=1000)
    for forged in ("", ".", "x.y", "²." + signature, "9" * 5000 + "." + signature):
        assert not security.is_cookie(forged, keys, now=1000)


@pytest.mark.parametrize(
    ("host", "keys", "refused"),
    [
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("0.0.0.0", None, True),
        ("0.0.0.0", " , ", True),
        ("0.0.0.0", "k", False),
        ("192.168.1.7", None, True),
    ],
)
def test_without_keys_only_loopback(host: str, keys: str | None, refused: bool) -> None:
    settings = Settings(_env_file=None, host=host, api_keys=keys)  # type: ignore[call-arg, arg-type]
    if refused:
        with pytest.raises(security.InsecureError, match="AISLEFLOW_API_KEYS"):
            security.check_binding(settings)
    else:
        security.check_binding(settings)


def test_it_says_when_all_is_loaded(world: Settings) -> None:
    loaded = threading.Event()
    with TestClient(create_app(world, wall=False, when_loaded=loaded.set)):
        assert loaded.wait(120)
