"""The pages of stock: ``/stock`` (all shops), ``/shops/{id}/stock`` (what to do in one), ``/shops/{id}/article?sku=`` (a ledger), and
``/shops/{id}/shelf`` (photos).

They read as the API does. What they send goes to the API by the browser (``stock.js``), under the API's own rules.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlencode

from fastapi import FastAPI, Query
from nicegui import ui

from api.deps import Parts
from api.problems import ProblemError
from api.restock.routes import get_restock
from api.stock.heatmap import LOW_HOURS, heatmap
from api.stock.routes import get_ledger
from api.stock_pages import queries, render
from api.wall.routes import CSS as WALL_CSS
from api.wall.routes import Region
from schemas.events import STORE_PATTERN

HERE = Path(__file__).parent
CSS = WALL_CSS + (HERE / "stock.css").read_text()
SCRIPT = f"<script type='module'>{(HERE / 'stock.js').read_text()}</script>"
REFRESH_S = 3.0
#: The heat map asks all shops' sales: browsers share one answer for so long.
SHARED_S = 5.0
TASKS, SHELVES, MOVEMENTS, SCANS = 100, 200, 1000, 12
STORE_ID = re.compile(STORE_PATTERN)

Text = Annotated[str, Query(max_length=200)]


class _Shared:
    """An answer that several browsers share for a moment."""

    def __init__(self, ask: Callable[[], Awaitable[Any]]) -> None:
        self._ask, self._answer, self._until = ask, None, 0.0

    async def get(self) -> Any:
        if self._answer is None or time.monotonic() > self._until:
            # Set before it is asked: those that come meanwhile get what was known.
            self._until = time.monotonic() + SHARED_S
            self._answer = await self._ask()
        return self._answer


def install(app: FastAPI) -> None:
    """Add the pages to the application; ``api.wall.routes.install`` must follow, which mounts them."""

    def parts() -> Parts:
        return cast(Parts, app.state.parts)

    all_shops = _Shared(lambda: heatmap(parts().database, LOW_HOURS))

    @ui.page("/stock", title="Aisleflow: stock")
    async def stock() -> None:
        with _page("Stock", "what is low, in all shops", [("Wall", "/")]):
            banner, found = Region(), Region()

        async def look() -> None:
            found.show(render.heat_map(await all_shops.get()))

        await _keep_looking(look, banner)

    @ui.page("/shops/{store_id}/stock", title="Aisleflow: stock of a shop")
    async def shop(store_id: str, category: Text = "", q: Text = "") -> None:
        database = parts().database
        links = [
            ("All shops", "/stock"),
            ("Shelf photo", render.shelf_link(store_id)),
            ("Forecasts", f"{_shop_link(store_id)}/forecasts"),
            ("Visitors", _shop_link(store_id)),
        ]
        with _page(await _name(parts(), store_id), "what to do, what costs most sales first", links):
            banner = Region()
            with ui.element("div").classes("who_field"):
                ui.html('<label for="who">Your name, for what you tick off</label>', sanitize=False)
                ui.html('<input id="who" maxlength="60" autocomplete="name">', sanitize=False)
            calm = Region()
            tasks = _Tasks(store_id)
            shelves = Region()

        async def look() -> None:
            found = await get_restock(database, store_id, limit=TASKS)
            named = await queries.names(database, {task.sku for task in found.tasks})
            shown = [
                task for task in found.tasks if not category or named.get(task.sku, {}).get("category") == category
            ]
            calm.show("" if shown else '<div class="panel"><p class="none good">✓ Nothing to do now</p></div>')
            tasks.show(shown, named)
            rows = await queries.shelves(database, store_id, category, q, SHELVES)
            shelves.show(render.shelves(rows, store_id, category, q, SHELVES))

        async def moved(event: Any) -> None:
            tasks.renew(str(event.args))
            await look()

        ui.on("stock_moved", moved)
        await _keep_looking(look, banner)

    @ui.page("/shops/{store_id}/article", title="Aisleflow: an article")
    async def article(store_id: str, sku: Text = "") -> None:
        database = parts().database
        named = (await queries.names(database, [sku])).get(sku)
        links = [
            ("Forecast", f"{_shop_link(store_id)}/forecast?{urlencode({'sku': sku})}"),
            ("Stock of the shop", render.stock_link(store_id)),
            ("All shops", "/stock"),
        ]
        with _page((named and named["name"]) or sku, await _name(parts(), store_id), links):
            banner, head = Region(), Region()
            ui.html(render.count_form(store_id, sku), sanitize=False)
            chart, movements = Region(), Region()

        async def look() -> None:
            ledger = await get_ledger(database, store_id, sku, None, limit=MOVEMENTS)
            head.show(render.article_head(ledger, named))
            chart.show(f'<div class="panel"><h2>Balance</h2>{render.balance_chart(ledger.movements, ledger.at)}</div>')
            movements.show(render.movements_list(ledger))

        ui.on("stock_moved", look)
        await _keep_looking(look, banner)

    @ui.page("/shops/{store_id}/shelf", title="Aisleflow: shelf photos")
    async def shelf(store_id: str) -> None:
        links = [("Stock of the shop", render.stock_link(store_id)), ("All shops", "/stock")]
        with _page("Shelf photos", await _name(parts(), store_id), links):
            banner = Region()
            ui.html(render.photo_form(store_id), sanitize=False)
            shown = Region()

        async def look() -> None:
            kept = parts().pictures
            known = STORE_ID.fullmatch(store_id) is not None
            found = await asyncio.to_thread(kept.recent, store_id, SCANS) if known else []
            named = await queries.names(parts().database, {sku for scan in found for sku in scan.missing})
            shown.show(render.scans(found, named, datetime.now(UTC)))

        ui.on("shelf_scanned", look)
        await _keep_looking(look, banner)


def _shop_link(store_id: str) -> str:
    return render.stock_link(store_id).removesuffix("/stock")


async def _name(parts: Parts, store_id: str) -> str:
    try:
        return await queries.shop_name(parts.database, store_id)
    except ProblemError:
        return store_id  # the banner tells what is away


def _page(title: str, below: str, links: list[tuple[str, str]]) -> ui.element:
    """The frame of a page, to be filled."""
    ui.add_css(CSS)
    ui.add_body_html(SCRIPT)
    frame = ui.element("main").classes("wall stock").props(f"data-now={int(time.time() * 1000)}")
    with frame, ui.element("header"):
        Region().show(render.header(title, below, links))
    return frame


async def _keep_looking(look: Callable[[], Awaitable[None]], banner: Region) -> None:
    """Look now, and again every few seconds for as long as the browser is there. What keeps it from looking is told, and the last
    figures stay.
    """

    async def safely() -> None:
        try:
            await look()
            banner.show("")
        except ProblemError as problem:
            banner.show(render.banner(problem.detail))

    await safely()
    ui.timer(REFRESH_S, safely, immediate=False)


class _Tasks:
    """What to do, as rows that stay where they are while the page is open: somebody is about to tap on one."""

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id
        self._list = ui.element("ul").classes("tasks")
        self._rows: dict[tuple[str, str], tuple[ui.element, Region, Region, Any]] = {}
        self._turn = 0

    def show(self, tasks: list[Any], named: dict[str, Any]) -> None:
        """Take away what is done, tell anew what has changed, and put what is new at the end."""
        wanted = {(task.sku, task.action): task for task in tasks}
        for key in self._rows.keys() - wanted.keys():
            self._rows.pop(key)[0].delete()
        now = datetime.now(UTC)
        for key, task in wanted.items():
            if key not in self._rows:
                with self._list, ui.element("li") as item:
                    text, controls = Region("text"), Region("controls")
                controls.show(render.task_controls(task, self._store_id))
                self._rows[key] = item, text, controls, task
            self._rows[key][1].show(render.task_text(task, named, self._store_id, now))

    def renew(self, sku: str) -> None:
        """Make what one taps of an article as it was: it was tapped, and may have to be again."""
        self._turn += 1
        for (of, _), (_, _, controls, task) in self._rows.items():
            if of == sku:
                controls.show(render.task_controls(task, self._store_id, self._turn))


__all__ = ["install"]
