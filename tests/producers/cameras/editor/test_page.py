"""The editor in Chromium: drawn with the mouse, saved, and read back from the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.events import StoreLayout
from tests.producers.cameras.editor.test_drawing import SIZE, SQUARE, document

# A busy machine is slow to open a page.
SOON_MS = 30_000
SCREEN = {"width": 1280, "height": 800}

pytestmark = pytest.mark.vision


def rendered(path: Path, frames: int = 30, size: tuple[int, int] = SIZE) -> Path:
    """A clip of a floor with a blue square that moves to the right."""
    import cv2
    import numpy as np

    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, size)
    for number in range(frames):
        image = np.full((size[1], size[0], 3), (70, 76, 82), np.uint8)
        cv2.rectangle(image, (40 + 12 * number, 150), (90 + 12 * number, 200), (200, 80, 20), -1)
        film.write(image)
    film.release()
    return path


class Studio:
    """A running editor and its page in a browser."""

    def __init__(self, browser: Any, address: str, file: Path, size: tuple[int, int]) -> None:
        self.file, self.size = file, size
        self.faults: list[str] = []
        self.page = browser.new_page(viewport=SCREEN)
        self.page.set_default_timeout(SOON_MS)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "request",
            lambda r: None if r.url.startswith((address[:17], "data:", "blob:")) else self.faults.append(r.url),
        )
        for _ in range(200):
            try:
                self.page.goto(address)
                break
            except Exception as error:
                if "ERR_CONNECTION_REFUSED" not in str(error):
                    raise
                time.sleep(0.1)  # it prints its address a moment before it listens
        self.ready()

    def ready(self) -> None:
        """Wait for the picture, and for the server to listen."""
        self.page.wait_for_function(
            "window.did_handshake && document.querySelector('.picture img')?.naturalWidth > 0", timeout=SOON_MS
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen."""
        box = self.page.locator(".picture img").first.bounding_box()
        return box["x"] + (x + 0.5) * box["width"] / self.size[0], box["y"] + (y + 0.5) * box["height"] / self.size[1]

    def tool(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def press(self, *points: tuple[float, float]) -> None:
        for point in points:
            self.page.mouse.click(*self.at(*point))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=5)
        self.page.mouse.up()

    def sees(self, text: str) -> None:
        """Wait until the panel says something."""
        self.page.locator(".side", has_text=text).first.wait_for(timeout=SOON_MS)

    def fill(self, label: str, text: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        field.fill(text)
        field.press("Enter")

    def save(self) -> dict[str, Any]:
        """Save, and what the file holds then."""
        before = self.file.read_bytes() if self.file.exists() else b""
        self.tool("Save")
        deadline = time.monotonic() + SOON_MS / 1000
        while not self.file.exists() or self.file.read_bytes() == before:
            assert time.monotonic() < deadline, "not saved"
            self.page.wait_for_timeout(50)
        StoreLayout.model_validate_json(self.file.read_bytes())
        return json.loads(self.file.read_text())


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, vision: None) -> Iterator[Callable[..., str]]:
    """Starts editors; each one's address."""
    started: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ,
        "AISLEFLOW_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("AISLEFLOW_CAMERA_MODEL", None)

    def start(clip: Path, file: Path, *options: str) -> str:
        command = [sys.executable, "-m", "aisleflow", "layout", "edit", str(clip), "--layout", str(file), *options]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        started.append(server)
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address
        return address

    yield start
    for server in started:
        server.terminate()
    for server in started:
        server.wait(20)


