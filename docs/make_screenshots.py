"""Pictures for the README, taken of a running system: ``python docs/make_screenshots.py [URL]`` beside `make demo`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
MAX_BYTES = 400_000


def main(url: str = "http://127.0.0.1:8000/") -> None:
    """Take the wall as a large display shows it."""
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
        browser.close()
    size = picture.stat().st_size
    print(f"{picture}: {size:,} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"larger than {MAX_BYTES:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
