"""The pages: ``/`` (all shops), ``/shops/{id}`` (one), ``/login`` (where keys are configured).

A page is built once and then only told what changed: the server looks at ClickHouse once for all browsers and pushes
over NiceGUI's websocket. ``?kiosk`` hides what a wall display does not need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request
from nicegui import ui
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Mount
from starlette.types import Scope

from aisleflow.settings import Settings
from api import security
from api.deps import Parts
from api.events.bodies import read_body
from api.wall import render
from api.wall.live import Live, Shop, Snapshot

CSS = (Path(__file__).parent / "wall.css").read_text()
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#121922"/>'
    '<path d="M6 22l6-8 5 5 9-11" fill="none" stroke="#45d6b5" stroke-width="3.5"/></svg>'
)
SIDE_ALERTS = 4
SIDE_ZONES = 6
# The API's first path segments: what is not found there is a problem in JSON, not a page.
API_ROOTS = frozenset(
    {"api", "events", "transactions", "stores", "shelves", "questions", "health", "metrics", "openapi.json", "login"}
)

Kiosk = Annotated[str | None, Query()]
Show = Callable[[Snapshot, datetime], None]


class _Pages(Mount):
    """The mounted pages, out of the way of the API's own 404 and 405."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        root, _, rest = scope["path"].lstrip("/").partition("/")
        # /stock is a page, what lies below it is not.
        if root in API_ROOTS or (root == "stock" and rest):
            return Match.NONE, {}
        return super().matches(scope)


def install(app: FastAPI, settings: Settings) -> None:
    """Add the pages to the application."""
    live = Live(lambda: cast(Parts, app.state.parts))

    @ui.page("/", title="Aisleflow: all shops")
    async def wall(kiosk: Kiosk = None) -> None:
        with _page(kiosk is not None, "whole"):
            show = _wall(kiosk is not None)
        await _keep_showing(live, show)

    @ui.page("/shops/{store_id}", title="Aisleflow: a shop")
    async def shop(store_id: str, kiosk: Kiosk = None) -> None:
        with _page(kiosk is not None):
            show = _shop(store_id, kiosk is not None)
        await _keep_showing(live, show)

    _add_login(app, settings.api_key_set)
    ui.run_with(app, title="Aisleflow", favicon=ICON, dark=True, tailwind=False, show_welcome_message=False)
    mount = app.router.routes.pop()
    assert isinstance(mount, Mount)
    app.router.routes.append(_Pages(mount.path, mount.app))


def _page(kiosk: bool, kind: str = "") -> ui.element:
    ui.add_css(CSS)
    return ui.element("div").classes(f"wall {kind} {'kiosk' if kiosk else ''}")


async def _keep_showing(live: Live, show: Show) -> None:
    """Show what is known at once, then every look, until the browser is gone for good."""

    def watcher(snapshot: Snapshot) -> None:
        show(snapshot, datetime.now(UTC))

    live.watch(watcher)
    await live.first_look()
    watcher(live.snapshot)
    ui.context.client.on_delete(lambda: live.leave(watcher))


class Region(ui.html):
    """HTML that is pushed only when it has changed. What goes in is escaped by ``render``."""

    def __init__(self, classes: str = "host", tag: str = "div") -> None:
        super().__init__("", sanitize=False, tag=tag)
        self.classes(classes)

    def show(self, content: str) -> None:
        if content != self.content:
            self.set_content(content)


class _Card:
    """A shop's card. The link stays while what stands on it is replaced, so that no click is lost."""

    def __init__(self) -> None:
        with ui.element("div").classes("cardhost") as self._host:
            self._link = ui.element("a")
            with self._link:
                self._face = Region()
        self._shown = ("", "")

    def show(self, shop: Shop, now: datetime, *, kiosk: bool) -> None:
        look = (render.card_classes(shop, now), render.link(shop, kiosk))
        if look != self._shown:
            self._shown = look
            self._link.classes(replace=look[0])
            self._link.props["href"] = look[1]
            self._link.update()
        self._face.show(render.card(shop, now))

    def delete(self) -> None:
        self._host.delete()


