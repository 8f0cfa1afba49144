"""What comes from outside is data: never SQL, never a header, never a line of the log; and a body has a limit."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.events.bodies import MAX_BODY_BYTES
from tests.api.conftest import serve
from tests.api.rows import DAY, feed, fill, visit, zone_visit

pytestmark = pytest.mark.system
SHOP = "INJ"
NASTY = [
    "'", '"', "`", "\\", "\\'", "'; DROP TABLE visits; --", "' OR '1'='1", "') OR 1=1 --", "INJ' UNION ALL SELECT 1 --", "/* */", "--",
    "%(store_id)s", "%s", "{store_id:String}", "{x:Identifier}", "$(id)", "{{7*7}}", "INJ\x00", "\x00", "INJ\n", "INJ\r\nX-Evil: 1",
    "‘INJ’", "ＩＮＪ", "INJ\u202e", "\ud7ff", "😀", "%27", "%2527", "../INJ", "INJ/../INJ", "a" * 200, "a" * 5000,
]  # fmt: skip
ANSWERS = ("metrics", "funnel", "heatmap", "anomalies")


@pytest.fixture(scope="module")
def settings(world: Settings) -> Settings:
    """A shop with one visit to an ordinary zone and one to a zone with a dangerous name."""
    fill(
        world,
        visits=[visit(SHOP, "V"), visit(SHOP, "W")],
        zone_visits=[zone_visit(SHOP, "V", "A", 1000), zone_visit(SHOP, "W", "'; DROP TABLE visits; --", 1000)],
        store_feed=[feed(SHOP, visit(SHOP, "V")["started_at"])],
    )
    return world


@pytest.fixture(scope="module")
def served(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A real API process, and its log."""
    log = tmp_path_factory.mktemp("served") / "api.log"
    with (
        serve(settings, log),
        httpx.Client(base_url=f"http://127.0.0.1:{settings.api_port}", timeout=30) as client,
    ):
        yield client, log


@pytest.fixture(scope="module")
def api(served: tuple[httpx.Client, Path]) -> httpx.Client:
    return served[0]


@pytest.mark.parametrize("text", NASTY)
def test_no_path_or_parameter_is_sql(api: httpx.Client, text: str) -> None:
    written = quote(text, safe="")
    for answer in ANSWERS:
        found = api.get(f"/stores/{written}/{answer}")
        assert found.status_code in (400, 404, 422), found.text
        assert "DB::Exception" not in found.text and "Traceback" not in found.text
    for parameters in (f"date={written}", f"from={written}&to={written}", f"from=2026-03-03T00:00:00Z&to={written}"):
        found = api.get(f"/stores/{SHOP}/metrics?{parameters}")
        assert found.status_code in (400, 422), found.text
        assert "DB::Exception" not in found.text
    # What is not asked for is not looked at.
    assert api.get(f"/stores/{SHOP}/funnel?date={DAY}&{written}={written}").json()["entry"] == 2


def test_the_tables_are_still_there(api: httpx.Client, settings: Settings) -> None:
    heat = api.get(f"/stores/{SHOP}/heatmap?date={DAY}").json()
    assert heat.keys() == {"A", "'; DROP TABLE visits; --"}
    with clickhouse_client(settings) as client:
        assert client.query("SELECT count() FROM visits FINAL WHERE store_id = 'INJ'").result_rows == [(2,)]


def raw(settings: Settings, head: bytes, body: bytes = b"") -> bytes:
    """What the server says to these very bytes until it closes the connection."""
    with closing(socket.create_connection(("127.0.0.1", settings.api_port), timeout=30)) as connection:
        connection.sendall(head + body)
        said = b""
        while part := connection.recv(65536):
            said += part
        return said


@pytest.mark.parametrize(
    "name", ["X-Trace-Id", "traceparent", "Origin", "X-API-Key", "Authorization", "Cookie", "Accept", "User-Agent"]
)
@pytest.mark.parametrize(
    "value", [b"a\rX-Evil: 1", b"a\x0bX-Evil: 1", b"a\x00b", b"a\x85X-Evil: 1", b"\xff\xfe", b"'\"<script>"]
)
def test_no_header_is_echoed_into_another(settings: Settings, api: httpx.Client, name: str, value: bytes) -> None:
    head = f"GET /stores HTTP/1.1\r\nHost: 127.0.0.1:{settings.api_port}\r\nConnection: close\r\n{name}: ".encode()
    said = raw(settings, head + value + b"\r\n\r\n")
    status, _, rest = said.partition(b"\r\n")
    assert status.split()[1] in (b"200", b"400", b"401", b"403"), said[:300]
    assert b"X-Evil" not in rest and b"<script>" not in rest


