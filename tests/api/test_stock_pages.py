"""The pages of stock: what they show is what the ledger says, and what one ticks off on a phone becomes a movement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.restock.answers import Task
from api.stock.heatmap import Heatmap
from api.stock.routes import Entry
from api.stock_pages import render
from schemas.reading import epoch_ms
from tests.api.conftest import insert, serve
from tests.conftest import free_port

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1400, "height": 900}
SOON_MS = 20_000
NOW = datetime.now(UTC).replace(microsecond=0)
KEY = "aisle-key-1"


def at(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).isoformat()


def movement(sku: str, kind: str, quantity: float, hours: float, store: str = "LEEDS", **more: Any) -> dict[str, Any]:
    said = {"event_id": str(uuid4()), "store_id": store, "timestamp": at(hours), "sku": sku, "kind": kind}
    return {**said, "quantity": quantity, **more}


# MILK is out and in the back, BREAD is low, TEA is enough, SALT is nowhere; YORK has MILK alone.
MOVED = [
    *(movement("MILK", "COUNT", 4, 9), movement("MILK", "COUNT", 30, 9, location="BACKROOM")),
    *(movement("MILK", "SALE", 2, 8), movement("MILK", "SALE", 2, 2)),
    *(movement("BREAD", "COUNT", 9, 9), movement("BREAD", "SALE", 4, 8), movement("BREAD", "SALE", 3, 7)),
    *(movement("TEA", "COUNT", 50, 9), movement("SALT", "COUNT", 0, 9)),
    movement("<b>'&\"", "COUNT", 3, 9),
    movement("MILK", "COUNT", 80, 9, store="YORK"),
]


@pytest.fixture(scope="module")
def url(world: Settings, worker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a key, and a worker that keeps the ledger."""
    insert(
        world,
        "products",
        [
            {"sku": sku, "name": name, "category": category, "timestamp": NOW}
            for sku, name, category in (("MILK", "Whole milk", "Dairy"), ("BREAD", "Brown bread", "Bakery"))
        ],
    )
    keyed = world.model_copy(update={"api_keys": SecretStr(KEY), "api_port": free_port()})
    with serve(keyed, tmp_path_factory.mktemp("api") / "log"):
        yield f"http://127.0.0.1:{keyed.api_port}"


@pytest.fixture(scope="module")
def stocked(url: str) -> str:
    import httpx

    answer = httpx.post(
        f"{url}/stock/movements",
        params={"wait": "processed", "timeout_s": 60},
        json={"movements": MOVED},
        headers={"X-API-Key": KEY},
        timeout=70,
    )
    assert answer.json()["processed"] is True, answer.text
    return url


