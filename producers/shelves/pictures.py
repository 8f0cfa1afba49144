"""Photos from disk: what may be one, held upright, and nothing of what else the file says about where and by whom."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from producers.shelves import ShelfError

MAX_BYTES = 64 * 2**20
# The largest phone cameras give 108 to 200 million pixels, but save 12 to 50.
MAX_PIXELS = 100_000_000
# A product of a row of ten has 6 pixels in less.
MIN_SIDE = 64
MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WEBP"}
_TAKEN, _OFFSET, _EXIF = 0x9003, 0x9011, 0x8769


@dataclass(frozen=True)
class Picture:
    """A photo.

    Attributes:
        pixels: Blue, green and red (height x width x 3, 8 bits), upright.
        sha256: Of the file, hexadecimal.
        taken_at: When, if the camera wrote the time with its offset from UTC.
    """

    pixels: Any
    sha256: str
    taken_at: datetime | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def read_picture(path: Path) -> Picture:
    """The photo in a JPEG, PNG or WebP file.

    Raises:
        ShelfError: it is none, is damaged, too large or too small.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ShelfError(f"{path} cannot be read: {error.strerror}") from error
    return decode(content, str(path))


def decode(content: bytes, name: str) -> Picture:
    """As ``read_picture``, of a file's bytes.

    Raises:
        ShelfError: as there.
    """
    import numpy as np
    from PIL import Image, ImageOps

    if not content:
        raise ShelfError(f"{name} is empty")
    if len(content) > MAX_BYTES:
        raise ShelfError(f"{name} has more than {MAX_BYTES >> 20} MiB: save it smaller")
    kind = next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), None)
    if kind is None or (kind == "WEBP" and content[8:12] != b"WEBP"):
        raise ShelfError(f"{name} is not a JPEG, PNG or WebP picture{_guess(content)}")
    try:
        with warnings.catch_warnings():
            # The limit is ours, and checked before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=[kind])
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ShelfError(
                    f"{name} has {width} x {height} pixels, over {MAX_PIXELS // 10**6} million: save it smaller"
                )
            if min(width, height) < MIN_SIDE:
                raise ShelfError(f"{name} has {width} x {height} pixels: no product can be seen below {MIN_SIDE}")
            exif = image.getexif()
            taken = _taken_at(exif)
            image.load()
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except ShelfError:
        raise
    except Exception as error:  # Pillow raises whatever its decoders do
        raise ShelfError(f"{name} is damaged or cut off: {error}") from error
    pixels = np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])
    return Picture(pixels, hashlib.sha256(content).hexdigest(), taken)


def _guess(content: bytes) -> str:
    """What else it is, where that helps."""
    if content[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return ": HEIC or AVIF; save it as JPEG"
    if content.startswith(b"%PDF"):
        return ": a PDF"
    return ""


def _taken_at(exif: Any) -> datetime | None:
    """EXIF DateTimeOriginal with its offset; without one nobody knows which hour it was."""
    part = exif.get_ifd(_EXIF)
    time, offset = str(part.get(_TAKEN, "")), str(part.get(_OFFSET, "")).strip()
    if not re.fullmatch(r"[+-]\d{2}:\d{2}", offset):
        return None
    try:
        return datetime.strptime(f"{time} {offset}", "%Y:%m:%d %H:%M:%S %z")
    except ValueError:
        return None
