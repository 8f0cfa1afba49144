"""The store answers, read from real tables."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aisleflow.settings import Settings
from api.app import create_app
from schemas.events import anomaly_id
from schemas.reading import epoch_ms
from tests.api.rows import DAY, NOON, anomaly, day_figures, depth, feed, fill, layout, transaction, visit, zone_visit
from tests.conftest import until

ANSWERS = ("metrics", "funnel", "heatmap", "anomalies")
EMPTY_LAYOUT = '{"store_id": "EMPTY", "timestamp": "2026-03-03T12:00:00Z", "time_zone": "Asia/Kolkata", "currency": "INR", "name": "Quiet"}'


@pytest.fixture(scope="module", autouse=True)
def day(world: Settings) -> None:
    """One shop's day, and a shop with a layout only. Every table also holds what must not be counted."""
    buyer = {"has_billing_presence": True, "purchased": True}
    fill(
        world,
        store_feed=[
            *(feed("S1", NOON), feed("S1", NOON + timedelta(hours=2)), feed("TILL", NOON)),
            *(feed("COUNTED", NOON), feed("EXPIRED", NOON)),
        ],
        day_figures=[
            day_figures("COUNTED", unique_visitors=3),
            day_figures("COUNTED", version=2),
            day_figures("COUNTED", business_day=DAY + timedelta(days=1), version=3),
            day_figures("EXPIRED"),
            day_figures("EXPIRED", version=2, is_deleted=1),
        ],
        store_layouts=[layout("EMPTY", EMPTY_LAYOUT, "Asia/Kolkata", "INR")],
        visits=[
            visit("S1", "a", **buyer, attributed_transaction_id="T1", joined_queue=True),
            visit("S1", "b", **buyer),
            visit("S1", "c", has_billing_presence=True, joined_queue=True, abandoned_queue=True),
            visit("S1", "d"),
            visit("S1", "e", zone_visits=0),
            visit("S1", "f", zone_visits=0, minute=60),
            visit("S1", "inside", is_visitor=False, joined_queue=True, **buyer, attributed_transaction_id="T2"),
            visit("S1", "staff", is_visitor=False, is_staff=True, joined_queue=True, abandoned_queue=True, **buyer),
            visit("S1", "yesterday", minute=-24 * 60),
            visit("S1", "tomorrow", minute=12 * 60),
            visit("S1", "gone"),
            visit("S1", "gone", version=2, is_deleted=1),
            visit("OTHER", "a"),
            visit("COUNTED", "a"),
            visit("EXPIRED", "a"),
        ],
        zone_visits=[
            *(zone_visit("S1", f"v{i}", "SKINCARE", 1000 + i) for i in range(20)),
            *(zone_visit("S1", f"v{i}", "MAKEUP", 3000, ordinal=1) for i in range(5)),
            zone_visit("S1", "v0", "MAKEUP", 3001, ordinal=1, version=2),
            zone_visit("S1", "staff", "MAKEUP", 90_000_000, is_staff=True),
            zone_visit("S1", "gone", "MAKEUP", 90_000_000, version=2, is_deleted=1),
        ],
        queue_depth=[depth("S1", 0, 1), depth("S1", 30, 9), depth("S1", 60, 3), depth("S1", 90, 7, is_deleted=1)],
        transactions=[
            transaction("S1", "T1", "100.25"),
            transaction("S1", "T1", "100.25"),
            transaction("S1", "T2", "9.75", 61),
            transaction("S1", "T0", "5000", -24 * 60),
            transaction("TILL", "T1", "3", currency=""),
        ],
        anomalies=[
            anomaly("S1", 5, severity="INFO", type="DEAD_ZONE", subject="MAKEUP"),
            anomaly("S1", 0, severity="WARN"),
            anomaly("S1", 0, severity="CRITICAL", version=2),
            anomaly("S1", -600, closed_at=NOON - timedelta(hours=9)),
            anomaly("OTHER", 0),
        ],
    )


