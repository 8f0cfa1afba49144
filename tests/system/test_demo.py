"""The demo: it goes on where it stopped, its check finds what is wrong, and on real parts every answer is right."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from rich.console import Console

from aisleflow import demo
from aisleflow.commands.demo import _seconds
from aisleflow.demo import Plan, differences, resume_or_begin
from aisleflow.settings import Settings
from producers.simulator.answers import World
from producers.simulator.shops import layouts

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
PLAN = Plan(shops=2, seed=3, started=NOON, check_s=5.0)


def past(plan: Plan, until: datetime = NOON) -> list[Any]:
    end = until.timestamp() * 1000
    return list(takewhile(lambda message: message.at_ms < end, plan.messages(plan.make_shops())))


@pytest.fixture(scope="module")
def sent() -> list[Any]:
    return past(PLAN)


def test_it_is_daytime_in_every_shop() -> None:
    for hour in range(24):
        started = NOON.replace(hour=hour)
        plan = replace(PLAN, shops=6, started=started)
        for shop in plan.make_shops():
            day = started.astimezone(demo.ZoneInfo(shop.time_zone)).date()
            opens, closes = shop.open_between(day)
            assert opens + 3_600_000 < plan.started_ms < closes - 3_600_000


def test_the_past_is_a_week_ago_yesterday_and_today_and_four_weeks_of_stock(sent: list[Any]) -> None:
    def days_of(topic: str) -> set[Any]:
        return {datetime.fromtimestamp(one.at_ms / 1000, UTC).date() for one in sent if one.topic == topic}

    assert {NOON.date() - timedelta(days=back) for back in range(28)} <= days_of("stock-movements")
    days = days_of("visit-events")
    assert {NOON.date() - timedelta(days=back) for back in (0, 1, 7)} <= days
    assert NOON.date() - timedelta(days=4) not in days


def test_a_demo_started_again_goes_on_with_the_same_facts(tmp_path: Path) -> None:
    first = resume_or_begin(replace(PLAN, check_s=None), tmp_path)
    again = resume_or_begin(replace(PLAN, check_s=None, started=NOON + timedelta(hours=1)), tmp_path)
    assert again == first
    assert past(again) == past(first)


@pytest.mark.parametrize("change", [{"seed": 4}, {"shops": 3}, {"pace": 2.0}, {"started": NOON + timedelta(hours=7)}])
def test_another_demo_has_other_shops(tmp_path: Path, change: dict[str, Any]) -> None:
    first = resume_or_begin(replace(PLAN, check_s=None), tmp_path)
    other = resume_or_begin(replace(PLAN, check_s=None, **change), tmp_path)
    assert {shop.store_id for shop in first.make_shops()} & {shop.store_id for shop in other.make_shops()} == set()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"started": "soon", "first_number": 1}'])
def test_a_damaged_memory_is_a_new_beginning(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "demo.json").write_bytes(damage)
    assert resume_or_begin(PLAN, tmp_path).started == NOON


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("5m", 300), ("1h", 3600), ("90", 90), ("0.5m", 30)])
def test_times(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize(
    ("expected", "found", "more", "count"),
    [
        ({"a": 1}, {"a": 1.0}, False, 0),
        ({"a": 1}, {"a": 2}, False, 1),
        ({"a": 0.1234}, {"a": 0.1235}, False, 1),
        ({"a": 1}, {"a": 1, "b": 2}, True, 0),
        ({"a": 1}, {"a": 1, "b": 2}, False, 1),
        ({"a": 1}, {}, True, 1),
        ({"a": None}, {"a": 0}, True, 1),
        ({"a": "EUR"}, {"a": "INR"}, True, 1),
        ({"a": 0}, {"a": "0"}, True, 1),
        ({"A": {"n": 1}}, {"A": {"n": 1, "more": 2}}, False, 0),
        ({"A": {"n": 1}}, {"A": {"n": 2}}, False, 1),
    ],
)
def test_differences(expected: dict[str, Any], found: dict[str, Any], more: bool, count: int) -> None:
    assert len(differences(expected, found, more)) == count


@contextmanager
def an_api(world: World, spoil: dict[str, Any]) -> Iterator[str]:
    """An API that answers from a world, with some answers replaced by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            _, _, store_id, name = url.path.split("/")
            asked = parse_qs(url.query).get("date", [str(world.newest_day(store_id))])[0]
            if name == "anomalies":
                answer: Any = {"anomalies": [*world.anomalies(store_id), {"type": "STALE_FEED", "subject": ""}]}
            else:
                answer = getattr(world, name)(store_id, datetime.fromisoformat(asked).date())
            body = orjson.dumps(spoil.get(self.path, answer), default=float)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ({}, 0),
        ({"/stores/ST1002/funnel": {"entry": 1, "zone_visit": 1, "billing_queue": 0, "purchased": 0}}, 1),
        ({"/stores/ST1001/heatmap?date=2026-02-24": {}}, 1),
        (
            {"/stores/ST1001/anomalies": {"anomalies": [{"type": "DEAD_ZONE", "subject": "MOON", "severity": "INFO"}]}},
            1,
        ),
        ({"/stores/ST1002/metrics?date=2026-03-02": {"status": 404}}, 1),
    ],
)
def test_the_check_finds_one_wrong_answer(
    sent: list[Any], spoil: dict[str, Any], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SETTLE_WITHIN_S", 0)
    shops = PLAN.make_shops()
    records = [("store-layouts", layout) for _, layout in layouts(shops, NOON - timedelta(days=30))]
    records += [(message.topic, message.value) for message in sent]
    record = tmp_path / "sent.tsv"
    record.write_bytes(b"".join(topic.encode() + b"\t" + value + b"\n" for topic, value in records))
    world = World(1_800_000_000_000)
    for topic, value in records:
        world.take(topic, value)
    told = io.StringIO()
    with an_api(world, spoil) as url:
        found = demo.check(record, shops, Settings(_env_file=None), url, Console(file=told, width=140))
    assert found == code, told.getvalue()
    for path in spoil:
        assert path.split("/")[2] in told.getvalue().rpartition("differences")[2]


@pytest.mark.system
@pytest.mark.timeout(400)
def test_every_answer_of_a_live_demo_is_right() -> None:
    """The whole system, faults on, against the record of what was sent."""
    command = [sys.executable, "-m", "aisleflow", "demo", "--check", "--for", "5s", "--shops", "5", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-6000:]
    assert re.search(r"All \d+ answers of 5 shops are equal", done.stderr)
