"""The wall in Chromium: real pages of a real server process, looked at on a wall display and on a phone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from aisleflow.settings import Settings
from api.wall.live import REFRESH_S
from tests.api.conftest import serve
from tests.api.rows import fill, visit
from tests.api.twenty import seed, shop_id
from tests.conftest import free_port, running_clickhouse

WALL = {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}
# A look, its push, and a slow machine.
SOON_MS = 15_000


@pytest.fixture(scope="module")
def url(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that shows twenty shops."""
    seed(world, 20, datetime.now(UTC))
    with serve(world, tmp_path_factory.mktemp("api") / "log"):
        yield f"http://127.0.0.1:{world.api_port}"


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; at the end, nothing may have failed in it or been asked of another machine."""
    faults: list[str] = []
    pages = []

    def open_page(address: str, viewport: dict[str, int], ready: str = ".kpi") -> Any:
        page = browser.new_page(viewport=viewport)
        pages.append(page)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request", lambda r: None if r.url.startswith((address[:17], "data:", "blob:")) else faults.append(r.url)
        )
        page.goto(address)
        page.wait_for_selector(ready, timeout=SOON_MS)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not faults


def of_each(page: Any, selector: str, what: str) -> list[Any]:
    """What a JavaScript function of an element says of each. Found and asked in one go: the server replaces elements all the
    time, and those that are replaced have no place or style any more.
    """
    found: list[Any] = page.evaluate(f"selector => [...document.querySelectorAll(selector)].map({what})", selector)
    assert found, selector
    return found


def boxes(page: Any, selector: str) -> list[dict[str, float]]:
    """Where elements are."""
    return of_each(page, selector, "e => e.getBoundingClientRect().toJSON()")


def size(page: Any) -> tuple[int, int]:
    width, height = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    return width, height


def test_all_shops_are_on_one_screen(url: str, look: Callable[..., Any]) -> None:
    page = look(url, WALL)
    assert page.locator(".card").count() == 20
    assert size(page) == (1920, 1080), "nothing to scroll"
    for selector in (".card", ".panel", ".card .age"):
        for box in boxes(page, selector):
            assert (
                box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= 1920 and box["y"] + box["height"] <= 1080
            )
    assert all(of_each(page, ".card", "e => e.scrollHeight <= e.clientHeight + 1")), "nothing is cut off"
    text = page.locator(".wall").inner_text()
    for words in (
        "visitors",
        "bought",
        "in queue",
        "From the door to the till",
        "Busiest zones",
        "Critical",
        "→ Open another till",
    ):
        assert words in text
    assert page.locator(".card.stale .age").inner_text().startswith("⚠ silent")


def test_figures_are_large_and_stand_out(url: str, look: Callable[..., Any]) -> None:
    page = look(url, WALL)
    for selector, least in ((".card .figures b", 38), (".kpi b", 56), (".card .name", 17), (".card .age", 15)):
        assert min(of_each(page, selector, "e => parseFloat(getComputedStyle(e).fontSize)")) >= least, selector
    ratio = """e => {
      const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
      const light = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(linear);
        return .2126 * r + .7152 * g + .0722 * b };
      const [a, b] = [e, e.closest('.card')].map((e, i) => light(getComputedStyle(e)[i ? 'backgroundColor' : 'color']));
      return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) }"""
    for selector in (".card .figures b", ".card small", ".card .age"):
        assert min(of_each(page, selector, ratio)) >= 7, "WCAG AAA"


def test_it_is_pushed(url: str, look: Callable[..., Any], world: Settings) -> None:
    page = look(url, WALL)
    card = page.locator(".card", has_text="Bengaluru Central")
    before = int(card.locator(".figures b").first.inner_text())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    row = visit(shop_id(1), "VIS_pushed") | {
        "business_day": _day_of(world, shop_id(1)),
        "started_at": datetime.now(UTC),
    }
    fill(world, visits=[row])
    page.wait_for_function(
        "count => [...document.querySelectorAll('.card')].some("
        "e => e.innerText.includes('Bengaluru') && e.innerText.includes(count))",
        arg=str(before + 1),
        timeout=SOON_MS,
    )
    assert asked == [], "the browser did not ask: it was told"


def _day_of(settings: Settings, store_id: str) -> Any:
    from aisleflow.clients import clickhouse_client

    with clickhouse_client(settings) as client:
        sql = "SELECT max(business_day) FROM visits WHERE store_id = {store_id:String}"
        return client.query(sql, parameters={"store_id": store_id}).first_row[0]


def test_a_click_opens_the_shop(url: str, look: Callable[..., Any]) -> None:
    page = look(url, WALL)
    page.locator(".card", has_text="Chandigarh").click()
    page.wait_for_selector(".chart", timeout=SOON_MS)
    assert page.url == f"{url}/shops/{shop_id(3)}"
    assert size(page) == (1920, 1080)
    text = page.locator(".wall").inner_text()
    for words in (
        "Chandigarh",
        "revenue",
        "Queue over the day",
        "Zones, the busiest first",
        "→ Open another till",
        "SKINCARE",
    ):
        assert words in text
    page.locator(".back").click()
    page.wait_for_selector(".card", timeout=SOON_MS)


def test_on_a_phone_it_scrolls_down_and_never_sideways(url: str, look: Callable[..., Any]) -> None:
    for path in ("", f"/shops/{shop_id(3)}"):
        page = look(f"{url}{path}", PHONE)
        width, height = size(page)
        assert width == 390 and height > 1200
        for box in boxes(page, ".card, .panel, .kpi"):
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page = look(url, PHONE)
    last = page.locator(".card").last
    last.scroll_into_view_if_needed()
    assert last.is_visible() and page.evaluate("scrollY") > 0


def test_kiosk_hides_what_a_wall_does_not_need(url: str, look: Callable[..., Any]) -> None:
    assert look(f"{url}/shops/{shop_id(3)}", WALL).locator(".back").count() == 1
    page = look(f"{url}/shops/{shop_id(3)}?kiosk", WALL)
    assert page.locator(".back").count() == 0
    assert page.locator(".wall").evaluate("e => getComputedStyle(e).cursor") == "none"
    assert look(f"{url}/?kiosk", WALL).locator(".card").first.get_attribute("href").endswith("?kiosk")


def test_an_unknown_shop_says_so(url: str, look: Callable[..., Any]) -> None:
    assert "not known" in look(f"{url}/shops/NOBODY", WALL, ".empty").locator(".wall").inner_text()


def test_the_api_keeps_its_own_errors_beside_the_pages(url: str) -> None:
    import httpx

    wrong = httpx.delete(f"{url}/health")
    assert wrong.status_code == 405 and wrong.headers["content-type"] == "application/problem+json"
    assert httpx.get(f"{url}/stores/x/y").headers["content-type"] == "application/problem+json"
    assert httpx.post(f"{url}/events/ingest", json=[]).status_code == 200


def test_empty_away_and_back_again(
    kafka: str,
    make_world: Callable[..., Settings],
    tmp_path: Path,
    look: Callable[..., Any],
) -> None:
    """One server's life: nothing there yet, then a shop; ClickHouse dies and comes back. The page is never touched."""
    port, password = free_port(), secrets.token_hex(8)
    data = tmp_path / "clickhouse"
    with running_clickhouse(data, port, password) as server:
        settings = make_world(kafka, server)
        api = serve(settings, tmp_path / "api.log")
        api.__enter__()
    # ClickHouse is gone again: from here on the page sees it come and go.
    try:
        with running_clickhouse(data, port, password):
            page = look(f"http://127.0.0.1:{settings.api_port}", WALL, ".empty h1")
            text = page.locator(".wall").inner_text()
            assert "aisleflow demo" in text and "aisleflow publish events" in text
            page.set_viewport_size(PHONE)
            assert size(page)[0] == 390
            page.set_viewport_size(WALL)
            seed(settings, 3, datetime.now(UTC))
            page.wait_for_selector(".card", timeout=SOON_MS)
            assert page.locator(".card").count() == 3 and size(page) == (1920, 1080)
        page.wait_for_selector(".banner.away", timeout=SOON_MS)
        assert (
            "ClickHouse" in page.locator(".banner").inner_text() and "NOT LIVE" in page.locator("header").inner_text()
        )
        assert page.locator(".card").count() == 3, "the last figures stay, marked as old"
        with running_clickhouse(data, port, password):
            page.wait_for_selector(".banner.away", state="detached", timeout=SOON_MS)
    finally:
        api.__exit__(None, None, None)


