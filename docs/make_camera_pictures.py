"""Pictures for docs/cameras.md, of rendered footage: ``python docs/make_camera_pictures.py MODEL`` (with the vision extra)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from playwright.sync_api import sync_playwright

from aisleflow.commands import camera
from aisleflow.settings import Settings
from producers.simulator.footage.__main__ import main as render

IMAGES = Path(__file__).parent / "images"
MAX_BYTES = 150_000
SEED, KIND, CAMERA = 8, "busy", "CAM-2"
# A frame in which much is going on.
AT = 225


def editor(clip: str, layout: Path, model: str, picture: Path) -> None:
    """The layout editor, with a zone selected and people found."""
    command = [sys.executable, "-m", "aisleflow", "layout", "edit", clip, "--layout", str(layout)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--camera", CAMERA, "--model", model], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.wait_for_timeout(2_000)
            page.goto(address)
            page.wait_for_function("window.did_handshake && document.querySelector('.picture img')?.naturalWidth > 0")
            page.locator(".zone", has_text="TILL").click()
            track = page.locator(".q-slider__track-container").bounding_box()
            assert track is not None
            page.mouse.click(track["x"] + AT / 450 * track["width"], track["y"] + track["height"] / 2)
            page.locator(".picture rect").first.wait_for(state="attached")
            page.wait_for_timeout(1_000)
            page.screenshot(path=picture)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def smaller(picture: Path, width: int) -> None:
    """A picture as WebP, at most so wide."""
    image = cv2.imread(str(picture))
    if image.shape[1] > width:
        image = cv2.resize(image, (width, round(image.shape[0] * width / image.shape[1])), interpolation=cv2.INTER_AREA)
    target = IMAGES / f"{picture.stem}.webp"
    cv2.imwrite(str(target), image, [cv2.IMWRITE_WEBP_QUALITY, 80])
    print(f"{target}: {target.stat().st_size:,} bytes")
    if target.stat().st_size > MAX_BYTES:
        raise SystemExit(f"larger than {MAX_BYTES:,} bytes")


def main(model: str) -> None:
    """Render a scene, look at it with the product, and keep what is to be seen."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render(video=folder, seed=SEED, kind=KIND)
        layout = folder / f"{KIND}-{SEED}-layout.json"
        clips = {camera: f"{folder / f'{KIND}-{SEED}-{camera}.mp4'}" for camera in ("CAM-1", CAMERA)}
        camera.run(
            clips,
            layout,
            settings=Settings(_env_file=None, data_dir=folder),
            model=Path(model),
            start="2026-11-20T10:00:00Z",
            publish=False,
            show=folder / "show.mp4",
            heatmap=folder / "camera-heatmap.png",
        )
        video = cv2.VideoCapture(str(folder / f"show.{CAMERA}.mp4"))
        for _ in range(AT):
            image = video.read()[1]
        cv2.imwrite(str(folder / "camera-show.png"), image)
        editor(clips[CAMERA], layout, model, folder / "camera-editor.png")
        smaller(folder / "camera-show.png", 960)
        smaller(folder / "camera-heatmap.png", 960)
        smaller(folder / "camera-editor.png", 1280)


if __name__ == "__main__":
    main(*sys.argv[1:])