@pytest.mark.parametrize(
    "path", ["/login?next=//evil.example", "//evil.example/", "/%0d%0aX-Evil:%201", "/stores/%0d%0aX-Evil:%201/metrics"]
)
def test_no_path_becomes_a_header_or_a_foreign_address(settings: Settings, api: httpx.Client, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", settings.api_port, timeout=30)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.headers.get("X-Evil") is None
        where = urlsplit(answer.headers.get("Location", ""))
        assert where.netloc in ("", f"127.0.0.1:{settings.api_port}")


def test_no_line_of_the_log_is_somebody_elses(served: tuple[httpx.Client, Path]) -> None:
    client, log = served
    forged = '{"event": "forged"}'
    client.get("/stores/" + quote(f'x"\n{forged}\n', safe="") + "/metrics", headers={"User-Agent": forged})
    for line in log.read_text().splitlines():
        assert json.loads(line)["event"] != "forged"


# --- bodies ----------------------------------------------------------------------------------------------------------


def memory_mib(log: Path, settings: Settings) -> float:
    """Most memory that the API process has used so far."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"AISLEFLOW_API_PORT={settings.api_port}\0" in (status.parent / "environ").read_text(errors="replace"):
                return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
        except OSError:
            continue
    raise AssertionError("no such process")


@pytest.mark.parametrize("path", ["/events/ingest", "/transactions/ingest", "/login", "/", "/_nicegui/upload"])
@pytest.mark.parametrize("way", ["chunked", "lying"])
def test_a_body_without_end_is_not_taken_in(
    settings: Settings, served: tuple[httpx.Client, Path], path: str, way: str
) -> None:
    """A gigabyte in chunks, and one under a Content-Length that says otherwise or tells of a gigabyte to come."""
    before = memory_mib(served[1], settings)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{settings.api_port}\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n" if way == "chunked" else f"Content-Length: {2**30}\r\n\r\n"
    sent, said = 0, b""
    with closing(socket.create_connection(("127.0.0.1", settings.api_port), timeout=30)) as connection:
        connection.sendall(head.encode())
        piece = b"x" * 65536
        try:
            while sent < 2**30 and not said:
                connection.sendall(b"10000\r\n" + piece + b"\r\n" if way == "chunked" else piece)
                sent += len(piece)
                connection.settimeout(0.001)
                with suppress(TimeoutError):
                    said = connection.recv(1000)
                connection.settimeout(30)
        except ConnectionError:
            said = said or b"closed"
    assert said.startswith((b"HTTP/1.1 413", b"HTTP/1.1 404", b"HTTP/1.1 405", b"closed")), said[:100]
    assert sent < 3 * MAX_BODY_BYTES
    assert memory_mib(served[1], settings) - before < 60


def test_a_body_of_the_largest_size_is_taken(api: httpx.Client) -> None:
    body = b'{"events": []' + b" " * (MAX_BODY_BYTES - 14) + b"}"
    assert len(body) == MAX_BODY_BYTES
    assert api.post("/events/ingest", content=body).status_code == 200
    assert api.post("/events/ingest", content=body + b" ").status_code == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_packed_body_is_not_unpacked(api: httpx.Client, encoding: str) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert api.post("/events/ingest", content=bomb, headers={"Content-Encoding": encoding}).status_code == 415


DEEP = [
    b"[" * 2_000_000,
    b'{"events":' * 400_000,
    b'[{"metadata":' + b"[" * 1_000_000,
    b'{"events": [' + b'{"a":' * 9000,
]


@pytest.mark.parametrize("body", DEEP)
def test_deep_json_is_refused(api: httpx.Client, body: bytes) -> None:
    assert api.post("/events/ingest", content=body).status_code in (400, 413, 422)
    assert api.get("/health").status_code in (200, 503)


def test_deep_but_whole_json_is_one_refused_event(api: httpx.Client) -> None:
    deep: Any = '{"events": [' + '{"a":' * 5000 + "1" + "}" * 5000 + "]}"
    answer = api.post("/events/ingest", content=deep)
    assert answer.status_code == 400 or answer.json()["errors"] == 1


# --- foreign pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, "101"),
        ({"Origin": "http://127.0.0.1:PORT"}, "101"),
        ({"Origin": "http://evil.example"}, "403"),
        ({"Origin": "http://127.0.0.1:1"}, "403"),
        ({"Host": "evil.example"}, "403"),
    ],
)
def test_websockets_of_foreign_pages_are_refused(
    settings: Settings, api: httpx.Client, headers: dict[str, str], status: str
) -> None:
    """The pages' websocket: a browser sends cookies to it whatever page asks."""
    given = {"Host": f"127.0.0.1:{settings.api_port}", **headers}
    head = "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in given.items()).replace("PORT", str(settings.api_port))
    with closing(socket.create_connection(("127.0.0.1", settings.api_port), timeout=30)) as connection:
        connection.sendall(f"{head}\r\n".encode())
        assert connection.recv(1000).split()[1].decode() == status


def test_no_page_of_another_origin_may_read_an_answer(api: httpx.Client) -> None:
    for origin in ("http://evil.example", "null"):
        for method in ("OPTIONS", "GET"):
            answer = api.request(method, "/stores", headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