@pytest.fixture(scope="module")
def shop(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An editor of a rendered clip, without a model: its address and its layout file."""
    folder = tmp_path_factory.mktemp("shop")
    return serve(rendered(folder / "door.mp4"), folder / "shop.json", "--camera", "C"), folder / "shop.json"


@pytest.fixture
def studio(browser: Any) -> Iterator[Callable[..., Studio]]:
    """Opens pages; at the end nothing may have failed in one or been asked of another machine."""
    opened: list[Studio] = []

    def open_page(address: str, file: Path, size: tuple[int, int] = SIZE) -> Studio:
        one = Studio(browser, address, file, size)
        opened.append(one)
        return one

    yield open_page
    for one in opened:
        one.page.close()
    assert [fault for one in opened for fault in one.faults] == []


@pytest.fixture
def one(studio: Callable[..., Studio], shop: tuple[str, Path]) -> Studio:
    """A page of a layout that is yet to come."""
    address, file = shop
    file.unlink(missing_ok=True)
    return studio(address, file)


@pytest.fixture
def drawn(studio: Callable[..., Studio], shop: tuple[str, Path]) -> Studio:
    """A page of a layout with a zone, a line and a field that this program does not know."""
    address, file = shop
    file.write_text(json.dumps({**document(SQUARE, entrance_line=[[400, 80], [400, 320]]), "invented": [1, {"a": 2}]}))
    return studio(address, file)


def test_a_zone_and_a_line_drawn_saved_and_shown_again(one: Studio) -> None:
    one.sees("nobody can be counted")
    one.tool("Zone")
    one.press((100, 100), (300, 100), (300, 300), (100, 300), (100, 100))
    one.sees("ZONE-1")
    one.fill("Id", "TABLE")
    one.sees("TABLE")
    one.page.get_by_role("checkbox", name="staff only").click()
    one.tool("Entrance")
    one.drag((400, 80), (400, 320))
    one.sees("Nothing wrong.")
    saved = one.save()
    (zone,), (camera,) = saved["zones"], saved["cameras"]
    assert (zone["zone_id"], zone["type"], zone["staff_only"]) == ("TABLE", "SHELF", True)
    (area,) = zone["areas"]
    assert area["camera_id"] == "C" and saved["store_id"] == "shop"
    for point, meant in zip(area["polygon"], SQUARE, strict=True):
        assert point == pytest.approx(meant, abs=1)
    assert camera["entrance_line"] == [pytest.approx((400, 80), abs=1), pytest.approx((400, 320), abs=1)]
    assert (camera["frame_width"], camera["frame_height"]) == SIZE
    one.page.reload()
    one.ready()
    one.sees("TABLE")
    one.sees("Nothing wrong.")
    assert one.page.locator(".picture polygon").count() == 2, "the zone and the arrow's head"


def test_a_bad_polygon_shows_its_finding_until_it_is_undone(drawn: Studio) -> None:
    drawn.sees("Nothing wrong.")
    drawn.drag((300, 300), (300, 60))
    drawn.drag((100, 300), (350, 250))
    drawn.drag((100, 100), (350, 80))
    drawn.sees("its edges cross or touch each other")
    assert drawn.page.locator(".finding.error.rule-self-crossing").count() == 1
    assert drawn.page.locator(".picture polygon[stroke='#ff6b6b']").count() == 1
    for _ in range(3):
        drawn.tool("Undo")
    drawn.sees("Nothing wrong.")
    drawn.page.wait_for_function("document.querySelector('.save').disabled")


def test_a_dragged_corner_is_saved_and_all_else_stays(drawn: Studio) -> None:
    before = json.loads(drawn.file.read_text())
    drawn.drag((300, 300), (350, 340))
    after = drawn.save()
    assert after["zones"][0]["areas"][0]["polygon"][2] == pytest.approx((350, 340), abs=1)
    after["zones"][0]["areas"][0]["polygon"][2] = [300, 300]
    assert after.pop("timestamp") > before.pop("timestamp")
    assert after == before


def test_keys(drawn: Studio) -> None:
    drawn.tool("Zone")
    drawn.press((450, 100), (600, 100), (600, 300))
    drawn.page.keyboard.press("Enter")
    drawn.sees("ZONE-1")
    drawn.page.keyboard.press("Shift+ArrowLeft")
    drawn.page.keyboard.press("ArrowDown")
    polygon = drawn.save()["zones"][1]["areas"][0]["polygon"]
    assert polygon[0] == pytest.approx((440, 101), abs=1)
    drawn.page.keyboard.press("Delete")
    drawn.page.locator(".zone", has_text="ZONE-1").wait_for(state="detached", timeout=SOON_MS)
    drawn.page.keyboard.press("Control+z")
    drawn.sees("ZONE-1")
    drawn.tool("Zone")
    drawn.press((20, 20), (60, 20))
    drawn.page.keyboard.press("Escape")
    drawn.page.locator(".picture polyline").wait_for(state="detached", timeout=SOON_MS)
    assert drawn.page.locator(".save").is_disabled(), "all is as it was saved"


def test_the_eyedropper_takes_the_uniforms_colour_and_scrubbing_moves_the_picture(drawn: Studio) -> None:
    drawn.tool("Uniform")
    drawn.press((65, 175))
    drawn.page.locator(".swatch").wait_for(timeout=SOON_MS)
    # Some frames on, the square has gone from there and is elsewhere.
    track = drawn.page.locator(".q-slider__track-container").bounding_box()
    drawn.page.mouse.click(track["x"] + 0.6 * track["width"], track["y"] + track["height"] / 2)
    drawn.page.wait_for_function("!document.querySelector('.picture img').src.endsWith('/frame/0')")
    number = int(drawn.page.locator(".picture img").first.get_attribute("src").rpartition("/")[2])
    assert number > 10 and f"{number / 10:.1f} s of 3.0 s" in drawn.page.locator(".time").inner_text()
    drawn.tool("Uniform")
    drawn.press((65 + 12 * number, 175))
    drawn.page.wait_for_timeout(200)
    colours = drawn.save()["staff"]["uniform"]
    for colour in colours:
        assert [int(colour[i : i + 2], 16) for i in (1, 3, 5)] == pytest.approx([20, 80, 200], abs=25)


def test_floor_points_and_the_plan(drawn: Studio) -> None:
    drawn.fill("width", "10")
    drawn.fill("height", "8")
    floor = {(200, 100): (1, 1), (400, 100): (5, 1), (600, 395): (5, 4), (20, 395): (1, 4)}
    for number, (place, metres) in enumerate(floor.items(), start=1):
        drawn.tool("Floor point")
        drawn.press(place)
        drawn.sees(f"Floor point {number}")
        drawn.fill("to the right", str(metres[0]))
        drawn.fill("down", str(metres[1]))
    drawn.sees("Nothing wrong.")
    saved = drawn.save()
    assert saved["plan"] == {"width_m": 10, "height_m": 8}
    assert [point["floor"] for point in saved["cameras"][0]["floor_points"]] == [[1, 1], [5, 1], [5, 4], [1, 4]]


def test_a_file_that_somebody_else_changed_is_not_overwritten(drawn: Studio) -> None:
    drawn.drag((300, 300), (350, 340))
    theirs = json.dumps(document())
    drawn.file.write_text(theirs)
    drawn.tool("Save")
    drawn.page.get_by_text("was changed by somebody else").wait_for(timeout=SOON_MS)
    assert drawn.file.read_text() == theirs


def test_nobody_comes_in_without_the_token(drawn: Studio, shop: tuple[str, Path]) -> None:
    import httpx

    address = shop[0].partition("?")[0]
    for path in ("", "frame/0", "_nicegui/", "?token=", "?token=guess"):
        answer = httpx.get(address + path)
        assert answer.status_code == 403 and "terminal" in answer.text
    with httpx.Client(follow_redirects=True) as client:
        assert client.get(shop[0]).status_code == 200
        assert client.get(address + "frame/7").headers["content-type"] == "image/jpeg"
    assert "token" not in drawn.page.url
    (cookie,) = drawn.page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"


def test_it_fits_the_screen(drawn: Studio) -> None:
    size = drawn.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size == [SCREEN["width"], SCREEN["height"]], "nothing to scroll"
    stage, picture = (drawn.page.locator(name).first.bounding_box() for name in (".stage", ".picture img"))
    assert picture["width"] > 800 and stage["x"] <= picture["x"]
    assert picture["width"] / picture["height"] == pytest.approx(SIZE[0] / SIZE[1], rel=0.01)
    assert picture["y"] + picture["height"] <= stage["y"] + stage["height"] + 1


def test_people_are_found_in_a_real_clip(
    serve: Callable[..., str], studio: Callable[..., Studio], material: Path, tmp_path: Path
) -> None:
    """Standing still at a table; the zone is drawn around their feet while the editor runs, and they walk on."""
    model = material / "models" / "yolov8n_int8_openvino_model"
    clip = material / "clips" / "one-by-one-person-detection.mp4"
    one = studio(serve(clip, tmp_path / "shop.json", "--model", str(model)), tmp_path / "shop.json", (768, 432))
    one.tool("Zone")
    one.press((270, 431), (310, 260), (580, 260), (640, 431))
    one.page.keyboard.press("Enter")
    one.sees("ZONE-1")
    # The second of six is in view from frame 230 to 445.
    track = one.page.locator(".q-slider__track-container").bounding_box()
    one.page.mouse.click(track["x"] + 0.24 * track["width"], track["y"] + track["height"] / 2)
    one.page.locator(".picture text", has_text="in ZONE-1").wait_for(timeout=SOON_MS)
    assert one.page.locator(".counts b").first.inner_text() == "1"
    one.tool("Play")
    one.page.locator(".picture polyline").first.wait_for(state="attached", timeout=SOON_MS)
    one.tool("Pause")
    assert "people 1" in one.page.locator(".counts").inner_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["none.mp4", "--layout", "shop.json"], "no file none.mp4"),
        (["text.mp4", "--layout", "shop.json"], "damaged or no video"),
        (["text.mp4", "--layout", "two.json"], "--camera"),
        (["text.mp4", "--layout", "none/shop.json"], "no folder"),
        (["text.mp4", "--layout", "text.mp4"], "is not valid"),
    ],
)
def test_what_cannot_be_edited(vision: None, tmp_path: Path, monkeypatch: Any, options: list[str], words: str) -> None:
    from typer.testing import CliRunner

    from aisleflow.cli import app

    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    cameras = [{"camera_id": name} for name in "AB"]
    (tmp_path / "two.json").write_text(json.dumps({**document(), "cameras": cameras}))
    told = CliRunner().invoke(app, ["layout", "edit", *options])
    assert told.exit_code == 1 and words in told.output and "Traceback" not in told.output