@pytest.fixture
def look(stocked: str, browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page as somebody who has logged in; nothing may fail in it, nor be asked of another machine."""
    faults: list[str] = []
    pages = []

    def open_page(path: str, viewport: dict[str, int], ready: str) -> Any:
        page = browser.new_page(viewport=viewport)
        pages.append(page)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((stocked, "data:", "blob:")) else faults.append(r.url))
        page.goto(f"{stocked}/login")
        page.fill("#key", KEY)
        page.press("#key", "Enter")
        page.wait_for_load_state()
        page.goto(stocked + path)
        page.wait_for_selector(ready, timeout=SOON_MS)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not faults


def test_the_answer_counts_what_is_low_and_out(stocked: str) -> None:
    import httpx

    found = Heatmap.model_validate(httpx.get(f"{stocked}/stock/heatmap", headers={"X-API-Key": KEY}).json())
    assert found.categories == ["Bakery", "Dairy", "Other"]
    leeds, york = found.stores
    assert (leeds.store_id, leeds.skus, leeds.low, leeds.out, leeds.share) == ("LEEDS", 5, 1, 2, 0.6)
    assert {cell.category: (cell.skus, cell.low, cell.out) for cell in leeds.categories} == {
        "Bakery": (1, 1, 0),
        "Dairy": (1, 0, 1),
        "Other": (3, 0, 1),
    }
    assert (york.skus, york.low, york.out, york.share) == (1, 0, 0, 0.0)
    # 7 sold in the 3 hours in which the shop sold anything: 2 left are less than an hour of it, and more than half of one.
    calm = httpx.get(f"{stocked}/stock/heatmap", params={"low_hours": 0.5}, headers={"X-API-Key": KEY}).json()
    assert calm["stores"][0]["low"] == 0
    assert httpx.get(f"{stocked}/stock/heatmap", params={"low_hours": 0}, headers={"X-API-Key": KEY}).status_code == 422


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_heat_map_leads_to_the_shop(look: Callable[..., Any], viewport: dict[str, int]) -> None:
    page = look("/stock", viewport, ".cell")
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"], "nothing beside the screen"
    assert page.locator(".who").all_inner_texts() == ["LEEDS", "YORK"], "the worst first"
    page.click("a.cell[title^='0 out, 1 low']")
    page.wait_for_selector(".shelves li", timeout=SOON_MS)
    assert "/shops/LEEDS/stock?category=Bakery" in page.url
    assert (
        "Brown bread" in page.locator(".shelves").inner_text()
        and "Whole milk" not in page.locator(".shelves").inner_text()
    )


def test_ticked_off_on_a_phone_it_is_a_movement_and_goes(look: Callable[..., Any], world: Settings) -> None:
    page = look("/shops/LEEDS/stock", PHONE, ".tasks li")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    milk = page.locator(".tasks li", has_text="Whole milk")
    assert "Fill the shelf" in milk.inner_text()
    for box in milk.locator("button, input").evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())"):
        assert box["height"] >= 44 and box["right"] <= PHONE["width"], "a thumb must hit it"
    page.fill("#who", "Mia")
    milk.locator("input").fill("12")
    milk.locator("input").press("Enter")
    # The cookie opens pages only: to write, the API wants its key, once a tab.
    page.wait_for_selector("dialog.ask", timeout=SOON_MS)
    page.fill("dialog.ask input", KEY)
    page.press("dialog.ask input", "Enter")
    milk.wait_for(state="detached", timeout=SOON_MS)
    with clickhouse_client(world) as client:
        rows = client.query(
            "SELECT kind, toFloat64(quantity), actor, toUnixTimestamp64Milli(timestamp) FROM stock_movements FINAL"
            " WHERE store_id = 'LEEDS' AND sku = 'MILK' ORDER BY timestamp DESC LIMIT 1"
        ).result_rows
    assert rows[0][:3] == ("FILL_SHELF", 12.0, "Mia")
    assert abs(rows[0][3] - epoch_ms(datetime.now(UTC))) < 60_000
    assert "Enough" in page.locator(".shelves li", has_text="Whole milk").inner_text()
    toast = page.locator(".toast")
    assert "12 × Whole milk" in toast.inner_text()
    toast.locator("button").click()
    page.locator(".tasks li", has_text="Whole milk").wait_for(timeout=SOON_MS)
    with clickhouse_client(world) as client:
        shelf = client.query(
            "SELECT shelf FROM stock_positions_final WHERE store_id = 'LEEDS' AND sku = 'MILK'"
        ).result_rows
    assert shelf == [(0,)], "taken back by a movement the other way"


def test_what_did_not_arrive_is_told_and_counts_once(look: Callable[..., Any], world: Settings) -> None:
    page = look("/shops/LEEDS/article?sku=TEA", PHONE, ".balance svg")
    page.evaluate("key => sessionStorage.setItem('aisleflow_key', key)", KEY)
    page.route("**/stock/movements*", lambda route: route.abort())
    page.fill(".tick input", "48")
    page.click("text=On the shelf >> nth=-1")
    page.wait_for_selector("output.bad", timeout=SOON_MS)
    assert "No connection" in page.locator("output").inner_text()
    page.unroute("**/stock/movements*")
    page.click(".tick button >> nth=0")
    page.wait_for_selector("output.good", timeout=SOON_MS)
    page.wait_for_function("document.querySelector('.kpis.now b').innerText === '48'", timeout=SOON_MS)
    assert "Counted (shelf)" in page.locator(".ledger").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_what_senders_write_is_text(look: Callable[..., Any]) -> None:
    page = look("/shops/LEEDS/stock?q=%3Cb%3E", DESK, ".shelves li")
    assert "<b>'&\"" in page.locator(".shelves").inner_text()
    page.click(".shelves a")
    page.wait_for_selector(".balance svg", timeout=SOON_MS)
    assert "<b>'&\"" in page.locator(".brand").inner_text()
    page = look("/shops/%3Cimg%20src=x%3E/stock", DESK, ".banner")
    assert page.locator(".brand").inner_text().startswith("<img src=x>")


def task(**more: Any) -> Task:
    said = {"sku": "A", "action": "FILL_SHELF", "since": NOW, "shelf": 0, "backroom": 5, "in_transit": 0}
    return Task(**{**said, "sales_per_hour": 0.25, "reason": "r", **more})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (task(), 3),
        (task(sales_per_hour=0), 1),
        (task(sales_per_hour=9), 5),
        (task(quantity=4), 4),
        (task(action="COUNT"), None),
        (task(action="ORDER", quantity=24), None),
    ],
)
def test_how_many_are_suggested(said: Task, expected: float | None) -> None:
    assert render.suggested(said) == expected


def test_what_is_to_be_counted_is_where_the_ledger_is_wrong() -> None:
    shelf = render.task_controls(task(action="COUNT", shelf=-1, backroom=-1), "S")
    assert 'data-move="COUNT" data-location="SHELF"' in shelf
    assert 'data-location="BACKROOM"' in render.task_controls(task(action="COUNT", shelf=2, backroom=-1), "S")


@pytest.mark.parametrize(("value", "text"), [(1234, "1,234"), (0.5, "0.5"), (2.0625, "2.062"), (-3, "-3"), (0, "0")])
def test_amounts(value: float, text: str) -> None:
    assert render.amount(value) == text


def entry(hours: float, kind: str, quantity: float, shelf: float, backroom: float, location: str = "SHELF") -> Entry:
    return Entry(
        **dict.fromkeys(("event_id", "reference", "to_store_id", "from_store_id", "actor", "reason"), ""),
        timestamp=NOW - timedelta(hours=hours),
        kind=kind,
        quantity=quantity,
        location=location,
        source="MOVEMENT",
        shelf_after=shelf,
        backroom_after=backroom,
    )


def test_the_chart_steps_from_balance_to_balance_and_ends_now() -> None:
    chart = render.balance_chart([entry(2, "SALE", 5, 5, 0), entry(4, "COUNT", 10, 10, 0)], NOW, width=100, height=112)
    # 10 at the top (8), 0 at the foot (108), the sale in the middle of the time.
    assert 'class="shelf" points="0.0,8.0 50.0,8.0 50.0,58.0 100,58.0"' in chart
    assert 'class="rear" points="0.0,108.0 50.0,108.0 50.0,108.0 100,108.0"' in chart
    assert chart.count("<i ") == 1
    assert "Nothing has moved" in render.balance_chart([], NOW)


def test_colours_are_never_alone(tmp_path: Path) -> None:
    found = Heatmap.model_validate(
        {
            "made_at": NOW,
            "low_hours": 4,
            "categories": ["Dairy"],
            "stores": [
                {"store_id": "S", "name": "", "skus": 4, "low": 1, "out": 1, "share": 0.5}
                | {"categories": [{"category": "Dairy", "skus": 4, "low": 1, "out": 1, "share": 0.5}]}
            ],
        }
    )
    assert render.heat_map(found).count("1 out, 1 low") >= 2
    assert "No stock is kept" in render.heat_map(found.model_copy(update={"stores": []}))
