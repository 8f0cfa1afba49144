"""The chain that benchmarks/queries.py asks about: what the API answers over it is what its facts say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import pytest
from clickhouse_connect.driver.client import Client
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.app import create_app
from benchmarks._chain import Chain, generate
from benchmarks.queries import ENDPOINTS, requests, what_is_read

DAY = date(2026, 11, 20)
# The facts of one business day of a shop in Dubai, four hours before UTC.
OF_THE_DAY = "store_id = 'ST1002' AND toDate(timestamp + INTERVAL 4 HOUR) = '2026-11-20'"


@pytest.fixture(scope="module")
def settings(clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(None, clickhouse)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[Client]:
    with clickhouse_client(settings) as found:
        yield found


@pytest.fixture(scope="module")
def chain(client: Client) -> Chain:
    return generate(client, 200_000, DAY, report=lambda _: None)


def test_answers_are_what_the_facts_say(chain: Chain, client: Client, settings: Settings) -> None:
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as api:
        metrics, funnel, heatmap = (
            api.get(f"/stores/ST1002/{name}", params={"date": str(DAY)}).json()
            for name in ("metrics", "funnel", "heatmap")
        )
        assert api.get("/stores/ST1002/metrics").json() == metrics  # the newest day is the default
        times = {"from": "2026-11-19T20:00:00Z", "to": "2026-11-20T20:00:00Z"}
        by_times = api.get("/stores/ST1002/metrics", params=times).json()
        assert {**by_times, "business_day": str(DAY)} == metrics
    entries, staff, seen, joined = client.query(
        "SELECT uniqExactIf(visitor_id, event_type = 'ENTRY' AND NOT is_staff), uniqExactIf(visitor_id, is_staff), "
        "uniqExact(visitor_id), uniqExactIf(visitor_id, event_type = 'BILLING_QUEUE_JOIN') "
        f"FROM events FINAL WHERE {OF_THE_DAY}"
    ).first_row
    assert metrics["unique_visitors"] == funnel["entry"] == entries > 100
    assert metrics["staff_visits"] == staff == 3
    assert metrics["unmatched_visitors"] == seen - entries - staff
    assert joined > 0
    zones = client.query(
        "SELECT zone_id, count(), round(avg(dwell_ms)) FROM events FINAL "
        f"WHERE {OF_THE_DAY} AND event_type IN ('ZONE_EXIT', 'BILLING_QUEUE_ABANDON') AND NOT is_staff GROUP BY zone_id"
    ).result_rows
    assert {zone: (heat["frequency"], heat["avg_dwell_ms"]) for zone, heat in heatmap.items()} == {
        zone: (frequency, pytest.approx(dwell, abs=1)) for zone, frequency, dwell in zones
    }
    receipts = f"SELECT count(), sum(basket_value) FROM transactions FINAL WHERE {OF_THE_DAY}"
    count, revenue = client.query(receipts).first_row
    assert (metrics["transactions"], metrics["revenue"]) == (count, pytest.approx(float(revenue)))


def test_a_generation_cut_short_goes_on_and_makes_nothing_twice(chain: Chain, client: Client) -> None:
    facts = "SELECT count(), uniqExact(event_id), (SELECT sum(events) FROM visits FINAL) FROM events FINAL"
    (before,) = client.query(facts).result_rows
    assert 180_000 < before[0] == before[1] == before[2] < 220_000
    forgotten = "ALTER TABLE generated DELETE WHERE day = '2026-11-19' AND part != 'chain'"
    client.command(forgotten, settings={"mutations_sync": 1})
    assert generate(client, 200_000, date(2030, 1, 1), report=lambda _: None) == chain
    assert client.query(facts).result_rows == [before]


def test_every_endpoint_tells_what_it_reads(chain: Chain, settings: Settings) -> None:
    reads = what_is_read(settings, chain)
    assert all(queries >= 1 and rows >= 1 and size >= 1 for queries, rows, size in reads.values())
    asked = list(requests(chain, 600))
    assert {endpoint for endpoint, _ in asked} == ENDPOINTS.keys()
    assert 100 < sum("date=" in path for _, path in asked) < 300
