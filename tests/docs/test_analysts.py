"""docs/analysts.md: its description of the tables is current, and every query on it answers, for the user it is meant
for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from faust.types import TP

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from docs import make_tables
from producers.simulator.faults import Faults
from producers.simulator.shops import layouts, make_shops
from producers.simulator.stream import stream
from schemas.topics import STORE_LAYOUTS
from stream_processors.anomaly_watch import AnomalyWatch
from stream_processors.derivation import Derivation
from stream_processors.engine.dead_letters import DeadLetterBox
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.history import History

PAGE = Path(__file__).resolve().parents[2] / "docs" / "analysts.md"
QUERIES = re.findall(r"^\*\*([^*\n]+)\*\*.*?```sql\n(.+?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
SEED = 3


def test_tables_are_described_as_they_are() -> None:
    page = PAGE.read_text()
    assert make_tables.refreshed(page) == page, "run `python docs/make_tables.py`"
    assert "### visits" in page


def test_every_query_has_a_question() -> None:
    assert len(QUERIES) == PAGE.read_text().count("```sql") >= 10


async def derive(settings: Settings) -> None:
    """Fill the tables with three simulated days, by the workers' own derivation."""
    # Up to yesterday, while the shops were open: anomalies are judged at the newest fact.
    end = datetime.now(UTC).replace(hour=14) - timedelta(days=1)
    shops = make_shops(3, SEED, open_at=end)
    days = [end.date() - timedelta(days=back) for back in (2, 1, 0)]
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


@pytest.fixture(scope="module")
def analyst(clickhouse: str, make_world: Callable[..., Settings]) -> Iterator[Client]:
    """A client of the user that the page is written for, on simulated shops."""
    settings = make_world(None, clickhouse, store_partitions=1)
    asyncio.run(derive(settings))
    assert settings.clickhouse_url is not None
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    assert url.password is not None
    with clickhouse_connect.get_client(
        host=url.hostname, port=url.port, username="analyst", password=url.password[::-1], database=url.path.strip("/")
    ) as client:
        yield client


@pytest.mark.parametrize(("question", "sql"), QUERIES, ids=[question for question, _ in QUERIES])
def test_query_answers(question: str, sql: str, analyst: Client) -> None:
    answer = analyst.query(sql)
    assert answer.result_rows, question
    assert all(any(value is not None for value in row) for row in answer.result_rows)


def test_queries_agree_with_each_other(analyst: Client) -> None:
    """The funnel's first step is the day's visitors, and its last the day's buyers."""
    by_question = dict(QUERIES)
    daily = analyst.query(by_question["How did each shop do, day by day?"]).named_results()
    funnel = analyst.query(by_question["Where do people drop out between the door and the till?"]).named_results()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    figures = {row["store_id"]: (row["visitors"], row["buyers"]) for row in daily if row["business_day"] == yesterday}
    assert {row["store_id"]: (row["entry"], row["purchased"]) for row in funnel} == figures
    assert all(buyers for _, buyers in figures.values())
