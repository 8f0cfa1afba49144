"""The pages of forecasts in Chromium: a shop's articles, and one with its fan, on a screen and on a phone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from forecasting.champion import Champion
from forecasting.drift import Accuracy
from forecasting.nightly import accuracy_events
from forecasting.publishing import event_of
from forecasting.series import Series
from forecasting.service import Question, answer
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.stock.plain import ACCURACY_COLUMNS, FORECAST_COLUMNS, accuracy_rows, forecast_rows
from tests.api.conftest import insert, serve

PHONE, SCREEN = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
TODAY = datetime.now(UTC).date()
DAYS = 150
ARTICLES = {"LIP-01": "Lipstick, red", "SOAP-7": "Olive soap <b>", "RAZOR": "Razor, blue", "NAMELESS": ""}


def seed(world: Settings) -> None:
    """Sales of four articles, what had been forecast a month ago and is today, and one that drifts."""
    random = np.random.default_rng(2)
    now = datetime.now(UTC)
    arrived = int(now.timestamp() * 1000)
    with clickhouse_client(world) as client:
        sink = ClickHouseSink(client)
        for number, (sku, name) in enumerate(ARTICLES.items()):
            usual = 4.0 + 5 * number
            mean = [usual * (1 + 0.5 * np.sin((TODAY - timedelta(days=back)).weekday())) for back in range(DAYS, 0, -1)]
            sold = random.poisson(mean).astype(float)
            rows = [
                [
                    str(uuid.uuid4()),
                    "LEEDS",
                    sku,
                    _noon(TODAY - timedelta(days=DAYS - at)),
                    "SALE",
                    units,
                    "SHELF",
                    -units,
                    now,
                ]
                for at, units in enumerate(sold)
                if units
            ]
            columns = [
                "event_id",
                "store_id",
                "sku",
                "timestamp",
                "kind",
                "quantity",
                "location",
                "shelf",
                "received_at",
            ]
            client.insert("stock_movements", rows, column_names=columns)
            if name:
                insert(world, "products", [{"sku": sku, "name": name, "timestamp": now, "received_at": now}])
            series = Series(sku, TODAY - timedelta(days=DAYS), sold)
            for back in (28, 0):
                past = Series(sku, series.start, sold[: DAYS - back])
                (made,) = answer([Question(past, 28)], Champion())
                event = event_of(made, "LEEDS", sku, now - timedelta(days=back))
                sink.insert_blocking("forecasts", FORECAST_COLUMNS, forecast_rows(event, arrived), str(uuid.uuid4()))
        accuracies = {
            "LIP-01": Accuracy(7, 6.5, 1.75, 2.5, 2.1, -6.2, 6, 0.00001, True),
            "": Accuracy(7, 40.5, 38.0, 47.2, 55.0, 3.5, 9, 0.6, False),
        }
        for one in accuracy_events("LEEDS", TODAY - timedelta(days=1), now, accuracies, 4):
            sink.insert_blocking("forecast_accuracy", ACCURACY_COLUMNS, accuracy_rows(one, arrived), str(uuid.uuid4()))


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def url(clickhouse: str, make_world: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    world: Settings = make_world(None, clickhouse)
    seed(world)
    with serve(world, tmp_path_factory.mktemp("api") / "log"):
        yield f"http://127.0.0.1:{world.api_port}"


def opened(browser: Any, address: str, viewport: dict[str, int], ready: str) -> Any:
    page = browser.new_page(viewport=viewport)
    page.goto(address)
    page.wait_for_selector(ready, timeout=30_000)
    return page


def fits(page: Any) -> bool:
    """Nothing is wider than the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("viewport", [SCREEN, PHONE], ids=["screen", "phone"])
def test_the_articles_of_a_shop_those_that_drift_first(
    browser: Any, url: str, viewport: dict[str, int], tmp_path: Path
) -> None:
    page = opened(browser, f"{url}/shops/LEEDS/forecasts", viewport, ".outlooks")
    names = page.locator(".outlooks li a > span:first-child").all_inner_texts()
    assert "Lipstick, red" in names[0] and "drifts" in page.locator(".outlooks li").first.inner_text()
    assert any("Olive soap <b>" in name for name in names) and len(names) == 4
    assert "do as usual" in page.inner_text("main")
    assert fits(page)
    page.screenshot(path=tmp_path / "list.png", full_page=True)
    page.locator("input[name=q]").fill("razor")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.outlooks li').length === 1")
    page.locator(".outlooks a").click()
    page.wait_for_selector(".fan svg")
    page.close()


@pytest.mark.parametrize("viewport", [SCREEN, PHONE], ids=["screen", "phone"])
def test_an_article_with_its_fan_backtest_and_last_week(
    browser: Any, url: str, viewport: dict[str, int], tmp_path: Path
) -> None:
    page = opened(browser, f"{url}/shops/LEEDS/forecast?sku=LIP-01", viewport, ".fan svg")
    assert page.locator(".fan rect").count() > 60
    assert page.locator(".fan polygon").count() == 2
    assert page.locator(".fan polyline.old").count() == 1, "what had been forecast beside what was sold"
    text = page.inner_text("main")
    for words in ("Lipstick, red", "next 7 days", "What changed it", "MASE", "days within 80 %", "drifts"):
        assert words in text
    assert fits(page)
    page.screenshot(path=tmp_path / "article.png", full_page=True)
    page.close()


def test_what_is_not_there_is_said(browser: Any, url: str) -> None:
    page = opened(browser, f"{url}/shops/LEEDS/forecast?sku=NOTHING", PHONE, ".banner")
    assert "no sales of this product" in page.inner_text(".banner")
    page.goto(f"{url}/shops/YORK/forecasts")
    page.wait_for_selector("code", timeout=30_000)
    assert "aisleflow forecast" in page.inner_text("main")
    page.close()