def test_with_keys_the_wall_asks_for_one_once(
    world: Settings, tmp_path: Path, look: Callable[..., Any], url: str
) -> None:
    keyed = world.model_copy(update={"api_keys": type(world.clickhouse_url)("wall-key-1"), "api_port": free_port()})
    address = f"http://127.0.0.1:{keyed.api_port}"
    with serve(keyed, tmp_path / "api.log"):
        page = look(address, WALL, "form")
        assert page.url == f"{address}/login"
        page.fill("#key", "guess")
        page.click("button")
        page.wait_for_selector("text=not a key", timeout=SOON_MS)
        page.fill("#key", "wall-key-1")
        page.click("button")
        page.wait_for_selector(".card", timeout=SOON_MS)
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and "wall-key-1" not in cookie["value"]
        before = page.locator(".fresh").inner_text()
        time.sleep(2 * REFRESH_S)
        assert page.locator(".fresh").inner_text() != before, "the websocket is let in too"


def test_a_page_opened_while_clickhouse_hangs_comes_up_and_fills_later(
    world: Settings, tmp_path: Path, look: Callable[..., Any], url: str
) -> None:
    """``url`` only sees to it that there are shops."""
    from tests.system.back_pressure import SlowProxy, through

    assert world.clickhouse_url is not None
    target = urlsplit(world.clickhouse_url.get_secret_value())
    proxy = SlowProxy(str(target.hostname), int(target.port or 0))
    hanging = through(world, proxy).model_copy(update={"api_port": free_port()})
    with serve(hanging, tmp_path / "api.log"):
        # The first connection asks the server some small things: a hundred times a few milliseconds.
        proxy.factor = 400
        page = look(f"http://127.0.0.1:{hanging.api_port}", WALL, ".state.late, .state.away")
        assert page.locator(".empty h1").count() == 0, "nobody knows yet that there are no shops"
        proxy.factor = 1
        page.wait_for_selector(".card", timeout=60_000)
        page.wait_for_selector(".banner.away", state="detached", timeout=SOON_MS)
    proxy.close()


def test_a_frozen_camera_is_named_on_the_wall_and_on_the_shop_s_page(
    url: str, look: Callable[..., Any], world: Settings
) -> None:
    now = datetime.now(UTC)
    row = {"store_id": shop_id(4), "camera_id": "CAM-2", "kind": "CHANGE", "timestamp": now, "received_at": now}
    well = {**row, "camera_id": "CAM-1", "event_id": str(uuid4()), "state": "ONLINE", "reason": ""}
    ill = {**row, "event_id": str(uuid4()), "state": "FROZEN", "reason": "the same picture for 30 s"}
    page = look(url, WALL)
    fill(world, camera_states=[well, ill])
    page.wait_for_selector("text=camera CAM-2 frozen", timeout=SOON_MS)
    assert page.locator(".age", has_text="frozen").count() == 1
    assert size(page) == (1920, 1080)
    shop = look(f"{url}/shops/{shop_id(4)}", PHONE)
    shop.wait_for_selector("text=Camera CAM-2 is frozen", timeout=SOON_MS)
    assert "the same picture for 30 s" in shop.locator(".wall").inner_text()
