"""What is taken for a photo, and what of it is kept."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from producers.shelves import ShelfError, pictures
from producers.shelves.pictures import decode, read_picture


def encoded(kind: str = "JPEG", size: tuple[int, int] = (320, 200), **options: Any) -> bytes:
    from PIL import Image

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_photos_are_read(vision: None, kind: str) -> None:
    picture = decode(encoded(kind), "x")
    assert picture.size == (320, 200)
    assert len(picture.sha256) == 64
    assert picture.taken_at is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"GIF89a" + b"\x00" * 50, "not a JPEG, PNG or WebP"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not a JPEG, PNG or WebP"),
        (b"\xff\xd8\xff\xe0 no picture at all", "damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
    ],
)
def test_what_is_no_photo(vision: None, content: bytes, words: str) -> None:
    with pytest.raises(ShelfError, match=words):
        decode(content, "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_cut_off(vision: None, kind: str) -> None:
    content = encoded(kind)
    with pytest.raises(ShelfError, match="damaged or cut off"):
        decode(content[: len(content) // 2], "x")


def test_sizes(vision: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShelfError, match="below 64"):
        decode(encoded(size=(400, 40)), "x")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    with pytest.raises(ShelfError, match="320 x 200 pixels"):
        decode(encoded(), "x")
    monkeypatch.setattr(pictures, "MAX_BYTES", 1 << 10)
    with pytest.raises(ShelfError, match="save it smaller"):
        decode(encoded(), "x")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ShelfError, match="cannot be read: No such file"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(ShelfError, match="cannot be read: Is a directory"):
        read_picture(tmp_path)


def test_a_phone_held_sideways(vision: None) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(exif=exif), "x").size == (200, 320)


@pytest.mark.parametrize(
    ("time", "offset", "known"),
    [
        ("2026:11:20 14:30:00", "+05:30", True),
        ("2026:11:20 14:30:00", "", False),
        ("2026:13:40 14:30:00", "+05:30", False),
        ("", "+05:30", False),
    ],
)
def test_the_time_that_the_camera_wrote(vision: None, time: str, offset: str, known: bool) -> None:
    from PIL import Image

    exif = Image.Exif()
    part = exif.get_ifd(0x8769)
    part[0x9003], part[0x9011] = time, offset
    taken = decode(encoded(exif=exif), "x").taken_at
    assert (taken is not None) == known
    if taken is not None:
        assert taken.isoformat() == "2026-11-20T14:30:00+05:30"
        assert taken.utcoffset() == timedelta(hours=5, minutes=30)
