"""The report on a cleaned file: one HTML page that needs no network, the same for the same file and options."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from producers.stock import duplicates
from producers.stock.schema import Kind

if TYPE_CHECKING:
    from producers.stock.cleaning import ColumnReport, Summary

WIDTH, HEIGHT = 460, 110
MOST_MONTHS = 60
_RULES = {
    duplicates.EXACT: "Every cell is the same, letter for letter. The first row stays.",
    duplicates.CLEANED: "The cells differ only in how they were written. The first row stays.",
    duplicates.NEAR: "Product, place, unit and dates of count and expiry are the same, every other cell is the same or empty in "
    "one of the rows; case, accents, punctuation and the order of words do not count in names. The row with more cells stays, "
    "then the first. Rows are never merged.",
    duplicates.NEAR_SALE: "Receipt, product, quantity, price and time are the same, every other cell is the same or empty in one "
    "of the rows. The row with more cells stays, then the first.",
    duplicates.OLDER: "As before, but quantity, price or status differ and the dates of the last delivery say which row is newer. "
    "The newest stays.",
}


def page(summary: Summary) -> str:
    """The report as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["n"] = lambda value: f"{value:,}"
    template = files("producers.stock").joinpath("report.html").read_text(encoding="utf-8")
    emptied = sum(column.emptied.total() for column in summary.columns)
    doubted = sum(column.doubted.total() for column in summary.columns)
    tiles = [
        ("rows read", summary.rows, ""),
        ("rows written", summary.written, "good"),
        ("rows refused", summary.refused.total(), "bad"),
        ("duplicates " + ("kept" if summary.options.keep_duplicates else "removed"), summary.duplicates.total(), "bad"),
        ("cells put right", sum(column.done.total() for column in summary.columns), ""),
        ("cells emptied", emptied, "bad"),
        ("cells and rows to look at", doubted + summary.conflicts, "warn"),
        ("distinct products", summary.products, ""),
        ("rows that repeat a product", summary.repeated_products, ""),
    ]
    return environment.from_string(template).render(
        summary=summary,
        source=summary.source,
        tiles=[(label, value, tone if value else "") for label, value, tone in tiles],
        plots={column.name: plot(column) for column in summary.columns},
        rules=_RULES,
        conflict=duplicates.CONFLICT,
        delimiter={"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}.get(
            summary.source.delimiter, summary.source.delimiter
        ),
    )


def plot(column: ColumnReport) -> Markup:
    """A small plot of a column's cleaned values: amounts by size, dates by month or year, words by how many rows have them."""
    counts = {label: count for label, count in column.histogram.items() if count > 0}
    if not counts:
        return Markup("")
    if column.kind in (Kind.DATE, Kind.TIME):
        if len(counts) > MOST_MONTHS:
            years: dict[str, int] = {}
            for label, count in counts.items():
                years[label[:4]] = years.get(label[:4], 0) + count
            counts = years
        return _columns(sorted(counts.items()))
    if column.kind in (Kind.NUMBER, Kind.QUANTITY, Kind.MONEY):
        return _columns(sorted(counts.items(), key=lambda item: _low(item[0])))
    return _bars(list(counts.items()))


def _low(label: str) -> float:
    return -1 if label == "below 0" else float(label.removeprefix("from ").split(" to ")[0].replace(",", ""))


def _columns(items: Sequence[tuple[str, int]]) -> Markup:
    """Upright bars; each says its range and count when pointed at, the first, the highest and the last are labelled."""
    highest = max(count for _, count in items)
    step = WIDTH / len(items)
    top = next(place for place, (_, count) in enumerate(items) if count == highest)
    drawn = []
    for place, (label, count) in enumerate(items):
        tall = max(1.0, count / highest * (HEIGHT - 36))
        drawn.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {:,}</title></rect>').format(
                place * step + 0.5, HEIGHT - 18 - tall, max(1.0, min(step - 1, 60)), tall, label, count
            )
        )
    x, anchor = min(max(top * step, 0), WIDTH), "start" if top < len(items) / 2 else "end"
    x = x if anchor == "start" else (top + 1) * step
    drawn.append(
        Markup('<text x="{:.1f}" y="12" text-anchor="{}">{}: {:,} rows</text>').format(
            x, anchor, items[top][0], highest
        )
    )
    drawn.append(Markup('<text x="0" y="{}">{}</text>').format(HEIGHT - 4, items[0][0]))
    if len(items) > 1:
        at, side = (WIDTH, "end") if step < 60 else ((len(items) - 1) * step, "start")
        drawn.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(at, HEIGHT - 4, side, items[-1][0])
        )
    return _svg(HEIGHT, drawn)


def _bars(items: Sequence[tuple[str, int]]) -> Markup:
    highest = max(count for _, count in items)
    drawn = []
    for place, (label, count) in enumerate(items):
        y = place * 18
        shown = label if len(label) <= 24 else f"{label[:23]}…"
        drawn.append(Markup('<text x="0" y="{}"><title>{}</title>{}</text>').format(y + 13, label, shown))
        drawn.append(
            Markup('<rect x="200" y="{}" width="{:.1f}" height="13"/>').format(y + 2, max(1.0, count / highest * 190))
        )
        drawn.append(Markup('<text x="{:.1f}" y="{}">{:,}</text>').format(206 + count / highest * 190, y + 13, count))
    return _svg(len(items) * 18 + 2, drawn)


def _svg(height: int, drawn: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img">{}</svg>').format(WIDTH, height, escape(Markup("").join(drawn)))