def get(api: TestClient, path: str, **parameters: str) -> Any:
    answer = api.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_metrics(api: TestClient) -> None:
    found = get(api, "/stores/S1/metrics")
    assert found.pop("updated_at")
    assert found.pop("behind_seconds") in (0, None), "nothing waits; None until that was first looked at"
    assert found == {
        "unique_visitors": 6,
        "conversion_rate": 0.3333,
        "avg_dwell_ms": (sum(range(1000, 1020)) + 4 * 3000 + 3001 + 12) // 25,
        "queue_depth_current": 3,
        "abandonment_rate": 0.3333,
        "staff_visits": 1,
        "unmatched_visitors": 1,
        "attributed_conversion_rate": 0.1667,
        "transactions": 2,
        "revenue": 110.0,
        "currency": "INR",
        "revenue_by_currency": {"INR": 110.0},
        "business_day": "2026-03-03",
        "window": {"from": "2026-03-03T00:00:00Z", "to": "2026-03-04T00:00:00Z"},
    }


def test_a_window_holds_the_visits_that_began_in_it(api: TestClient) -> None:
    found = get(api, "/stores/S1/metrics", **{"from": "2026-03-03T12:00:00Z", "to": "2026-03-03T13:00:00Z"})
    assert found["unique_visitors"] == 5 and found["business_day"] is None
    assert found["queue_depth_current"] == 9, "the depth at the end of the window"
    assert found["transactions"] == 1 and found["revenue"] == 100.25
    early = get(api, "/stores/S1/metrics", **{"from": "2026-03-03T11:00:00Z", "to": "2026-03-03T12:00:00Z"})
    assert (early["unique_visitors"], early["queue_depth_current"], early["updated_at"]) == (0, 0, None)
    three_days = get(api, "/stores/S1/metrics", **{"from": "2026-03-02T00:00:00Z", "to": "2026-03-05T00:00:00Z"})
    assert three_days["unique_visitors"] == 8


def test_a_date_is_the_stores_business_day(api: TestClient) -> None:
    assert get(api, "/stores/S1/metrics", date="2026-03-02")["unique_visitors"] == 1
    until(lambda: get(api, "/stores/S1/metrics")["behind_seconds"] == 0)  # None until that was first looked at
    assert get(api, "/stores/S1/metrics", date=str(DAY)) == get(api, "/stores/S1/metrics")
    window = get(api, "/stores/EMPTY/metrics", date="2026-03-03")["window"]
    assert window == {"from": "2026-03-02T18:30:00Z", "to": "2026-03-03T18:30:00Z"}


def test_a_day_that_the_workers_have_counted_is_read_from_its_row(api: TestClient) -> None:
    found = get(api, "/stores/COUNTED/metrics")
    assert found.pop("updated_at") and found.pop("behind_seconds") in (0, None)
    assert found == {
        "unique_visitors": 40,
        "conversion_rate": 0.25,
        "avg_dwell_ms": 5000,
        "queue_depth_current": 6,
        "abandonment_rate": 0.25,
        "staff_visits": 3,
        "unmatched_visitors": 2,
        "attributed_conversion_rate": 0.2,
        "transactions": 12,
        "revenue": 1100.25,
        "currency": "INR",
        "revenue_by_currency": {"XXX": 2.5, "INR": 1100.25},
        "business_day": "2026-03-03",
        "window": {"from": "2026-03-03T00:00:00Z", "to": "2026-03-04T00:00:00Z"},
    }
    funnel = get(api, "/stores/COUNTED/funnel")
    assert funnel == {"entry": 40, "zone_visit": 30, "billing_queue": 20, "purchased": 10}
    heat = get(api, "/stores/COUNTED/heatmap")
    assert [(zone, found["frequency"], found["avg_dwell_ms"]) for zone, found in heat.items()] == [
        ("SKINCARE", 20, 5500),
        ("MAKEUP", 5, 3000),
    ]


