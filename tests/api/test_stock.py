"""The stock answers: movements taken in over HTTP, derived by a real worker, and read back."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import until


def movement(kind: str, quantity: float, at: str, **more: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "store_id": "LEEDS",
        "timestamp": f"2026-03-03T{at}:00Z",
        "sku": "22423",
        "kind": kind,
        "quantity": quantity,
        **more,
    }


DAY = [
    movement("COUNT", 6, "08:00"),
    movement("COUNT", 30, "08:05", location="BACKROOM"),
    movement("SALE", 2, "09:00"),
    movement("FILL_SHELF", 4, "10:00", actor="mia"),
    movement("TRANSFER", 5, "11:00", location="BACKROOM", to_store_id="YORK", reference="TR-1"),
    movement("COUNT", 7, "12:00", actor="mia"),
    movement("WASTE", 0.5, "13:00", reason="broken"),
]


@pytest.fixture(scope="module")
def taken(worker: None, api: TestClient) -> dict[str, Any]:
    answer = api.post(
        "/stock/movements",
        params={"wait": "processed", "timeout_s": 60},
        json={"movements": [*DAY, DAY[2], {"sku": 1}]},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_movements_are_taken_each_judged_alone(taken: dict[str, Any]) -> None:
    assert (taken["inserted_events"], taken["duplicates"], taken["errors"]) == (7, 1, 1)
    assert taken["error_details"][0]["index"] == 8
    assert taken["processed"] is True


def test_positions(taken: dict[str, Any], api: TestClient) -> None:
    stock = api.get("/stores/LEEDS/stock").json()
    (position,) = stock["positions"]
    assert (position["sku"], position["shelf"], position["backroom"]) == ("22423", 6.5, 21)
    assert position["shelf_known"] and position["backroom_known"] and not position["is_negative"]
    assert position["counted_at"] == "2026-03-03T12:00:00Z"
    assert stock["next"] is None
    assert api.get("/stores/LEEDS/stock", params={"sku": "nothing"}).status_code == 404, "no other sign of this store"


def test_what_was_sent_is_on_its_way(taken: dict[str, Any], api: TestClient) -> None:
    # That shop hears of it by the log: no part of what was waited for.
    until(lambda: api.get("/stores/YORK/stock").status_code == 200, 60)
    (position,) = api.get("/stores/YORK/stock").json()["positions"]
    assert (position["shelf"], position["in_transit"]) == (0, 5)


@pytest.mark.parametrize(
    ("at", "shelf", "backroom"),
    [("07:59", 0, 0), ("08:01", 6, 0), ("09:30", 4, 30), ("10:00", 8, 26), ("11:30", 8, 21), ("23:00", 6.5, 21)],
)
def test_the_balance_at_any_moment(
    taken: dict[str, Any], api: TestClient, at: str, shelf: float, backroom: float
) -> None:
    ledger = api.get("/stores/LEEDS/stock/22423", params={"at": f"2026-03-03T{at}:30Z"}).json()
    assert (ledger["shelf"], ledger["backroom"]) == (shelf, backroom)


def test_the_ledger_shows_what_each_movement_left(taken: dict[str, Any], api: TestClient) -> None:
    ledger = api.get("/stores/LEEDS/stock/22423").json()
    assert [(entry["kind"], entry["shelf_after"]) for entry in reversed(ledger["movements"])] == [
        ("COUNT", 6),
        ("COUNT", 6),
        ("SALE", 4),
        ("FILL_SHELF", 8),
        ("TRANSFER", 8),
        ("COUNT", 7),
        ("WASTE", 6.5),
    ]
    assert ledger["movements"][0]["reason"] == "broken"


def test_discrepancies(taken: dict[str, Any], api: TestClient) -> None:
    window = {"from": "2026-03-03T00:00:00Z", "to": "2026-03-04T00:00:00Z"}
    found = api.get("/stores/LEEDS/discrepancies", params=window).json()["discrepancies"]
    assert [(d["location"], d["expected"], d["counted"], d["difference"], d["actor"]) for d in found] == [
        ("SHELF", 8, 7, -1, "mia")
    ]
    assert api.get("/stores/LEEDS/discrepancies", params=window | {"to": window["from"]}).status_code == 422


def test_what_to_do_now_in_order(worker: None, api: TestClient) -> None:
    def said(sku: str, kind: str, quantity: float, at: str, **more: Any) -> dict[str, Any]:
        return movement(kind, quantity, at, sku=sku, store_id="YORK", **more)

    moved = [
        *(said(sku, "COUNT", 9, "07:00") for sku in ("FILLED", "EMPTY", "GONE", "MIXED")),
        *(said(sku, "SALE", 9, f"1{hour}:00") for hour, sku in enumerate(("EMPTY", "GONE"))),
        said("EMPTY", "RECEIVE", 40, "09:30", location="BACKROOM"),
        said("EMPTY", "RETURN", 1, "10:30"),
        said("EMPTY", "SALE", 1, "10:40"),
        said("MIXED", "SALE", 11, "12:00"),
    ]
    answer = api.post("/stock/movements", params={"wait": "processed", "timeout_s": 60}, json={"movements": moved})
    assert answer.json()["processed"] is True
    tasks = api.get("/stores/YORK/restock").json()["tasks"]
    assert [(task["sku"], task["action"], round(task["sales_per_hour"], 2)) for task in tasks] == [
        ("EMPTY", "FILL_SHELF", 3.33),
        ("MIXED", "COUNT", 3.67),
        ("GONE", "ORDER", 3.0),
    ]
    assert tasks[1]["reason"] == "The ledger holds -2, which cannot be: count it."
    assert tasks[0]["since"] == "2026-03-03T10:40:00Z"
    assert api.get("/stores/NOWHERE/restock").status_code == 404


def test_what_is_not_there(taken: dict[str, Any], api: TestClient) -> None:
    assert api.get("/stores/NOWHERE/stock").status_code == 404
    assert api.get("/stores/LEEDS/stock/NOTHING").status_code == 404
    announced = movement("TRANSFER", 1, "09:00", from_store_id="YORK")
    (fault,) = api.post("/stock/movements", json={"movements": [announced]}).json()["error_details"]
    assert fault["field"] == "from_store_id"
