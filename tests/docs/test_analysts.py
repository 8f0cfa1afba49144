"""docs/analysts.md: its description of the tables is current, and every query on it answers, for the user it is meant
for, as truth.py computes it from what was sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from faust.types import TP

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.database import Database
from api.stores import answers, queries, windows
from docs import make_tables
from producers.simulator.answers import World
from producers.simulator.faults import Faults
from producers.simulator.shops import layouts, make_shops
from producers.simulator.stream import stream
from schemas.layouts import StoreCalendar
from schemas.topics import STORE_LAYOUTS
from stream_processors.anomaly_watch import AnomalyWatch
from stream_processors.derivation import Derivation
from stream_processors.engine.dead_letters import DeadLetterBox
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.history import History
from tests.api.conftest import as_reader
from tests.docs.truth import ANSWERS, Rounded, Told

PAGE = Path(__file__).resolve().parents[2] / "docs" / "analysts.md"
QUESTIONS = PAGE.read_text().partition("## Questions")[2]
QUERIES = re.findall(r"^\*\*([^*\n]+)\*\*.*?```sql\n(.+?)```", QUESTIONS, re.DOTALL | re.MULTILINE)
SEED = 3


def test_tables_are_described_as_they_are() -> None:
    page = PAGE.read_text()
    assert make_tables.refreshed(page) == page, "run `python docs/make_tables.py`"
    assert "### visits" in page


def test_every_query_has_a_question() -> None:
    assert len(QUERIES) == PAGE.read_text().count("```sql") >= 20
    assert set(ANSWERS) <= {question for question, _ in QUERIES}
    assert len(ANSWERS) >= 20


async def derive(settings: Settings) -> Told:
    """Fill the tables with four simulated days, by the workers' own derivation; what was sent."""
    # Up to yesterday, while the shops were open: anomalies are judged at the newest fact.
    end = datetime.now(UTC).replace(hour=14) - timedelta(days=1)
    shops = make_shops(5, SEED, open_at=end)[2:]  # the last one's cameras are of another make, which tells of groups
    days = [end.date() - timedelta(days=back) for back in (7, 2, 1, 0)]
    sent = stream(shops, days, SEED, faults=Faults(malformed=0, dead_camera=1), until_ms=int(end.timestamp() * 1000))
    messages = [(STORE_LAYOUTS.name, value) for _, value in layouts(shops, end - timedelta(days=30))]
    messages += [(message.topic, message.value) for message in sent]
    client = clickhouse_client(settings)
    sink, history = ClickHouseSink(client), History(client)
    # Nothing is malformed and nobody reads the alerts: librdkafka's own mock broker takes them.
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    derivation = Derivation(settings, sink, history, DeadLetterBox(producer))
    arrived = int(datetime.now(UTC).timestamp() * 1000)
    for start in range(0, len(messages), 20_000):
        by_topic: dict[str, list[SimpleNamespace]] = {}
        for offset, (topic, value) in enumerate(messages[start : start + 20_000], start):
            record = SimpleNamespace(key=None, value=value, offset=offset, timestamp=arrived, headers=())
            by_topic.setdefault(settings.topic_prefix + topic, []).append(record)
        batches = [RecordBatch(TP(topic, 0), records) for topic, records in by_topic.items()]
        await derivation.finish(await derivation.prepare(batches))
    AnomalyWatch(settings, sink, history, producer, set()).look([shop.store_id for shop in shops])
    world = World(arrived)
    for topic, value in messages:
        world.take(topic, value)
    return Told(world, datetime.now(UTC).date())


@pytest.fixture(scope="module")
def filled(clickhouse: str, make_world: Callable[..., Settings]) -> tuple[Settings, Told]:
    """Where simulated shops are, and what was sent of them."""
    settings = make_world(None, clickhouse, store_partitions=1)
    return settings, asyncio.run(derive(settings))


@pytest.fixture(scope="module")
def told(filled: tuple[Settings, Told]) -> Told:
    return filled[1]


@pytest.fixture(scope="module")
def analyst(filled: tuple[Settings, Told]) -> Iterator[Client]:
    """A client of the user that the page is written for, on simulated shops."""
    assert filled[0].clickhouse_url is not None
    url = urlsplit(filled[0].clickhouse_url.get_secret_value())
    assert url.password is not None
    with clickhouse_connect.get_client(
        host=url.hostname,
        port=url.port,
        username="analyst",
        password=url.password[::-1],
        database=url.path.strip("/"),
        tz_mode="aware",
    ) as client:
        yield client


@pytest.mark.parametrize(("question", "sql"), QUERIES, ids=[question for question, _ in QUERIES])
def test_query_answers(question: str, sql: str, analyst: Client) -> None:
    answer = analyst.query(sql)
    assert answer.result_rows, question
    assert all(any(value is not None for value in row) for row in answer.result_rows)


@pytest.mark.parametrize("question", ANSWERS)
def test_the_answer_is_the_truth(question: str, analyst: Client, told: Told) -> None:
    expected = sorted((_near(row) for row in ANSWERS[question](told)), key=_key)
    assert expected
    width = len(expected[0])
    found = sorted((row[:width] for row in analyst.query(dict(QUERIES)[question]).result_rows), key=_key)
    assert [tuple(map(_plain, row)) for row in found] == expected


def _near(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        pytest.approx(value.exact, abs=0.51 * 10**-value.decimals) if isinstance(value, Rounded) else _plain(value)
        for value in row
    )


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _key(row: tuple[Any, ...]) -> list[str]:
    """What a row is about comes first in it, and is exact."""
    return [str(value) for value in row[:3] if isinstance(value, str | int | date)]


async def test_a_view_says_what_the_api_says(analyst: Client, filled: tuple[Settings, Told]) -> None:
    """``store_days`` and the API's own queries: every figure of every shop and day."""
    settings, told = filled
    days = {
        (row["store_id"], row["business_day"]): row for row in analyst.query("SELECT * FROM store_days").named_results()
    }
    asked = {(store, on) for store, on, _ in told.days(8)}
    assert set(days) == asked
    database = Database(as_reader(settings))
    for store, on in sorted(asked):
        day = days[store, on]
        layout = told.world.stores[store].layout
        window = windows.of_day(StoreCalendar(store, layout), on)
        found = await queries.figures(database, store, window)
        counts = {name for name in found.keys() & day.keys() if name not in ("dwell_ms", "transactions")}
        assert len(counts) == 11
        assert {name: day[name] for name in counts} == {name: found[name] for name in counts}, (store, on)
        assert day["conversion_rate"] == found["purchasers"] / found["unique_visitors"]
        assert day["stays"] == found["zone_visits"]
        assert day["avg_dwell_ms"] == found["dwell_ms"] / day["stays"]
        amounts, currency = answers.revenue(found["transactions"], layout.currency if layout else None)
        assert day["transactions"] == sum(row["transactions"] for row in found["transactions"])
        assert {code: float(value) for code, value in day["revenue_by_currency"].items()} == pytest.approx(amounts)
        assert (day["currency"], float(day["revenue"])) == (
            currency,
            pytest.approx(amounts.get(currency or "XXX", 0.0)),
        )


def test_a_group_is_as_large_as_the_camera_said(analyst: Client) -> None:
    """Everybody who entered is in one group, and some groups are larger than one person."""
    rows = analyst.query(dict(QUERIES)["Do groups buy more often than people alone?"]).result_rows
    visitors = analyst.command("SELECT count() FROM visitors WHERE business_day >= today() - 7")
    assert 0.9 * int(str(visitors)) <= sum(count for _, count, _ in rows) <= int(str(visitors))
    assert max(size for size, *_ in rows) > 1