@pytest.mark.parametrize(
    ("store", "asked"),
    [("EXPIRED", {}), ("COUNTED", {"from": "2026-03-03T11:00:00Z", "to": "2026-03-03T13:00:00Z"})],
)
def test_what_is_no_counted_day_is_counted_from_its_visits(api: TestClient, store: str, asked: dict[str, str]) -> None:
    """A day whose facts have expired in part, and hours of a day."""
    assert get(api, f"/stores/{store}/metrics", **asked)["unique_visitors"] == 1
    assert get(api, f"/stores/{store}/funnel", **asked)["entry"] == 1
    assert get(api, f"/stores/{store}/heatmap", **asked) == {}


def test_funnel(api: TestClient) -> None:
    assert get(api, "/stores/S1/funnel") == {"entry": 6, "zone_visit": 4, "billing_queue": 3, "purchased": 2}


def test_heatmap(api: TestClient) -> None:
    assert get(api, "/stores/S1/heatmap") == {
        "SKINCARE": {"frequency": 20, "avg_dwell_ms": 1010, "normalized": 100, "data_confidence": "HIGH"},
        "MAKEUP": {"frequency": 5, "avg_dwell_ms": 3000, "normalized": 25, "data_confidence": "LOW"},
    }


def test_anomalies_are_the_open_ones_the_worst_first(api: TestClient) -> None:
    found = get(api, "/stores/S1/anomalies")
    assert found["store_id"] == "S1"
    assert [(a["severity"], a["type"], a["subject"]) for a in found["anomalies"]] == [
        ("CRITICAL", "QUEUE_SPIKE", ""),
        ("INFO", "DEAD_ZONE", "MAKEUP"),
    ]
    assert found["anomalies"][0] == {
        "type": "QUEUE_SPIKE",
        "subject": "",
        "severity": "CRITICAL",
        "message": "8 people are waiting; usual for this hour: 2.5",
        "suggested_action": "Open another till.",
        "detected_at": "2026-03-03T12:00:00Z",
        "value": 8.0,
        "baseline": 2.5,
        "closed_at": None,
        "anomaly_id": anomaly_id("S1", "QUEUE_SPIKE", "", epoch_ms(NOON)),
        "severity_reason": "",
        "unusual": "",
        "evidence": {"waiting": 8.0},
        "calm_since": None,
        "acknowledged": None,
    }


def test_anomalies_of_a_window_are_those_open_at_any_time_in_it(api: TestClient) -> None:
    def types(start: str, end: str) -> list[str]:
        found = get(api, "/stores/S1/anomalies", **{"from": f"2026-03-03T{start}:00Z", "to": f"2026-03-03T{end}:00Z"})
        return [a["detected_at"][11:16] for a in found["anomalies"]]

    assert types("02:30", "02:45") == ["02:00"], "still open then"
    assert types("03:00", "03:30") == ["02:00"], "closed just then"
    assert types("03:30", "12:00") == []
    assert types("12:01", "12:05") == ["12:00"]
    assert len(get(api, "/stores/S1/anomalies", date="2026-03-03")["anomalies"]) == 3


def test_shops_asked_about_at_once_are_each_told_of_themselves(api: TestClient, statements: list[str]) -> None:
    paths = [f"/stores/{store}/{answer}" for store in ("S1", "COUNTED", "EXPIRED", "EMPTY") for answer in ANSWERS]
    paths += ["/stores/COUNTED/metrics?date=2026-03-04", "/stores/COUNTED/heatmap?date=2026-03-05"]
    alone = {path: get(api, path) for path in paths}
    statements.clear()
    for path in paths:
        get(api, path)
    one_by_one = len(statements)
    statements.clear()
    with ThreadPoolExecutor(16) as pool:
        at_once = list(pool.map(lambda path: (path, get(api, path)), paths * 4))
    for path, found in at_once:
        assert {**found, "behind_seconds": 0} == {**alone[path], "behind_seconds": 0}, path
    assert len(statements) < 4 * one_by_one, "what was asked four times as often was asked together"


