"""The pages of forecasts: ``/shops/{id}/forecasts`` (all articles of a shop) and ``/shops/{id}/forecast?sku=`` (one, with its fan)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import quote

from fastapi import FastAPI, Query
from nicegui import ui

from api.deps import Parts
from api.forecast_pages import queries, render
from api.forecasts.history import shop_history, today_of
from api.problems import ProblemError
from api.stock_pages.render import article_link as stock_link
from api.stock_pages.render import banner, header
from api.stock_pages.routes import CSS as STOCK_CSS
from api.wall.routes import Region
from schemas.events import STORE_PATTERN

CSS = STOCK_CSS + (Path(__file__).parent / "forecast.css").read_text()
HORIZON, SHOWN_DAYS, SHOWN_ARTICLES = 28, 91, 200
STORE_ID = re.compile(STORE_PATTERN.removesuffix("$") + r"\Z")

Text = Annotated[str, Query(max_length=200)]


def install(app: FastAPI) -> None:
    """Add the pages to the application; ``api.wall.routes.install`` must follow, which mounts them."""

    def parts() -> Parts:
        return cast(Parts, app.state.parts)

    @ui.page("/shops/{store_id}/forecasts", title="Aisleflow: forecasts of a shop")
    async def shop(store_id: str, q: Text = "") -> None:
        links = [("Visitors", f"/shops/{quote(store_id, safe='')}"), ("All shops", "/")]

        async def look() -> str:
            today = await today_of(parts().database, store_id)
            rows = await queries.outlooks(parts().database, store_id, today, q, SHOWN_ARTICLES)
            note = render.accuracy_note(await queries.accuracy(parts().database, store_id, ""))
            return note + _search(q) + render.outlooks(rows, store_id)

        await _show(store_id, "Forecasts", f"{store_id}: what will be sold", links, look)

    @ui.page("/shops/{store_id}/forecast", title="Aisleflow: forecast of an article")
    async def article(store_id: str, sku: Text = "") -> None:
        links = [
            ("Forecasts of the shop", render.list_link(store_id)),
            ("Its stock", stock_link(store_id, sku)),
            ("All shops", "/"),
        ]

        async def look() -> str:
            database, predictor = parts().database, parts().predictor
            history = await shop_history(database, predictor, store_id, sku)
            from forecasting.service import Question

            (answer,) = await predictor.answer([Question(history.series, HORIZON, warnings=history.warnings)])
            series = history.series
            shown = min(SHOWN_DAYS, len(series.quantity))
            first = series.end - timedelta(days=shown - 1)
            sold = [
                render.Sold(first + timedelta(days=number), None if value != value else float(value))
                for number, value in enumerate(series.quantity[-shown:])
            ]
            before = await queries.published(database, store_id, sku, first, answer.forecast.start)
            accuracy = await queries.accuracy(database, store_id, sku)
            chart = f'<div class="panel"><h2>Units a day</h2>{render.fan(sold, before, answer)}</div>'
            return render.head(answer, await queries.name_of(database, sku)) + chart + render.facts(answer, accuracy)

        await _show(store_id, sku, f"{store_id}: what will be sold of it", links, look)


async def _show(
    store_id: str, title: str, below: str, links: list[tuple[str, str]], look: Callable[[], Awaitable[str]]
) -> None:
    """A page, filled once: a forecast changes once a day."""
    ui.add_css(CSS)
    with ui.element("main").classes("wall stock"):
        with ui.element("header"):
            Region().show(header(title, below, links))
        problem, found = Region(), Region()
    try:
        if STORE_ID.match(store_id) is None:
            raise ProblemError(404, "No shop has such an id.")
        found.show(await look())
    except ProblemError as error:
        problem.show(banner(error.detail))


def _search(text: str) -> str:
    return (
        '<form class="find" method="get"><label for="q">Find an article</label>'
        f'<input id="q" type="search" name="q" value="{escape(text)}"><button class="plain">Find</button></form>'
    )
