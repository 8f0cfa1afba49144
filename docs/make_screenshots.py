"""Pictures for the README, taken of a running system: ``python docs/make_screenshots.py [URL]`` beside `make demo`."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).parent / "images"
MAX_BYTES = 400_000


def main(url: str = "http://127.0.0.1:8000/") -> None:
    """Take the wall as a large display shows it, and stock at a desk and on a phone (Pillow: `make vision`)."""
    IMAGES.mkdir(exist_ok=True)
    picture = IMAGES / "wall.png"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        # Laid out for 1920 by 1080, drawn at three quarters of that: half the bytes, and still to be read.
        page = browser.new_page(viewport={"width": 1920, "height": 1080}, device_scale_factor=0.75)
        page.goto(url)
        page.wait_for_selector(".card")
        page.wait_for_timeout(2_000)
        page.screenshot(path=picture)
        stock = _stock(browser, url)
        browser.close()
    for made in (picture, stock):
        size = made.stat().st_size
        print(f"{made}: {size:,} bytes")
        if size > MAX_BYTES:
            raise SystemExit(f"larger than {MAX_BYTES:,} bytes")


def _stock(browser: Browser, url: str) -> Path:
    """The heat map of stock at a desk, and beside it the worst shop's list on a phone."""
    parts, worst = [], ""
    for path, width in (("stock", 1180), ("", 390)):
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.goto(url + (path or worst))
        page.wait_for_selector(".cell, .tasks li")
        page.wait_for_timeout(1_000)
        if path:
            worst = page.locator(".who").first.get_attribute("href").lstrip("/")
        parts.append(Image.open(io.BytesIO(page.screenshot())))
    both = Image.new("RGB", (sum(part.width for part in parts) + 24, 844), "#253242")
    both.paste(parts[0], (0, 0))
    both.paste(parts[1], (parts[0].width + 24, 0))
    both.resize((both.width * 3 // 4, both.height * 3 // 4), Image.Resampling.LANCZOS).save(
        IMAGES / "stock.webp", quality=82
    )
    return IMAGES / "stock.webp"


if __name__ == "__main__":
    main(*sys.argv[1:])
