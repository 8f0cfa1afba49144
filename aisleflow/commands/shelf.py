"""``aisleflow shelf``: what shelf photos show: products, rows, empty places, and what should stand there."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from producers.shelves.pictures import Picture
    from producers.shelves.scan import Seen
    from schemas.events import ShelfScan


def shelf(
    image: Annotated[list[Path], typer.Argument(help="Photos of shelves: JPEG, PNG or WebP.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="YOLO detector of products: an OpenVINO folder, an .onnx or .tflite file; AISLEFLOW_SHELF_MODEL if left out."
        ),
    ] = None,
    trust_model: Annotated[
        bool,
        typer.Option("--trust-model", help="Load a model file of your own that can hold a program, which will run."),
    ] = False,
    planogram: Annotated[
        Path | None, typer.Option(help="What the bay should hold, JSON: names the SKUs of facings and empty places.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="The store; needed to publish.")] = None,
    zone: Annotated[str | None, typer.Option(help="The zone of the store's layout.")] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="When the photos were taken, RFC 3339; if left out, what the camera wrote with its offset, else the file's time."
        ),
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Send each scan to Kafka (shelf-scans).")] = False,
    annotated: Annotated[
        Path | None, typer.Option("--annotate", help="A folder for the photos with rows and gaps drawn in.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each scan as a JSON object on a line.")] = False,
    tiles: Annotated[
        int,
        typer.Option(
            min=1, max=6, help="Look at the photo's parts too, so many each way: for products too small to see."
        ),
    ] = 1,
) -> None:
    """Find products in photos of shelves, the rows they stand in, and the places where some are missing.

    Exit code 0: all photos were read (and published); 1: some were not, with the reason on standard error. A photo is neither
    stored nor sent; --annotate writes a copy without its metadata in which only products are sharp. The same photo again has
    the same id, and counts once.
    """
    from aisleflow.settings import settings
    from producers.cameras import CameraError
    from producers.cameras.people import load_detector, require_vision
    from producers.cameras.publish import Publisher
    from producers.shelves import ShelfError
    from producers.shelves.annotate import write_annotated
    from producers.shelves.pictures import read_picture
    from producers.shelves.planogram import read_planogram
    from producers.shelves.products import find_products
    from producers.shelves.scan import as_event, see
    from producers.shelves.seams import Seams
    from schemas import topics
    from schemas.events import dump

    failed = False
    try:
        if publish and store is None:
            raise ShelfError("--publish needs --store")
        taken, store_id = _time(at), _store(store)
        plan = read_planogram(planogram) if planogram is not None else None
        require_vision()
        chosen = model or settings().shelf_model
        if chosen is None:
            raise ShelfError("no model: give --model, or set AISLEFLOW_SHELF_MODEL to a YOLO detector of products")
        publisher = Publisher(settings()) if publish else None
        cache = settings().data_dir / "ultralytics"
        detector = load_detector(chosen, cache_dir=cache, trust_model=trust_model, wanted=None)
        for path in image:
            try:
                picture = read_picture(path)
                boxes, sure = find_products(picture.pixels, detector, tiles=tiles)
                seen = see(boxes, sure, picture.size, plan, partial(Seams, picture.pixels))
                scan = as_event(
                    seen, picture.sha256, store_id=store_id, zone_id=zone, timestamp=taken or _taken(path, picture)
                )
                if annotated is not None:
                    write_annotated(annotated / f"{path.stem}.jpg", picture.pixels, scan)
            except ShelfError as error:
                failed = True
                typer.echo(f"aisleflow shelf: {error}", err=True)
                continue
            if publisher is not None:
                publisher.send(topics.SHELF_SCANS, scan)
            print(dump(scan).decode() if as_json else _told(path, seen, scan), flush=True)
            for note in seen.notes:
                typer.echo(f"aisleflow shelf: {path}: {note}", err=True)
        if publisher is not None:
            publisher.close()
    except (CameraError, ShelfError) as error:
        typer.echo(f"aisleflow shelf: {error}", err=True)
        raise typer.Exit(1) from error
    if failed:
        raise typer.Exit(1)


def _told(path: Path, seen: Seen, scan: ShelfScan) -> str:
    """A scan in words, a line for each gap."""
    bays = len({row.bay for row in scan.rows})
    rows = sum(row.facings > 1 or not row.facings for row in scan.rows)
    lines = [
        f"{path}: {len(scan.products)} products (confidence {scan.confidence:.2f}), {rows} rows in {bays} {'bays' if bays > 1 else 'bay'},"
        f" {scan.gaps} empty places"
    ]
    for gap, (found, _) in zip(scan.empty, seen.gaps, strict=True):
        row = scan.rows[gap.row]
        board = sum(other.bay == row.bay for other in scan.rows[: gap.row]) + 1
        where = {"BETWEEN": "between products", "END": "at the end", "ROW": "all of it"}[gap.kind]
        named = ", ".join(sku or "?" for sku in gap.skus)
        lines.append(
            f"  bay {row.bay + 1}, row {board}: {found.places} empty {where}, x {gap.places[0][0]:.0f} to {gap.places[-1][2]:.0f}"
            f" (confidence {gap.confidence:.2f}){f': {named}' if named else ''}"
        )
    if scan.facings or scan.missing:
        every = sorted({*scan.facings, *scan.missing})
        lines.append(
            "  "
            + "; ".join(
                f"{sku}: {scan.facings.get(sku, 0)} facings, {scan.missing.get(sku, 0)} missing" for sku in every
            )
        )
    return "\n".join(lines)


def _store(store: str | None) -> str:
    import re

    from producers.shelves import ShelfError
    from schemas.events import STORE_PATTERN

    # A scan that is only looked at needs no store.
    store = "UNKNOWN" if store is None else store
    if len(store) > 64 or not re.fullmatch(STORE_PATTERN, store):
        raise ShelfError(f"--store {store!r} is not a store's id: letters, digits and _ . : @ -, at most 64")
    return store


def _time(text: str | None) -> datetime | None:
    from pydantic import TypeAdapter, ValidationError

    from producers.shelves import ShelfError
    from schemas.events import Timestamp, as_problem

    if text is None:
        return None
    try:
        return TypeAdapter[datetime](Timestamp).validate_python(text).astimezone(UTC)
    except ValidationError as error:
        raise ShelfError(f"--at {text!r}: {as_problem(error)[1]}") from error


def _taken(path: Path, picture: Picture) -> datetime:
    return (picture.taken_at or datetime.fromtimestamp(path.stat().st_mtime, UTC)).astimezone(UTC)
