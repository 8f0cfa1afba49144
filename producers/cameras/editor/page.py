"""The editor's page: NiceGUI on a server of its own, on loopback, for whoever has the token.

A page holds a ``Drawing``; every gesture goes there, and what changed is shown. Two pages of one file do not mix: the second to
save is told to reload.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Response
from nicegui import background_tasks, ui
from nicegui.events import GenericEventArguments, KeyEventArguments, MouseEventArguments
from pydantic import ValidationError
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from producers.cameras import CameraError
from producers.cameras.editor import overlay
from producers.cameras.editor.drawing import Drawing, Selection, Tool
from producers.cameras.editor.film import Film, Window, colour_at, jpeg
from producers.cameras.editor.lookout import Lookout, Spotted
from producers.cameras.editor.store import LayoutFile
from schemas.events import StoreLayout, as_problem

CSS = (Path(__file__).parent / "editor.css").read_text()
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#121922"/>'
    '<path d="M7 23l4-13 14 3-5 11z" fill="none" stroke="#45d6b5" stroke-width="3"/></svg>'
)
TOOLS = {
    Tool.SELECT: ("Select", "Press a corner, a line or a zone and drag it. The small dots make new corners."),
    Tool.ZONE: ("Zone", "Press the zone's corners on the floor, one by one; the first again, or Enter, closes it."),
    Tool.LINE: ("Entrance", "Drag across the door. The arrow must lead into the shop; it can be turned round."),
    Tool.FLOOR: ("Floor point", "Press four or more points of the floor that you can measure on the plan."),
    Tool.COLOUR: ("Uniform", "Press the upper part of a uniform to take its colour."),
}
TYPES = ["ENTRANCE", "SHELF", "DISPLAY", "BILLING", "STOCKROOM"]
# Looks a second while it plays: enough to follow people, and little enough for the eye to follow.
PLAY_RATE = 8.0


class Guard:
    """Lets in whoever has come by the address with the token, once; from then on a cookie that no script can read."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token, self._cookie = app, token, f"aisleflow_editor_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["type"] == "http" and secrets.compare_digest(given.encode(), self._token.encode()):
            answer: Response = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            await answer(scope, receive, send)
            return
        cookie = HTTPConnection(scope).cookies.get(self._cookie, "")
        if secrets.compare_digest(cookie.encode(), self._token.encode()):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse("Open the address that the terminal shows.\n", 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


def create_app(
    film: Film | Window,
    path: Path,
    camera_id: str,
    token: str,
    port: int,
    *,
    lookout: Callable[[], Lookout] | None,
) -> FastAPI:
    """The editor of one camera's part of one layout; once a process, since NiceGUI is one.

    Args:
        lookout: Makes what finds people in the pictures, for one page each; None where there is no model.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/frame/{index}")
    def frame(index: int) -> Response:
        picture = film.picture(min(max(index, 0), film.count - 1))
        return Response(jpeg(picture), media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @ui.page("/", title=f"Aisleflow: {path.name}")
    def page() -> None:
        ui.add_css(CSS)
        ui.colors(primary="#45d6b5", dark="#121922")
        try:
            file = LayoutFile(path)
            drawing = Drawing(file.read(), camera_id, film.size)
        except CameraError as error:
            ui.label(str(error))
            return
        _Editor(drawing, film, file, lookout() if lookout else None)

    ui.run_with(app, title="Aisleflow", favicon=ICON, dark=True, tailwind=False, show_welcome_message=False)
    app.add_middleware(Guard, token=token, port=port)
    return app


class _Section:
    """A part of the page that is built anew when what it shows has changed."""

    def __init__(self, build: Callable[[], None], shows: Callable[[], Any], classes: str = "panel") -> None:
        self._host = ui.element("div").classes(classes)
        self._build, self._shows, self._shown = build, shows, ""
        self.is_building = False
        self.keep = False
        """Its own fields show already what has changed."""

    def refresh(self) -> None:
        now = json.dumps(self._shows(), default=str)
        if now == self._shown:
            return
        self._shown = now
        if not self.keep:
            self._host.clear()
            self.is_building = True
            with self._host:
                self._build()
            self.is_building = False


class _Editor:
    """One browser's page."""

    def __init__(self, drawing: Drawing, film: Film | Window, file: LayoutFile, lookout: Lookout | None) -> None:
        self.drawing, self.film, self.file, self.lookout = drawing, film, file, lookout
        self.index = 0
        self.shown = 0
        self.playing = False
        self.looking = False
        self.seen: list[Spotted] = []
        self.problems = drawing.problems()
        with ui.element("div").classes("studio"):
            self._head()
            with ui.element("div").classes("stage").style(f"--ratio: {film.size[0] / film.size[1]:.5f}"):
                self.picture = ui.interactive_image(
                    on_mouse=self._on_mouse,
                    events=["mousedown", "mousemove", "mouseup"],
                    size=film.size,
                    sanitize=False,
                ).classes("picture select")
                self.people = self.picture.add_layer()
            with ui.element("div").classes("side"):
                self.sections = [
                    _Section(self._zones, self._zones_state),
                    _Section(self._selected, self._selected_state),
                    _Section(self._findings, lambda: [(f.rule, f.where, f.message) for f in self.problems]),
                    _Section(self._camera, self._camera_state),
                ]
            self._transport()
        ui.keyboard(on_key=self._on_key, ignore=["input", "select", "textarea"])
        ui.context.client.on_delete(self._gone)
        self._refresh()
        self._show_frame(0)

    # What is shown.

    def _head(self) -> None:
        with ui.element("header"):
            with ui.element("div").classes("brand"):
                ui.html(
                    f"Aisleflow layout<small>{escape(self.file.path.name)}: camera {escape(self.drawing.camera_id)}, "
                    f"{escape(self.film.name)} ({self.film.size[0]}x{self.film.size[1]})</small>",
                    sanitize=False,
                )
            self.tools = {}
            with ui.element("div").classes("bar"):
                for tool, (name, hint) in TOOLS.items():
                    button = ui.button(name, on_click=lambda tool=tool: self._choose(tool), color=None)
                    self.tools[tool] = button.props("flat no-caps").tooltip(hint)
            with ui.element("div").classes("bar"):
                self.undo = ui.button("Undo", on_click=lambda: self._do(self.drawing.undo), color=None)
                self.redo = ui.button("Redo", on_click=lambda: self._do(self.drawing.redo), color=None)
                for button in (self.undo, self.redo):
                    button.props("flat no-caps")
            self.save = ui.button("Save", on_click=self._save, color=None).props("flat no-caps").classes("save")

    def _transport(self) -> None:
        with ui.element("div").classes("transport"):
            self.play = ui.button("Play", on_click=self._toggle, color=None).props("flat no-caps").classes("play")
            self.slider = ui.slider(min=0, max=max(1, self.film.count - 1), value=0)
            self.slider.on("update:model-value", self._on_slide, throttle=0.05)
            self.slider.set_visibility(not self.film.is_live and self.film.count > 1)
            self.time = ui.label().classes("time")
            self.counts = ui.html("", sanitize=False).classes("counts")

    def _refresh(self) -> None:
        drawing = self.drawing
        if not drawing.is_dragging:
            self.problems = drawing.problems()
            for section in self.sections:
                section.refresh()
        wrong = {(f.zone_id, f.camera_id) for f in self.problems if f.level == "error"}
        self.picture.set_content(overlay.shapes(drawing, wrong))
        self.picture.classes(remove="select zone line floor colour", add=drawing.tool.value)
        for tool, button in self.tools.items():
            button.classes(remove="on") if tool is not drawing.tool else button.classes("on")
        self.undo.set_enabled(drawing.can_undo)
        self.redo.set_enabled(drawing.can_redo)
        self.save.set_enabled(drawing.is_dirty)
        self._show_people()

    def _show_people(self) -> None:
        boxes = [(seen.box, seen.label, seen.zone) for seen in self.seen]
        trails = self.lookout.trails() if self.lookout else []
        self.people.set_content(overlay.people(boxes, trails, self.film.size[0]))
        seconds = self.index / self.film.fps
        self.time.set_text(
            "live" if self.film.is_live else f"{seconds:.1f} s of {self.film.count / self.film.fps:.1f} s"
        )
        if self.lookout is None:
            words = '<span class="hint">no model: people are not shown (--model)</span>'
        else:
            words = (
                f"<span>people <b>{len(self.seen)}</b></span><span>in <b>{self.lookout.entries}</b></span>"
                f"<span>out <b>{self.lookout.exits}</b></span>"
            )
        self.counts.set_content(words)

    def _zones_state(self) -> Any:
        return [
            [(z["zone_id"], z.get("name"), z["type"], z.get("staff_only")) for z in self.drawing.zones],
            [(i, j) for i, j, _ in self.drawing.areas()],
            self.drawing.selection and (self.drawing.selection.kind, self.drawing.selection.index),
            bool(self.drawing.line),
        ]

    def _zones(self) -> None:
        here = {i for i, _, _ in self.drawing.areas()}
        chosen = self.drawing.selection
        ui.html("<h2>Zones, the first holds where two overlap</h2>", sanitize=False)
        if not self.drawing.zones:
            ui.label("None yet: take the tool Zone.").classes("hint")
        for i, zone in enumerate(self.drawing.zones):
            on = chosen is not None and chosen.kind == "zone" and chosen.index == i
            with (
                ui.element("div")
                .classes(f"zone {'on' if on else ''}")
                .on("click", lambda i=i: self._do(lambda: self.drawing.select_zone(i)))
            ):
                ui.element("i").style(f"background: {overlay.COLOURS[zone['type']]}")
                ui.html(escape(zone.get("name") or zone["zone_id"]), sanitize=False, tag="span")
                elsewhere = "" if i in here else "not on this camera"
                ui.html(elsewhere or zone["type"].lower(), sanitize=False, tag="small")

    def _selected_state(self) -> Any:
        chosen = self.drawing.selection
        if chosen is None:
            return [self.drawing.tool]
        if chosen.kind == "zone":
            zone = self.drawing.zones[chosen.index]
            return [chosen.kind, chosen.index, chosen.area, {k: v for k, v in zone.items() if k != "areas"}]
        return [chosen.kind, chosen.index, self.drawing.floor_points if chosen.kind == "floor" else None]

    def _selected(self) -> None:
        chosen = self.drawing.selection
        if chosen is None:
            ui.html(f"<h2>{TOOLS[self.drawing.tool][0]}</h2>", sanitize=False)
            ui.label(TOOLS[self.drawing.tool][1]).classes("hint")
        elif chosen.kind == "zone":
            self._zone_form(chosen)
        elif chosen.kind == "line":
            ui.html("<h2>Entrance line</h2>", sanitize=False)
            with ui.element("div").classes("row"):
                self._button("Turn in and out round", self.drawing.turn_line)
                self._button("Delete", self.drawing.delete)
        else:
            self._floor_form(chosen.index)

    def _zone_form(self, chosen: Selection) -> None:
        drawing, index = self.drawing, chosen.index
        zone = drawing.zones[index]
        ui.html("<h2>Zone</h2>", sanitize=False)
        with ui.element("div").classes("row"):
            self._input("Id", zone["zone_id"], lambda text: self._rename(index, text))
            self._input("Name", zone.get("name") or "", lambda text: drawing.set_zone(index, name=text or None))
        with ui.element("div").classes("row"):
            ui.select(
                TYPES,
                value=zone["type"],
                label="Type",
                on_change=lambda e: self._do(lambda: drawing.set_zone(index, type=e.value)),
            ).props("dense outlined options-dense")
            ui.checkbox(
                "staff only",
                value=bool(zone.get("staff_only")),
                on_change=lambda e: self._do(lambda: drawing.set_zone(index, staff_only=e.value)),
            )
        with ui.element("div").classes("row"):
            self._button("Add an area", lambda: drawing.extend(index))
            self._button("Earlier", lambda: drawing.earlier(index))
            self._button("Delete", drawing.delete)

    def _floor_form(self, index: int) -> None:
        drawing = self.drawing
        x, y = drawing.floor_points[index]["floor"]
        ui.html(f"<h2>Floor point {index + 1}: metres from the plan's top left corner</h2>", sanitize=False)
        with ui.element("div").classes("row"):
            self._number(
                "to the right", x, lambda v: drawing.set_floor(index, v, drawing.floor_points[index]["floor"][1])
            )
            self._number("down", y, lambda v: drawing.set_floor(index, drawing.floor_points[index]["floor"][0], v))
            self._button("Delete", drawing.delete)

    def _findings(self) -> None:
        ui.html("<h2>Check</h2>", sanitize=False)
        if not self.problems:
            ui.html("Nothing wrong.", sanitize=False).classes("good")
        for f in self.problems:
            ui.html(
                f"<b>{escape(f.where)}</b>{escape(f.message)}<br><span>&rarr; {escape(f.remedy)}</span>", sanitize=False
            ).classes(f"finding {f.level.value} rule-{f.rule}")
        if not self.drawing.fits:
            self._button("Carry the drawing over to this size", self.drawing.rescale)

    def _camera_state(self) -> Any:
        return [self.drawing.colours, self.drawing.plan, self.drawing.fits]

    def _camera(self) -> None:
        drawing = self.drawing
        ui.html("<h2>Uniform</h2>", sanitize=False)
        with ui.element("div").classes("row"):
            for colour in drawing.colours:
                ui.element("div").classes("swatch").style(f"background: {escape(colour)}").tooltip(
                    f"{colour}: press to remove"
                ).on("click", lambda colour=colour: self._drop_colour(colour))
            if not drawing.colours:
                ui.label("No colours: nobody is staff by their clothes.").classes("hint")
        ui.html("<h2>Plan of the shop, metres</h2>", sanitize=False)
        width, height = drawing.plan
        with ui.element("div").classes("row"):
            self._number("width", width, lambda v: drawing.set_plan(v, drawing.plan[1]))
            self._number("height", height, lambda v: drawing.set_plan(drawing.plan[0], v))

    def _button(self, text: str, act: Callable[[], None]) -> None:
        ui.button(text, on_click=lambda: self._do(act), color=None).props("outline no-caps dense")

    def _input(self, label: str, value: str, commit: Callable[[str], None]) -> None:
        field = ui.input(label, value=value).props("dense outlined")
        self._commits(field, lambda: commit(str(field.value).strip()))

    def _number(self, label: str, value: float | None, commit: Callable[[float], None]) -> None:
        field = ui.number(label, value=value, step=0.1).props("dense outlined")
        self._commits(field, lambda: commit(float(field.value)) if field.value is not None else None)

    def _commits(self, field: ui.input | ui.number, act: Callable[[], None]) -> None:
        """Take a field's value when it is left. Its section stays, and with it the focus of the field that comes next."""
        section = next(section for section in self.sections if section.is_building)

        def done() -> None:
            section.keep = True
            self._do(act)
            section.keep = False

        field.on("blur", done).on("keydown.enter", done)

    # What a person does.

    def _do(self, act: Callable[[], None]) -> None:
        act()
        self._refresh()

    def _choose(self, tool: Tool) -> None:
        self._do(lambda: self.drawing.choose(tool))

    def _rename(self, index: int, text: str) -> None:
        if not text:
            ui.notify("A zone needs an id.", type="warning")
        else:
            self.drawing.set_zone(index, zone_id=text)

    def _drop_colour(self, colour: str) -> None:
        self._do(lambda: self.drawing.set_colours([c for c in self.drawing.colours if c != colour]))

    def _on_mouse(self, event: MouseEventArguments) -> None:
        drawing, x, y = self.drawing, event.image_x, event.image_y
        if event.type == "mousedown" and event.button == 0:
            if drawing.tool is Tool.COLOUR:
                colour = colour_at(self.film.picture(self.index), x, y)
                drawing.set_colours([*drawing.colours, colour])
            else:
                drawing.press(x, y)
        elif event.type == "mouseup":
            drawing.release(x, y)
        elif drawing.is_dragging or drawing.points:
            drawing.move(x, y, pressed=bool(event.buttons & 1))
            if drawing.is_dragging or drawing.points:
                self.picture.set_content(overlay.shapes(drawing))
                return
        else:
            return
        self._refresh()

    def _on_key(self, event: KeyEventArguments) -> None:
        if not event.action.keydown:
            return
        drawing, key, far = self.drawing, event.key, 10 if event.modifiers.shift else 1
        steps = {"ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowUp": (0, -1), "ArrowDown": (0, 1)}
        control = event.modifiers.ctrl or event.modifiers.meta
        if key.escape:
            drawing.cancel()
            drawing.choose(Tool.SELECT)
        elif key.enter:
            drawing.finish()
        elif key.delete or key.backspace:
            drawing.delete()
        elif control and key.name.lower() == "z":
            (drawing.redo if event.modifiers.shift else drawing.undo)()
        elif control and key.name.lower() == "y":
            drawing.redo()
        elif key.name in steps:
            dx, dy = steps[key.name]
            drawing.nudge(dx * far, dy * far)
        else:
            return
        self._refresh()

    def _save(self) -> None:
        try:
            self.file.write(self.drawing)
        except CameraError as error:
            ui.notify(str(error), type="negative", timeout=0, close_button=True)
        except ValidationError as error:
            where, reason = as_problem(error)
            ui.notify(f"Not saved: {where}: {reason}", type="negative")
        else:
            ui.notify(f"Saved {self.file.path.name}", type="positive")
        self._refresh()

    # The film.

    def _show_frame(self, index: int) -> None:
        self.index = index
        self.shown += 1
        # A live camera's picture has no number: the browser must ask again.
        self.picture.set_source(f"/frame/{index}" + (f"?{self.shown}" if self.film.is_live else ""))
        self._show_people()

    async def _on_slide(self, event: GenericEventArguments) -> None:
        self._show_frame(int(event.args))
        if self.lookout is not None:
            self.lookout.restart()
            self.seen = []
            if not self.looking and not self.playing:
                await self._look()

    async def _look(self) -> None:
        """Find people in the picture shown; while it is scrubbed, only in the last."""
        assert self.lookout is not None
        self.looking = True
        try:
            while True:
                index = self.index
                seen = await asyncio.to_thread(self.lookout.glance, self.film.picture(index), self._layout())
                if index == self.index or self.playing:
                    break
            if not self.playing:
                self.seen = seen
                self._show_people()
        finally:
            self.looking = False

    def _layout(self) -> StoreLayout | None:
        try:
            return self.drawing.layout()
        except ValidationError:
            return None

    def _toggle(self) -> None:
        self.playing = not self.playing
        self.play.set_text("Pause" if self.playing else "Play")
        if self.playing:
            background_tasks.create(self._play(), name="editor film")

    async def _play(self) -> None:
        clock = asyncio.get_running_loop().time
        step = max(1, round(self.film.fps / PLAY_RATE))
        if self.index + step >= self.film.count and not self.film.is_live:
            self.index = 0
        if self.lookout is not None:
            self.lookout.restart()
        while self.playing:
            began = clock()
            if self.lookout is not None:
                image = await asyncio.to_thread(self.film.picture, self.index)
                at_ms = round(1000 * (clock() if self.film.is_live else self.index / self.film.fps))
                self.seen = await asyncio.to_thread(self.lookout.follow, image, at_ms, self._layout())
            self._show_frame(self.index)
            self.slider.set_value(self.index)
            await asyncio.sleep(max(0.02, step / self.film.fps - (clock() - began)))
            if self.film.is_live:
                continue
            if self.index + step >= self.film.count:
                self._toggle()
                return
            if self.playing:
                self.index += step

    def _gone(self) -> None:
        self.playing = False