def _wall(kiosk: bool) -> Show:
    """The page of all shops; returns what puts a snapshot on it."""
    with ui.element("header"):
        header = Region()
        Region().show("" if kiosk else render.PAGES)
    banner = Region()
    empty = Region()
    board = ui.element("div").classes("board")
    with board:
        grid = ui.element("div").classes("shops")
        with ui.element("div").classes("side"):
            funnel, zones, alerts = Region(), Region(), Region()
    cards: list[_Card] = []

    def show(snapshot: Snapshot, now: datetime) -> None:
        header.show(render.wall_header(snapshot, now))
        banner.show(render.banner(snapshot, now))
        empty.show("" if snapshot.shops or snapshot.problem or not snapshot.is_known else render.EMPTY)
        board.set_visibility(bool(snapshot.shops))
        shops = render.on_screen(snapshot.shops, now)
        if len(cards) != len(shops):
            grid.style(f"--columns: {render.columns(len(shops))}")
            with grid:
                cards.extend(_Card() for _ in range(len(shops) - len(cards)))
            while len(cards) > len(shops):
                cards.pop().delete()
        for card, shop in zip(cards, shops, strict=True):
            card.show(shop, now, kiosk=kiosk)
        funnel.show(render.panel("From the door to the till", render.funnel_bars(render.total_funnel(snapshot.shops))))
        zones.show(render.panel("Busiest zones", render.heat_tiles(render.total_zones(snapshot.shops), SIDE_ZONES)))
        found = render.worst_first(snapshot.shops, now)
        alerts.show(render.panel("What to do now", render.alerts(found, SIDE_ALERTS, now), "do"))

    return show


def _shop(store_id: str, kiosk: bool) -> Show:
    """The page of one shop; returns what puts a snapshot on it."""
    with ui.element("header"):
        Region().show("" if kiosk else render.ways(store_id))
        header = Region()
    banner = Region()
    missing = Region()
    body = ui.element("div").classes("shop")
    with body:
        regions = [Region() for _ in range(5)]

    def show(snapshot: Snapshot, now: datetime) -> None:
        shop: Shop | None = next((shop for shop in snapshot.shops if shop.store_id == store_id), None)
        banner.show(render.banner(snapshot, now, shop))
        body.set_visibility(shop is not None)
        missing.show("" if shop or snapshot.problem or not snapshot.is_known else render.UNKNOWN_SHOP)
        if shop is None:
            header.show("")
            return
        header.show(render.shop_header(shop, snapshot, now))
        found = render.worst_first([shop], now)
        parts = (
            render.panel("From the door to the till", render.funnel_bars(shop.funnel)),
            render.panel("What to do now", render.cameras(shop, now) + render.alerts(found, 20, now, named=False)),
            render.panel("Queue over the day", render.queue_chart(shop)),
            render.panel("Zones, the busiest first", render.heat_tiles(shop.zones, detailed=True)),
            render.shop_notes(shop),
        )
        for region, content in zip(regions, parts, strict=True):
            region.show(content)

    return show


_LOGIN = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Aisleflow: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}
form {{ margin: 18vh auto; max-width: 420px; padding: 24px; display: grid; gap: 14px; font-size: 20px; }}
input, button {{ font: inherit; padding: 10px 14px; border-radius: 8px; border: 1px solid var(--line); }}
input {{ background: var(--panel); color: var(--text); }}
button {{ background: var(--accent); color: #10151b; font-weight: 700; }}
</style><form method="post" action="/login"><b>Aisleflow</b><label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>%s
<button>Log in</button></form></html>"""


def _add_login(app: FastAPI, keys: frozenset[str]) -> None:
    """A form that takes a key once and leaves a cookie that opens the pages, not the rest of the API."""

    @app.get("/login", include_in_schema=False)
    async def ask() -> Response:
        return HTMLResponse(_LOGIN.replace("%s", "")) if keys else RedirectResponse("/", 303)

    @app.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        given = parse_qs((await read_body(request, 4096)).decode("utf-8", "replace")).get("key", [""])[0].strip()
        if not security.is_key(given, keys):
            await asyncio.sleep(0.5)  # guessing shall be slow
            return HTMLResponse(_LOGIN.replace("%s", '<span class="up">That is not a key of this server.</span>'), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            security.COOKIE,
            security.make_cookie(given),
            max_age=security.COOKIE_LIFE_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer
