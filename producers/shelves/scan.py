"""A photo to what it shows: products, rows, gaps, and SKUs where a planogram names them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from producers.shelves.gaps import Gap, columns, find_gaps
from producers.shelves.planogram import Planogram, match
from producers.shelves.products import SURE
from producers.shelves.rows import LEAST, Array, Frame, Seams, Shelf, find_rows
from schemas.events import ShelfGap, ShelfProduct, ShelfRow, ShelfScan

# What is rather a gap than not.
LIKELY = 0.5
SCANS = uuid.UUID("5e1f6a52-7d0c-4c3e-9b1a-2f8d3c6b9a10")


@dataclass
class Seen:
    """What a photo shows.

    Attributes:
        boxes, sure: Products, pixels, and their confidences.
        gaps: With their confidences: how far the space is wide enough, times how surely no faint product is in it.
        skus: Of products, by their index in ``boxes``; ``gap_skus`` of every gap's places.
        notes: What could not be done, in words.
    """

    size: tuple[int, int]
    boxes: Array
    sure: Array
    shelf: Shelf
    gaps: list[tuple[Gap, float]]
    planogram_id: str | None = None
    skus: dict[int, str] = field(default_factory=dict)
    gap_skus: dict[int, list[str | None]] = field(default_factory=dict)
    facings: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def places(self) -> int:
        """Empty places."""
        return sum(gap.places for gap, _ in self.gaps)


def see(
    boxes: Array,
    sure: Array,
    size: tuple[int, int],
    planogram: Planogram | None = None,
    seams: Callable[[Frame], Seams] | None = None,
) -> Seen:
    """Rows, gaps and SKUs of the products that a detector found.

    Args:
        boxes, sure: As ``find_products`` gives them, faint ones too.
        size: Width and height of the photo, pixels.
        planogram: What one of its bays should hold.
        seams: As for ``find_rows``.
    """
    clear = sure >= SURE
    shelf = find_rows(boxes[clear], size, seams)
    faint = shelf.level(boxes[~clear])
    gaps = [(gap, gap.fit * (1 - _filled(gap, faint, sure[~clear]))) for gap in find_gaps(shelf)]
    seen = Seen(size, boxes[clear], sure[clear], shelf, [one for one in gaps if one[1] >= LIKELY])
    if planogram is not None:
        _name(seen, planogram)
    return seen


def _filled(gap: Gap, faint: Array, sure: Array) -> float:
    """Confidence of the surest faint product that takes up half of a place of the gap, or lies in it by half."""
    if not len(faint):
        return 0.0
    width = (gap.right - gap.left) / gap.places
    across = np.minimum(faint[:, 2], gap.right) - np.maximum(faint[:, 0], gap.left)
    along = np.minimum(faint[:, 3], gap.base) - np.maximum(faint[:, 1], gap.top)
    inside = (across > 0.5 * np.minimum(width, faint[:, 2] - faint[:, 0])) & (along > 0.5 * (gap.base - gap.top))
    return float(sure[inside].max(initial=0.0))


def _name(seen: Seen, planogram: Planogram) -> None:
    """Put the planogram's SKUs on the facings and places of its bay."""
    rows = seen.shelf.rows
    bays = sorted({row.bay for row in rows})
    if planogram.bay is not None and planogram.bay > len(bays):
        seen.notes.append(f"the planogram is for bay {planogram.bay}, the photo shows {len(bays)}: no SKU is named")
        return
    bay = (
        planogram.bay - 1
        if planogram.bay is not None
        else max(bays, key=lambda one: _width(seen.shelf, one), default=0)
    )
    own = [
        number for number, row in enumerate(rows) if row.bay == bay and (len(row.members) >= LEAST or not row.members)
    ]
    if len(own) != len(planogram.rows):
        seen.notes.append(
            f"the planogram {planogram.planogram_id} has {len(planogram.rows)} rows, bay {bay + 1} shows {len(own)}: no SKU is named"
        )
        return
    seen.planogram_id = planogram.planogram_id
    for number, plan in zip(own, planogram.rows, strict=True):
        items: list[tuple[float, float, list[int], int | None]] = []
        for column in columns(seen.shelf.boxes, rows[number].members):
            foot = seen.shelf.boxes[max(column, key=lambda one: seen.shelf.boxes[one, 3])]
            items.append((foot[0], foot[2], column, None))
        for which, (gap, _) in enumerate(seen.gaps):
            if gap.row == number:
                items += [(left, right, [], which) for left, right in gap.parts()]
        items.sort(key=lambda item: item[0] + item[1])
        found = match(plan.slots(), [(left, right) for left, right, _, _ in items])
        for (_, _, column, of_gap), sku in zip(items, found, strict=True):
            if of_gap is not None:
                seen.gap_skus.setdefault(of_gap, []).append(sku)
            if sku is not None:
                (seen.facings if of_gap is None else seen.missing)[sku] += 1
                seen.skus.update(dict.fromkeys(column, sku))


def _width(shelf: Shelf, bay: int) -> float:
    return float(np.median([row.ends[1] - row.ends[0] for row in shelf.rows if row.bay == bay]))


def as_event(seen: Seen, sha256: str, *, store_id: str, zone_id: str | None, timestamp: datetime) -> ShelfScan:
    """The scan as an event. The same picture of the same store and zone has the same id, so it counts once."""
    width, height = seen.size
    frame = seen.shelf.frame

    def points(corners: Array) -> list[list[float]]:
        inside = np.clip(frame.restore(corners), 0, [width, height])
        return [[round(float(x), 1), round(float(y), 1)] for x, y in inside]

    def box(left: float, top: float, right: float, bottom: float) -> list[float]:
        corners = np.array(points(np.array([[left, top], [right, top], [right, bottom], [left, bottom]])))
        # The middles of the sides, as ``Shelf.level`` took them.
        xs, ys = corners[:, 0], corners[:, 1]
        return [
            round(float(value), 1)
            for value in ((xs[0] + xs[3]) / 2, (ys[0] + ys[1]) / 2, (xs[1] + xs[2]) / 2, (ys[2] + ys[3]) / 2)
        ]

    row_of = {product: number for number, row in enumerate(seen.shelf.rows) for product in row.members}
    return ShelfScan(
        event_id=str(uuid.uuid5(SCANS, f"{store_id}\n{zone_id or ''}\n{sha256}")),
        store_id=store_id,
        timestamp=timestamp,
        zone_id=zone_id,
        scan_id=sha256[:32],
        facings=dict(sorted(seen.facings.items())),
        gaps=seen.places,
        confidence=round(float(seen.sure.mean()), 4) if len(seen.sure) else 0.0,
        missing=dict(sorted(seen.missing.items())),
        planogram_id=seen.planogram_id,
        image_width=width,
        image_height=height,
        products=[
            ShelfProduct(
                box=[round(float(value), 1) for value in np.clip(corners, 0, [width, height, width, height])],
                confidence=round(float(sure), 4),
                row=row_of.get(product),
                sku=seen.skus.get(product),
            )
            for product, (corners, sure) in enumerate(zip(seen.boxes, seen.sure, strict=True))
        ],
        rows=[
            ShelfRow(
                bay=row.bay,
                outline=points(row.corners()),
                facings=len(columns(seen.shelf.boxes, row.members)),
            )
            for row in seen.shelf.rows
        ],
        empty=[
            ShelfGap(
                row=gap.row,
                kind=gap.kind,
                places=[box(left, gap.top, right, gap.base) for left, right in gap.parts()],
                skus=seen.gap_skus.get(which, []),
                confidence=round(sure, 4),
            )
            for which, (gap, sure) in enumerate(seen.gaps)
        ],
    )
