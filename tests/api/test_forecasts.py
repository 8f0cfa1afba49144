"""Forecasts over HTTP: the seed's request and answer, what is refused and why, a shop's own sales, and what is published."""

from __future__ import annotations

import random
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer
from fastapi.testclient import TestClient

from aisleflow.clients import kafka_config
from aisleflow.settings import Settings
from schemas.events import DemandForecast
from schemas.topics import FORECASTS
from tests.api.conftest import insert

TODAY = datetime.now(UTC).date()
DAYS = 120
POINTS: list[dict[str, Any]] = [
    {
        "date": str(date(2026, 1, 1) + timedelta(days=n)),
        "quantity": 5 + n % 7 + (6 if n % 10 == 3 else 0),
        "promotion": n % 10 == 3,
    }
    for n in range(DAYS)
]


def asked(**changes: Any) -> dict[str, Any]:
    return {
        "productId": "prod123",
        "historicalData": POINTS,
        "features": {"seasonality": "peak", "promotion_active": True},
        "forecast_horizon": 7,
        **changes,
    }


def sales(store: str, sku: str, days: int, units: int, kind: str = "SALE") -> list[dict[str, Any]]:
    """A movement a day until yesterday, as the worker would write it."""
    return [
        {
            "event_id": f"{random.getrandbits(128):032x}",
            "store_id": store,
            "sku": sku,
            "timestamp": datetime.combine(TODAY - timedelta(days=back), datetime.min.time(), UTC) + timedelta(hours=10),
            "kind": kind,
            "quantity": units,
            "location": "SHELF",
            "shelf": -units,
            "backroom": 0,
            "reference": "",
            "to_store_id": "",
            "from_store_id": "",
            "actor": "",
            "reason": "",
            "source": "MOVEMENT",
            "received_at": datetime.now(UTC),
        }
        for back in range(1, days + 1)
    ]


@pytest.fixture(scope="module")
def shop(world: Settings) -> str:
    """Sells 3 A a day but for one day on which it is closed; B is new."""
    rows = [row for row in sales("LEEDS", "A", 60, 3) if row["timestamp"].date() != TODAY - timedelta(days=8)]
    rows += sales("LEEDS", "B", 2, 7)
    insert(world, "stock_movements", rows)
    return "LEEDS"


def test_the_seeds_request_gets_the_seeds_answer(api: TestClient) -> None:
    answer = api.post("/api/v1/predict", json=asked())
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["productId"] == "prod123"
    assert (said["forecast_range_start"], said["forecast_range_end"]) == ("2026-05-01", "2026-05-07")
    assert [day["date"] for day in said["daily_predictions"]] == [f"2026-05-{day:02}" for day in range(1, 8)]
    assert said["predicted_total_quantity"] == pytest.approx(
        sum(day["predicted_quantity"] for day in said["daily_predictions"])
    )
    assert 0 <= said["confidence_score"] <= 1
    for day in said["daily_predictions"]:
        quantiles = list(day["quantiles"].values())
        assert quantiles == sorted(quantiles) and len(quantiles) == 7
    assert said["model"] and said["reason"] and said["published"] is None
    assert said["backtest"]["windows"] > 5 and said["backtest"]["mase"] < 1
    effects = {effect["name"]: effect for effect in said["effects"]}
    assert effects["promotion"]["shown"] and effects["promotion"]["factor"] > 1.2 and effects["promotion"]["units"] > 0
    plain = api.post("/api/v1/predict", json=asked(features={"promotion_active": False})).json()
    moved = said["predicted_total_quantity"] - plain["predicted_total_quantity"]
    assert moved == pytest.approx(effects["promotion"]["units"] + effects["seasonality"]["units"], abs=0.2)


def test_a_planned_price_changes_what_is_predicted(api: TestClient) -> None:
    points = [
        {
            "date": day["date"],
            "quantity": 40 + n % 7 if n // 10 % 3 else 80 + n % 7,
            "price": 10 if n // 10 % 3 else 7.5,
        }
        for n, day in enumerate(POINTS)
    ]
    cheap, usual = (
        api.post("/api/v1/predict", json=asked(historicalData=points, features={"price": price})).json()
        for price in (7.5, 10)
    )
    (effect,) = cheap["effects"]
    assert effect["name"] == "price" and effect["shown"] and 1.5 < effect["factor"] < 2.6
    moved = cheap["predicted_total_quantity"] - usual["predicted_total_quantity"]
    assert moved == pytest.approx(effect["units"], rel=0.01)
    assert not any("not known" in words for words in cheap["warnings"])


def test_order_repeats_and_unknown_keys_change_nothing(api: TestClient) -> None:
    usual = api.post("/api/v1/predict", json=asked()).json()
    halves = [{**one, "quantity": one["quantity"] / 2, "till": "3"} for one in POINTS * 2]
    random.Random(1).shuffle(halves)
    other = api.post("/api/v1/predict", json=asked(historicalData=halves)).json()
    assert other["predicted_total_quantity"] == pytest.approx(usual["predicted_total_quantity"])
    assert any("summed" in words for words in other["warnings"])


