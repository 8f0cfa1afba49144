"""What lies over the picture, as SVG in the picture's pixels. No I/O; all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from producers.cameras.editor.drawing import Drawing, Selection, Tool, middles

COLOURS = {
    "ENTRANCE": "#45d6b5",
    "SHELF": "#74b9ff",
    "DISPLAY": "#c79bff",
    "BILLING": "#ffbf3f",
    "STOCKROOM": "#b3c1cf",
}
LINE = "#ffffff"
WRONG = "#ff6b6b"
Box = tuple[float, float, float, float]


def shapes(drawing: Drawing, wrong: Iterable[tuple[str | None, str | None]] = ()) -> str:
    """Zones, entrance line and floor points of the camera, and what is half drawn.

    Args:
        wrong: (zone, camera) of findings: their shapes are drawn in red.
    """
    unit = _unit(drawing.size[0])
    faulty = set(wrong)
    parts = []
    for i, j, corners in drawing.areas():
        zone = drawing.zones[i]
        chosen = drawing.selection
        selected = chosen is not None and (chosen.kind, chosen.index, chosen.area) == ("zone", i, j)
        colour = COLOURS.get(zone["type"], LINE)
        edge = WRONG if (zone["zone_id"], drawing.camera_id) in faulty or (zone["zone_id"], None) in faulty else colour
        dash = f' stroke-dasharray="{6 * unit:g}"' if zone.get("staff_only") else ""
        parts.append(
            f'<polygon points="{_path(corners)}" fill="{colour}" fill-opacity="{0.34 if selected else 0.2}" '
            f'stroke="{edge}" stroke-width="{(3 if selected else 2) * unit:g}"{dash}/>'
        )
        name = zone.get("name") or zone["zone_id"]
        parts.append(_text(_middle(corners), name + (" (staff)" if zone.get("staff_only") else ""), 15 * unit, colour))
        if selected and chosen is not None:
            parts += [_dot(corner, 5.5 * unit, colour, hollow=chosen.corner != n) for n, corner in enumerate(corners)]
            parts += [_dot(middle, 3 * unit, colour) for middle in middles(corners)]
    if drawing.line:
        bad = (None, drawing.camera_id) in faulty
        parts.append(_arrowed(drawing.line, unit, WRONG if bad else LINE, drawing.selection == Selection("line")))
    for i, point in enumerate(drawing.floor_points):
        parts.append(_dot(point["pixel"], 6 * unit, "#ff8bd1", hollow=drawing.selection != Selection("floor", i)))
        x, y = point["pixel"]
        parts.append(_text((x, y - 12 * unit), f"{i + 1}", 14 * unit, "#ff8bd1"))
    return "".join([*parts, *_half_drawn(drawing, unit)])


def people(
    boxes: Sequence[tuple[Box, str, str | None]], trails: Sequence[Sequence[tuple[float, float]]], width: int
) -> str:
    """Boxes with their foot points, labels and trails.

    Args:
        boxes: Pixels; label; the zone that holds the foot point.
        trails: Foot points, oldest first.
        width: Of the picture, pixels.
    """
    unit = _unit(width)
    parts = [
        f'<polyline points="{_path(trail)}" fill="none" stroke="#fff" stroke-opacity=".7" stroke-width="{2 * unit:g}"/>'
        for trail in trails
        if len(trail) > 1
    ]
    for (x0, y0, x1, y1), label, zone in boxes:
        colour = "#45d6b5" if zone else LINE
        parts.append(
            f'<rect x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}" fill="none" '
            f'stroke="{colour}" stroke-width="{2 * unit:g}" rx="{3 * unit:g}"/>'
        )
        parts.append(_dot(((x0 + x1) / 2, y1), 5 * unit, colour))
        words = " ".join(filter(None, (label, f"in {zone}" if zone else "")))
        parts.append(_text(((x0 + x1) / 2, max(14 * unit, y0 - 6 * unit)), words, 14 * unit, colour))
    return "".join(parts)


def _half_drawn(drawing: Drawing, unit: float) -> list[str]:
    if not drawing.points:
        return []
    colour = LINE if drawing.tool is Tool.LINE else "#45d6b5"
    ends = [*drawing.points, *([list(drawing.cursor)] if drawing.cursor else [])]
    parts = [
        f'<polyline points="{_path(ends)}" fill="{colour}" fill-opacity=".15" stroke="{colour}" '
        f'stroke-width="{2 * unit:g}" stroke-dasharray="{7 * unit:g} {4 * unit:g}"/>'
    ]
    closes = drawing.tool is Tool.ZONE and len(drawing.points) >= 3
    parts += [
        _dot(point, (8 if closes and n == 0 else 5) * unit, colour, hollow=not (closes and n == 0))
        for n, point in enumerate(drawing.points)
    ]
    return parts


def _arrowed(line: Sequence[Sequence[float]], unit: float, colour: str, selected: bool) -> str:
    """The entrance line, and an arrow across it that leads in."""
    (x0, y0), (x1, y1) = line
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    # To the right of start-to-end, where the y axis points down.
    nx, ny = -(y1 - y0) / length, (x1 - x0) / length
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    reach, head = 42 * unit, 9 * unit
    tip = (mx + nx * reach, my + ny * reach)
    wings = [(tip[0] - nx * head + side * ny * head, tip[1] - ny * head - side * nx * head) for side in (-1, 1)]
    stroke = f'stroke="{colour}" stroke-linecap="round"'
    dots = "".join(_dot(end, 5.5 * unit, colour, hollow=not selected) for end in line)
    return (
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" {stroke} stroke-width="{(5 if selected else 3.5) * unit:g}"/>'
        f'<line x1="{mx:.1f}" y1="{my:.1f}" x2="{tip[0]:.1f}" y2="{tip[1]:.1f}" {stroke} stroke-width="{3 * unit:g}"/>'
        f'<polygon points="{_path([tip, *wings])}" fill="{colour}"/>{dots}'
        + _text((mx + nx * (reach + 14 * unit), my + ny * (reach + 14 * unit) + 5 * unit), "in", 15 * unit, colour)
    )


def _unit(width: int) -> float:
    """How many pixels of the picture are about one of the screen, where it is some 900 wide."""
    return width / 900


def _path(points: Iterable[Sequence[float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _middle(corners: Sequence[Sequence[float]]) -> tuple[float, float]:
    return sum(x for x, _ in corners) / len(corners), sum(y for _, y in corners) / len(corners)


def _dot(at: Sequence[float], radius: float, colour: str, *, hollow: bool = False) -> str:
    inside = "#090d12" if hollow else colour
    return (
        f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:.1f}" fill="{inside}" stroke="{colour}" '
        f'stroke-width="{radius / 2.5:.1f}"/>'
    )


def _text(at: tuple[float, float], words: str, size: float, colour: str) -> str:
    return (
        f'<text x="{at[0]:.0f}" y="{at[1]:.0f}" font-size="{size:.1f}" font-weight="600" text-anchor="middle" '
        f'fill="{colour}" stroke="#090d12" stroke-width="{size / 4:.1f}" paint-order="stroke" '
        f'font-family="Roboto, sans-serif">{escape(words)}</text>'
    )
