"""A process that looks at photos for another program, one after the other: ``python -m producers.shelves.serve MODEL CACHE``.

It is a process of its own because detectors hold the interpreter for seconds, need much memory, and decode what anybody sends.
Over standard input and output, each way a line of JSON and then the ``size`` bytes that it announces:

- in: ``store_id``, ``zone_id``, ``at`` (RFC 3339, or null: what the camera wrote, else now), ``planogram`` (its JSON as text, or
  null), ``tiles``; then the photo;
- out: ``scan`` (a ShelfScan as JSON text) and ``notes``, then the annotated JPEG; or ``error``, in words for who sent the photo.

It ends when its input does.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from producers.shelves import ShelfError

if TYPE_CHECKING:
    from producers.cameras.people import Detector


def look(asked: dict[str, Any], content: bytes, detector: Detector) -> tuple[dict[str, Any], bytes]:
    """What one photo shows, as it goes out.

    Raises:
        ShelfError: the photo or the planogram is none.
    """
    from producers.shelves.annotate import encode_annotated
    from producers.shelves.pictures import decode
    from producers.shelves.planogram import parse_planogram
    from producers.shelves.products import find_products
    from producers.shelves.scan import as_event, see
    from producers.shelves.seams import Seams
    from schemas.events import dump

    plan = parse_planogram(asked["planogram"]) if asked["planogram"] else None
    picture = decode(content, "the photo")
    at = datetime.fromisoformat(asked["at"]) if asked["at"] else picture.taken_at or datetime.now(UTC)
    boxes, sure = find_products(picture.pixels, detector, tiles=asked["tiles"])
    seen = see(boxes, sure, picture.size, plan, partial(Seams, picture.pixels))
    scan = as_event(
        seen,
        picture.sha256,
        store_id=asked["store_id"],
        zone_id=asked["zone_id"],
        timestamp=at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000),
    )
    return {"scan": dump(scan).decode(), "notes": seen.notes}, encode_annotated(picture.pixels, scan)


def serve(requests: IO[bytes], replies: IO[bytes], detector: Detector) -> None:
    """Answer until there are no more requests."""
    while line := requests.readline():
        asked = orjson.loads(line)
        content = requests.read(asked["size"])
        try:
            said, picture = look(asked, content, detector)
        except ShelfError as error:
            said, picture = {"error": str(error)}, b""
        replies.write(orjson.dumps({**said, "size": len(picture)}) + b"\n" + picture)
        replies.flush()


def main(model: str, cache: str) -> None:
    """Load the model, then serve."""
    from producers.cameras.people import load_detector

    # What libraries print belongs in the log: only answers go to the pipe.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, replies, load_detector(Path(model), cache_dir=Path(cache), wanted=None))


if __name__ == "__main__":
    main(*sys.argv[1:])