def test_a_store_known_by_its_layout_or_till_only_has_zeros(api: TestClient) -> None:
    found = get(api, "/stores/EMPTY/metrics")
    assert found["unique_visitors"] == found["transactions"] == found["queue_depth_current"] == 0
    assert (found["revenue"], found["currency"], found["updated_at"]) == (0, "INR", None)
    assert get(api, "/stores/EMPTY/funnel") == {"entry": 0, "zone_visit": 0, "billing_queue": 0, "purchased": 0}
    assert get(api, "/stores/EMPTY/heatmap") == {}
    assert get(api, "/stores/EMPTY/anomalies") == {"store_id": "EMPTY", "anomalies": []}
    till = get(api, "/stores/TILL/metrics")
    assert (till["transactions"], till["revenue"], till["currency"]) == (1, 3, None)


def test_the_list_of_stores(api: TestClient) -> None:
    found = {store["store_id"]: store for store in get(api, "/stores")["stores"]}
    assert list(found) == ["COUNTED", "EMPTY", "EXPIRED", "S1", "TILL"]
    assert found["EMPTY"]["name"] == "Quiet" and found["EMPTY"]["last_event_timestamp"] is None
    assert found["S1"]["last_event_timestamp"] == "2026-03-03T14:00:00Z" and found["S1"]["time_zone"] == "UTC"


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("store", ["NOBODY", "s1", "S1' OR 1=1 --", "%00", "{x:String}", "é", "a" * 150])
def test_an_unknown_store_is_a_404(api: TestClient, answer: str, store: str) -> None:
    found = api.get(f"/stores/{store}/{answer}")
    assert found.status_code == 404, found.text
    assert found.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "parameters",
    [
        {"from": "2026-03-03T00:00:00Z"},
        {"from": "2026-03-03", "to": "2026-03-04"},
        {"from": "1772496000", "to": "1772582400"},
        {"from": "2026-03-03T00:00:00", "to": "2026-03-04T00:00:00"},
        {"from": "2026-03-04T00:00:00Z", "to": "2026-03-03T00:00:00Z"},
        {"from": "0001-01-01T00:00:00+14:00", "to": "2026-03-03T00:00:00Z"},
        {"from": "2026-03-03T00:00:00Z", "to": "9999-12-31T23:59:59-14:00"},
        {"date": "yesterday"},
        {"date": "2026-02-30"},
        {"date": "2026-03-03", "from": "2026-03-03T00:00:00Z"},
    ],
)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_window_that_makes_no_sense_is_a_422(api: TestClient, answer: str, parameters: dict[str, str]) -> None:
    found = api.get(f"/stores/S1/{answer}", params=parameters)
    assert found.status_code == 422, found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["errors"] and found.json()["detail"]


def test_clickhouse_away_is_a_503_and_never_a_zero(kafka: str, make_world: Callable[..., Settings]) -> None:
    with TestClient(create_app(make_world(kafka, None), wall=False), base_url="http://127.0.0.1") as alone:
        for path in ("/stores", *(f"/stores/S1/{answer}" for answer in ANSWERS)):
            found = alone.get(path)
            assert found.status_code == 503, path
            assert found.headers["Retry-After"] and found.headers["content-type"] == "application/problem+json"
            assert found.json()["part"] == "clickhouse" and "Traceback" not in found.text


def test_clickhouse_without_our_tables_is_a_503(
    kafka: str, clickhouse: str, make_world: Callable[..., Settings]
) -> None:
    settings = make_world(kafka, None, clickhouse_url=f"{clickhouse}/default")
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as alone:
        assert alone.get("/stores/S1/metrics").status_code == 503
