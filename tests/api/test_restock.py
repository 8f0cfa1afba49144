"""From four weeks of sales to orders, shelves to fill, stock-outs and their alert: the job and a worker on real parts."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client, kafka_producer
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from api.restock.answers import tasks
from schemas.events import DemandForecast, ForecastQuantiles, Order, OrderLine, Product, StoreLayout, dump
from schemas.topics import FORECASTS, ORDERS, PRODUCTS
from tests.api.conftest import insert
from tests.conftest import until

NOW = datetime.now(UTC)
TERMS = """sku,lead_time_days,pack,shelf_capacity,supplier
,2,,40,
MILK,1,12,,FARM
"""


@pytest.fixture(scope="module")
def settings(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    terms = tmp_path_factory.mktemp("terms") / "terms.csv"
    terms.write_text(TERMS)
    return world.model_copy(update={"restock_terms": terms})


def movement(sku: str, kind: str, quantity: float, at: datetime, **more: Any) -> dict[str, Any]:
    said = {"event_id": str(uuid.uuid4()), "store_id": "LEEDS", "timestamp": at.isoformat(), "sku": sku}
    return {**said, "kind": kind, "quantity": quantity, **more}


def month() -> list[dict[str, Any]]:
    """Four weeks in which MILK and BREAD sell ten a day, half of them at ten, half at sixteen, and TEA one a week."""
    found = []
    for days in range(1, 29):
        morning = (NOW - timedelta(days=days)).replace(hour=10, minute=0, second=0, microsecond=0)
        for sku in ("MILK", "BREAD"):
            found += [movement(sku, "SALE", 5, morning + timedelta(hours=hours)) for hours in (0, 6)]
        if days % 7 == 0:
            found.append(movement("TEA", "SALE", 1, morning))
    minute = NOW - timedelta(minutes=1)
    counted = (("MILK", 4, 0), ("BREAD", 0, 50), ("TEA", 9, 0), ("GONE", 2, 0), ("WATER", 30, 0))
    for sku, shelf, back in counted:
        found.append(movement(sku, "COUNT", shelf, minute))
        found.append(movement(sku, "COUNT", back, minute, location="BACKROOM"))
    return [*found, movement("GONE", "SALE", 3, NOW), movement("UNKNOWN", "SALE", 3, NOW)]


def restock(settings: Settings, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "aisleflow", "restock", *arguments],
        env={**os.environ, **environment(settings), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(settings: Settings, worker: None, api: TestClient) -> TestClient:
    producer, prefix = kafka_producer(settings), settings.topic_prefix
    today = NOW.date()
    flat = ForecastQuantiles(**{name: [20.0] * 3 for name in ForecastQuantiles.model_fields})
    facts = [
        (PRODUCTS, "WATER", Product(sku="WATER", timestamp=NOW, category="Drinks", pack=Decimal(6))),
        (FORECASTS, "LEEDS", DemandForecast(event_id=str(uuid.uuid4()), store_id="LEEDS", timestamp=NOW, sku="WATER", start=today,
                                            mean=[20.0] * 3, quantiles=flat, model="oracle")),
        *((ORDERS, "LEEDS", Order(event_id=str(uuid.uuid4()), store_id="LEEDS", order_id=name, timestamp=NOW - timedelta(hours=9 - place),
                                  supplier_id="MILL", status=status, expected_at=NOW + timedelta(days=1), lines=lines))
          for place, (name, status, lines) in enumerate([
              ("PO-1", "PLACED", [OrderLine(sku="TEA", quantity=Decimal(24)), OrderLine(sku="BREAD", quantity=Decimal(7))]),
              ("PO-1", "SHIPPED", []),
              ("PO-2", "PLACED", [OrderLine(sku="TEA", quantity=Decimal(99))]),
              ("PO-2", "CANCELLED", []),
          ])),
    ]  # fmt: skip
    for topic, key, event in facts:
        producer.produce(prefix + topic.name, dump(event), key.encode())
    producer.flush()
    layout = StoreLayout(store_id="LEEDS", timestamp=NOW, time_zone="UTC")
    insert(
        settings,
        "store_layouts",
        [{"store_id": "LEEDS", "timestamp": NOW, "layout": dump(layout).decode(), "received_at": NOW}],
    )
    received = movement("TEA", "RECEIVE", 4, NOW - timedelta(hours=2), location="BACKROOM", reference="PO-1")
    answer = api.post(
        "/stock/movements", params={"wait": "processed", "timeout_s": 60}, json={"movements": [*month(), received]}
    )
    assert answer.json()["processed"] is True, answer.text
    with clickhouse_client(settings) as client:
        until(lambda: client.command("SELECT count() FROM orders") == 4, 60)
        until(lambda: client.command("SELECT count() FROM forecasts") == 3, 60)
        assert restock(settings, "--once").splitlines()[-1] == "5 articles"
        until(lambda: client.command("SELECT count() FROM stock_outlook") == 5, 60)
        until(lambda: client.command("SELECT count() FROM anomalies WHERE announced != ''") >= 2, 60)
    return api


def test_what_to_do_today_in_order(shop: TestClient) -> None:
    found = shop.get("/stores/LEEDS/restock").json()["tasks"]
    told = {(task["sku"], task["action"]): task for task in found}
    assert [task["action"] for task in found] == sorted(
        (task["action"] for task in found), key=["FILL_SHELF", "COUNT", "ORDER"].index
    )
    assert told.keys() >= {("BREAD", "FILL_SHELF"), ("GONE", "COUNT"), ("MILK", "ORDER")}
    fill, milk = told["BREAD", "FILL_SHELF"], told["MILK", "ORDER"]
    assert fill["quantity"] == 40 and fill["on_order"] == 7 and "bring 40 of 50 in the back" in fill["reason"]
    assert milk["supplier"] == "FARM" and milk["pack"] == 12 and milk["quantity"] == 12 * milk["packs"] > 0
    assert ("TEA", "ORDER") not in told and not any(sku == "UNKNOWN" for sku, _ in told)
    assert told["WATER", "ORDER"]["pack"] == 6, "of the catalogue"


def test_what_will_run_out(shop: TestClient) -> None:
    found = {one["sku"]: one for one in shop.get("/stores/LEEDS/stockouts").json()["stockouts"]}
    assert found.keys() >= {"MILK", "WATER"} and not found.keys() & {"BREAD", "TEA"}
    milk, water = found["MILK"], found["WATER"]
    assert milk["probability"] > 0.9 and len(milk["hourly"]) == 48 and milk["hourly"] == sorted(milk["hourly"])
    assert milk["alert"]["severity"] in ("INFO", "WARN") and milk["lost_48h"] > 5
    assert water["model"] == "oracle" and water["expected_48h"] == pytest.approx(40, abs=3)
    assert milk["model"] not in ("", "oracle"), "what nobody has forecast is forecast by the job"
    none = shop.get("/stores/LEEDS/stockouts", params={"hours": 1, "probability": 0.99}).json()
    assert none["hours"] == 1 and "TEA" not in {one["sku"] for one in none["stockouts"]}
    assert shop.get("/stores/LEEDS/stockouts", params={"hours": 49}).status_code == 422
    assert shop.get("/stores/NOWHERE/stockouts").status_code == 404


def test_the_alerts_stand_among_the_shops_anomalies_and_can_be_acknowledged(
    shop: TestClient, settings: Settings
) -> None:
    with clickhouse_client(settings) as client:
        rows = client.query("SELECT type, subject, anomaly_id FROM anomalies FINAL WHERE closed_at IS NULL").result_rows
    told = {(kind, subject): name for kind, subject, name in rows}
    assert told.keys() == {("NEGATIVE_STOCK", "GONE"), ("STOCKOUT_RISK", "MILK"), ("STOCKOUT_RISK", "WATER")}
    milk = shop.get("/stores/LEEDS/stockouts").json()["stockouts"]
    assert told["STOCKOUT_RISK", "MILK"] in {one["alert"]["anomaly_id"] for one in milk if one["alert"]}
    listed = shop.get("/stores/LEEDS/anomalies").json()["anomalies"]
    assert {(one["type"], one["subject"]) for one in listed} >= told.keys()


def test_a_delivery_ends_the_alert(shop: TestClient, settings: Settings) -> None:
    delivered = movement("MILK", "RECEIVE", 200, datetime.now(UTC), location="BACKROOM")
    shop.post("/stock/movements", params={"wait": "processed", "timeout_s": 60}, json={"movements": [delivered]})
    restock(settings, "--once")
    with clickhouse_client(settings) as client:
        closed = "SELECT count() FROM anomalies FINAL WHERE type = 'STOCKOUT_RISK' AND subject = 'MILK' AND announced = 'CLOSED'"
        until(lambda: client.command(closed) == 1, 60)
    assert "MILK" not in {one["sku"] for one in shop.get("/stores/LEEDS/stockouts").json()["stockouts"]}


def test_the_list_in_the_terminal(shop: TestClient, settings: Settings) -> None:
    shown = restock(settings, "LEEDS")
    assert "LEEDS" in shown and "WATER" in shown and "more articles need nothing" in shown


def test_what_is_wrong_is_said(settings: Settings, tmp_path: Path) -> None:
    wrong = tmp_path / "terms.csv"
    wrong.write_text("sku,pack\nA,none\n")
    for arguments, changes, words in (
        ((), {"restock_terms": wrong}, "line 2: pack is 'none', which is no number"),
        (("NOWHERE",), {}, "no stock of NOWHERE is known"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "aisleflow", "restock", *arguments],
            env={**os.environ, **environment(settings.model_copy(update=changes))},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1 and words in done.stderr


ROW: dict[str, Any] = {
    "sku": "A", "gap": "", "gap_since": NOW, "made_at": NOW, "shelf": 0.0, "backroom": 9.0, "in_transit": 0.0, "seen_missing": False,
    "sales_per_hour": 1.0, "is_known": True, "shelf_then": 0.0, "on_order": 0.0, "fill_quantity": 0.0, "fill_reason": "f",
    "order_quantity": 0.0, "packs": 0, "pack": 1.0, "order_reason": "", "supplier": "", "risk_48h": 0.2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"gap": "FILL_SHELF", "fill_quantity": 12.0}, [("FILL_SHELF", 9)]),
        ({"gap": "FILL_SHELF", "is_known": False}, [("FILL_SHELF", None)]),
        ({"fill_quantity": 5.0, "shelf": 3.0, "shelf_then": 3.0}, [("FILL_SHELF", 5)]),
        ({"fill_quantity": 5.0, "shelf": 8.0, "shelf_then": 3.0}, []),  # somebody has filled it
        ({"gap": "ORDER", "is_known": False}, [("ORDER", None)]),
        ({"gap": "ORDER", "on_order": 20.0}, []),
        ({"gap": "ORDER", "order_reason": "Orders go out on Monday."}, [("ORDER", 0)]),
        ({"gap": "COUNT", "shelf": -2.0, "order_quantity": 6.0}, [("COUNT", None), ("ORDER", 6)]),
        ({"fill_quantity": 4.0, "order_quantity": 6.0}, [("FILL_SHELF", 4), ("ORDER", 6)]),
    ],
)
def test_tasks_of_a_row(changes: dict[str, Any], found: list[tuple[str, float | None]]) -> None:
    assert [(task.action, task.quantity) for task in tasks([ROW | changes])] == found