def test_one_day_is_answered_with_warnings(api: TestClient) -> None:
    one = {"productId": "new", "historicalData": POINTS[:1], "forecast_horizon": 90}
    said = api.post("/api/v1/predict", json=one).json()
    assert len(said["daily_predictions"]) == 90
    assert said["backtest"] is None
    assert any("short history" in words for words in said["warnings"])


LONG = [{"date": str(date(2020, 1, 1) + timedelta(days=n)), "quantity": n % 7} for n in range(2001)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"productId": ""}, "productId"),
        ({"productId": 7}, "productId"),
        ({"historicalData": []}, "historicalData"),
        ({"historicalData": None}, "historicalData"),
        ({"historicalData": [{"date": "2026-02-30", "quantity": 1}]}, "historicalData.0.date"),
        ({"historicalData": [{"date": "1999-12-31", "quantity": 1}]}, "historicalData.0.date"),
        ({"historicalData": [POINTS[0], {"date": "2026-02-03"}]}, "historicalData.1.quantity"),
        ({"historicalData": [{"date": "2026-02-03", "quantity": "many"}]}, "historicalData.0.quantity"),
        ({"historicalData": [{"date": "2026-02-03", "quantity": 1, "price": 0}]}, "historicalData.0.price"),
        ({"historicalData": LONG}, "historicalData"),
        ({"forecast_horizon": 0}, "forecast_horizon"),
        ({"forecast_horizon": 91}, "forecast_horizon"),
        ({"forecast_horizon": 7.5}, "forecast_horizon"),
        ({"forecast_horizon": True}, "forecast_horizon"),
        ({"features": {"promotion_active": "yes"}}, "features.promotion_active"),
        ({"features": {"price": 0}}, "features.price"),
        ({"publish": True}, "store_id"),
        ({"model": "crystal ball"}, "model"),
    ],
)
def test_bad_input_is_refused_by_its_field(api: TestClient, changes: dict[str, Any], field: str) -> None:
    answer = api.post("/api/v1/predict", json=asked(**changes))
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in [fault["field"] for fault in answer.json()["errors"]]


def test_2000_days_are_taken_and_bodies_have_a_limit(api: TestClient) -> None:
    assert api.post("/api/v1/predict", json=asked(historicalData=LONG[1:])).status_code == 200
    assert api.post("/api/v1/predict", content=b" " * (2 * 1024 * 1024 + 1)).status_code == 413
    assert api.post("/api/v1/predict", content=b"{").status_code == 400


def test_a_shops_own_sales(api: TestClient, shop: str) -> None:
    said = api.post("/api/v1/predict", json={"productId": "A", "store_id": shop, "forecast_horizon": 14}).json()
    assert said["forecast_range_start"] == str(TODAY)
    # A day on which the shop sold nothing at all was closed: not a day of no demand.
    assert said["predicted_total_quantity"] == pytest.approx(14 * 3, rel=0.05)
    new = api.post("/api/v1/predict", json={"productId": "B", "store_id": shop}).json()
    assert any("short history" in words for words in new["warnings"]), new
    assert api.post("/api/v1/predict", json={"productId": "C", "store_id": shop}).status_code == 404
    assert api.post("/api/v1/predict", json={"productId": "A", "store_id": "NOWHERE"}).status_code == 404


def test_what_is_published_is_on_the_log(api: TestClient, shop: str, world: Settings) -> None:
    said = api.post("/api/v1/predict", json={"productId": "A", "store_id": shop, "publish": True}).json()
    consumer = Consumer({**kafka_config(world), "group.id": "reader", "auto.offset.reset": "earliest"})
    consumer.subscribe([world.topic_prefix + FORECASTS.name])
    deadline, found = time.monotonic() + 30, None
    while found is None and time.monotonic() < deadline:
        record = consumer.poll(1)
        if record is not None and record.error() is None:
            found = record
    consumer.close()
    assert found is not None and found.key() == b"LEEDS"
    event = DemandForecast.model_validate_json(found.value() or b"")
    assert event.event_id == said["published"]
    assert (event.sku, str(event.start), len(event.mean)) == ("A", str(TODAY), 7)
    assert event.backtest_days == 7 and event.backtest_errors


def test_a_batch_judges_each_alone(api: TestClient, shop: str) -> None:
    requests = [asked(), {"productId": "broken"}, {"productId": "C", "store_id": shop}, asked(forecast_horizon=28), {}]
    said = api.post("/api/v1/predict/batch", json={"requests": requests}).json()
    assert [len(one["daily_predictions"]) for one in said["predictions"]] == [7, 28]
    assert [(one["index"], one["productId"]) for one in said["errors"]] == [(1, "broken"), (2, "C"), (4, None)]
    assert api.post("/api/v1/predict/batch", json={"requests": []}).status_code == 422
    assert api.post("/api/v1/predict/batch", json={"requests": [asked()] * 501}).status_code == 422


def test_what_is_served(api: TestClient) -> None:
    said = api.get("/api/v1/models").json()
    champion, *_ = said["models"]
    assert (champion["name"], champion["kind"]) == ("champion", "statistical")
    assert datetime.fromisoformat(champion["served_since"]) < datetime.now(UTC)
    assert api.post("/api/v1/predict", json=asked(model="seasonal-naive")).json()["model"] == "seasonal-naive"
