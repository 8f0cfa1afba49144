"""From the answers to HTML. No I/O; everything that comes from outside is escaped. Words stand beside every colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from urllib.parse import quote, urlencode

from api.database import Row
from api.restock.answers import Task
from api.shelves.routes import picture_link
from api.stock.heatmap import Heatmap, Share
from api.stock.routes import Entry, Ledger
from api.words import duration, number
from schemas.events import ShelfScan

ACTIONS = {"FILL_SHELF": "Fill the shelf", "ORDER": "Order", "COUNT": "Count"}
KINDS = {
    "RECEIVE": "Received",
    "FILL_SHELF": "Put on the shelf",
    "SALE": "Sold",
    "RETURN": "Brought back",
    "WASTE": "Thrown away",
    "TRANSFER": "Sent to another shop",
    "COUNT": "Counted",
    "SCAN": "Seen on a photo",
}
PLACES = {"SHELF": "shelf", "BACKROOM": "back"}
LINES = {"SHELF": "shelf", "BACKROOM": "rear"}
STATES = {"OUT": "Out", "LOW": "Low", "OK": "Enough"}
NOTHING = (
    '<div class="panel"><p class="none">No stock is kept yet. Publish movements (docs/stock.md) and a catalogue: '
    "<code>aisleflow publish products FILE.csv</code>.</p></div>"
)


def amount(value: float) -> str:
    """A quantity: whole numbers without a fraction, others to three digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.3f}".rstrip("0")


def heat(share: float) -> str:
    """Background of a cell from calm (0) to urgent (half or more); white text stays readable on all of it."""
    calm, urgent = (25, 47, 66), (168, 44, 36)
    mix = (round(a + (b - a) * min(share * 2, 1)) for a, b in zip(calm, urgent, strict=True))
    return "rgb({},{},{})".format(*mix)


def stock_link(store_id: str, category: str = "") -> str:
    """The address of a shop's page of stock."""
    return f"/shops/{quote(store_id, safe='')}/stock{'?' + urlencode({'category': category}) if category else ''}"


def article_link(store_id: str, sku: str) -> str:
    """The address of an article's page."""
    return f"/shops/{quote(store_id, safe='')}/article?{urlencode({'sku': sku})}"


def shelf_link(store_id: str) -> str:
    """The address of a shop's page of shelf photos."""
    return f"/shops/{quote(store_id, safe='')}/shelf"


def header(title: str, below: str, links: Sequence[tuple[str, str]]) -> str:
    """The head of a page: where one is, and where one can go."""
    ways = "".join(f'<a href="{address}">{escape(words)}</a>' for words, address in links)
    return f'<h1 class="brand">{escape(title)}<small>{escape(below)}</small></h1><nav>{ways}</nav>'


def banner(problem: str) -> str:
    """What keeps the figures from being new; nothing if they are."""
    return f'<div class="banner away" role="alert">{escape(problem)}</div>' if problem else ""


def _cell(found: Share | None, words: str, link: str) -> str:
    if found is None:
        return '<span class="cell gone"></span>'
    bad = found.low + found.out
    told = f"{found.out} out, {found.low} low" if bad else "all there"
    return (
        f'<a class="cell" href="{link}" style="background:{heat(found.share)}" title="{told}, of {found.skus} articles">'
        f"<span>{escape(words)}</span><b>{bad}<i> of {found.skus}</i></b><small>{told}</small></a>"
    )


def heat_map(found: Heatmap) -> str:
    """All shops by all groups, the shop with the largest share first."""
    if not found.stores:
        return NOTHING
    head = "".join(f"<span>{escape(category)}</span>" for category in ("All", *found.categories))
    rows = []
    for shop in sorted(found.stores, key=lambda shop: (-shop.share, shop.name, shop.store_id)):
        cells = {cell.category: cell for cell in shop.categories}
        of_groups = "".join(
            _cell(cells.get(category), category, stock_link(shop.store_id, category)) for category in found.categories
        )
        rows.append(
            f'<div class="row"><a class="who" href="{stock_link(shop.store_id)}">{escape(shop.name or shop.store_id)}</a>'
            f"{_cell(shop, 'All', stock_link(shop.store_id))}{of_groups}</div>"
        )
    return (
        f'<div class="panel"><h2>Articles that are low or out, by shop and group</h2>'
        f'<div class="heat" style="--groups:{len(found.categories) + 1}"><div class="row head"><span></span>{head}</div>'
        f'{"".join(rows)}</div><p class="notes">Out: nothing on the shelf. Low: less than {found.low_hours:g} hours of its sales. '
        "Of shelves that were counted or received goods.</p></div>"
    )


def task_text(task: Task, named: Mapping[str, Row], store_id: str, now: datetime) -> str:
    """What is to be done about an article, and why."""
    name = named.get(task.sku, {}).get("name") or task.sku
    sku = f"<small>{escape(task.sku)}</small>" if name != task.sku else ""
    coming = f" · {amount(task.on_order)} on order" if task.on_order else ""
    risk = task.stockout_probability
    gone = f" · {risk:.0%} likely to run out within 48 h" if risk and risk >= 0.05 else ""
    cost = f" · sells {task.sales_per_hour:.1f} an hour" if task.sales_per_hour >= 0.05 else ""
    return (
        f'<a class="article" href="{article_link(store_id, task.sku)}">{escape(name)} {sku}</a>'
        f'<p><b class="do {task.action.lower()}">{ACTIONS[task.action]}</b> {escape(task.reason)}</p>'
        f'<p class="soft">shelf {amount(task.shelf)} · back {amount(task.backroom)}{coming}{cost}{gone} · '
        f"for {duration((now - task.since).total_seconds())}</p>"
    )


def suggested(task: Task) -> float | None:
    """How many to bring to the shelf: what the answer says, else a day's sales as far as the back has them."""
    if task.action != "FILL_SHELF":
        return None  # what is counted, and what arrives, is seen and not foreseen
    if task.quantity:
        return task.quantity
    day = max(1, math.ceil(task.sales_per_hour * 12))
    return min(task.backroom, day)


def task_controls(task: Task, store_id: str, turn: int = 0) -> str:
    """What one taps when it is done. ``turn`` makes it anew, as it was before it was tapped."""
    wrong = task.backroom < 0 <= task.shelf
    kind, location, words, label = {
        "FILL_SHELF": ("FILL_SHELF", "SHELF", "Done", "put on the shelf"),
        "ORDER": ("RECEIVE", "BACKROOM", "Received", "received in the back"),
        "COUNT": (
            "COUNT",
            "BACKROOM" if wrong else "SHELF",
            "Counted",
            f"found {'in the back' if wrong else 'on the shelf'}",
        ),
    }[task.action]
    value = suggested(task)
    shown = "" if value is None else f' value="{value:g}"'
    data = f'data-store="{escape(store_id)}" data-sku="{escape(task.sku)}"'
    more = ""
    if task.action == "FILL_SHELF":
        more = (
            f'<button class="plain" formnovalidate data-move="COUNT" data-location="BACKROOM" data-quantity="0" {data}'
            ' data-reason="none found when the shelf was to be filled">None in the back</button>'
        )
    return (
        f'<form class="tick" data-turn="{turn}"><label><span>{label}</span>'
        f'<input type="number" inputmode="decimal" min="0" step="any" required{shown}></label>'
        f'<button data-move="{kind}" data-location="{location}" {data}>{words}</button>{more}'
        '<output role="status"></output></form>'
    )


def shelves(rows: Sequence[Row], store_id: str, category: str, search: str, limit: int) -> str:
    """The shelves of a shop as a list, with what finds one."""
    items = "".join(
        f'<li class="{row["state"].lower()}"><a href="{article_link(store_id, row["sku"])}">'
        f"<span>{escape(row['name'] or row['sku'])}<small>{escape(row['sku'])} · {escape(row['category'])}</small></span>"
        f'<b class="state {row["state"].lower()}">{STATES[row["state"]]}</b>'
        f'<span class="both">shelf <b>{amount(row["shelf"])}</b></span>'
        f'<span class="both">back <b>{amount(row["backroom"])}</b></span></a></li>'
        for row in rows
    )
    within = f" in {escape(category)}" if category else ""
    every = f'<a class="all" href="{stock_link(store_id)}">All groups</a>' if category else ""
    hidden = f'<input type="hidden" name="category" value="{escape(category)}">' if category else ""
    more = f'<p class="notes">The first {number(limit)}: search for others.</p>' if len(rows) == limit else ""
    none = '<p class="none">Nothing is found. Only shelves that were counted or received goods are listed.</p>'
    return (
        f'<div class="panel"><h2>Shelves{within} {every}</h2><form class="find" method="get" role="search">{hidden}'
        f'<label for="q">Name or SKU</label><input id="q" type="search" name="q" value="{escape(search)}">'
        f'<button>Find</button></form><ul class="shelves">{items}</ul>{more if rows else none}</div>'
    )


def article_head(ledger: Ledger, row: Row | None) -> str:
    """An article's balance now, in large figures."""
    of = f" · {escape(row['category'])}" if row and row["category"] else ""
    negative = min(ledger.shelf, ledger.backroom) < 0
    warn = '<p class="none up">⚠ Less than nothing cannot be: count it.</p>' if negative else ""
    figures = (("on the shelf", ledger.shelf), ("in the back", ledger.backroom), ("on the way", ledger.in_transit))
    told = "".join(f'<div class="kpi"><b>{amount(value)}</b><small>{words}</small></div>' for words, value in figures)
    return f'<div class="panel"><h2>{escape(ledger.sku)}{of}</h2><div class="kpis now">{told}</div>{warn}</div>'


def balance_chart(movements: Sequence[Entry], until: datetime, width: int = 1000, height: int = 260) -> str:
    """The balances over time as steps; counts are dots. ``movements`` the newest first, as the ledger has them."""
    entries = movements[::-1]
    if not entries:
        return '<p class="none">Nothing has moved yet</p>'
    begin = entries[0].timestamp
    span = max((until - begin).total_seconds(), 1.0)
    values = [value for entry in entries for value in (entry.shelf_after, entry.backroom_after)]
    low, high = min(0.0, *values), max(1.0, *values)

    def x(moment: datetime) -> float:
        return (moment - begin).total_seconds() / span * width

    def y(value: float) -> float:
        return height - 4 - (value - low) / (high - low) * (height - 12)

    def steps(name: str) -> str:
        points: list[str] = []
        before: float | None = None
        for entry in entries:
            at, after = x(entry.timestamp), getattr(entry, name)
            if before is not None:
                points.append(f"{at:.1f},{y(before):.1f}")
            points.append(f"{at:.1f},{y(after):.1f}")
            before = after
        points.append(f"{width},{y(before or 0):.1f}")
        return " ".join(points)

    counted = "".join(
        f'<i class="{LINES[entry.location]}" style="left:{x(entry.timestamp) / width * 100:.2f}%;'
        f'top:{y(entry.quantity) / height * 100:.2f}%" title="Counted {amount(entry.quantity)}"></i>'
        for entry in entries
        if entry.kind == "COUNT"
    )
    zero = f'<line x1="0" x2="{width}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
    days = span > 2 * 86_400
    times = [begin + timedelta(seconds=span * part / 3) for part in range(4)]
    words = "".join(f"<span>{moment:{'%d %b' if days else '%H:%M'}}</span>" for moment in times)
    return (
        '<div class="balance"><div class="key"><span class="shelf">▬ shelf</span><span class="rear">▬ back</span>'
        f"<span>● counted</span><span>times are UTC</span></div>"
        f'<div class="plot"><div class="scale"><span>{amount(high)}</span><span>{amount(low)}</span></div>'
        f'<div class="area"><svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="Balance of shelf and back over time">{zero}<polyline class="rear" points="{steps("backroom_after")}"/>'
        f'<polyline class="shelf" points="{steps("shelf_after")}"/></svg>{counted}</div></div>'
        f'<div class="times">{words}</div></div>'
    )


def movements_list(ledger: Ledger, most: int = 100) -> str:
    """The newest movements in words, each with what it left."""
    rows = []
    for entry in ledger.movements[:most]:
        said = " · ".join(
            escape(part)
            for part in (entry.actor, entry.reason, entry.reference, entry.to_store_id or entry.from_store_id)
            if part
        )
        where = f" ({PLACES[entry.location]})" if entry.kind not in ("FILL_SHELF", "SCAN") else ""
        rows.append(
            f"<tr><td>{entry.timestamp:%d %b %H:%M}</td><td>{KINDS[entry.kind]}{where}<small>{said}</small></td>"
            f"<td>{amount(entry.quantity)}</td><td>{amount(entry.shelf_after)}</td><td>{amount(entry.backroom_after)}</td></tr>"
        )
    return (
        '<div class="panel"><h2>Movements, the newest first</h2><table class="ledger"><thead><tr><th>UTC</th><th>What</th>'
        f"<th>Units</th><th>Shelf</th><th>Back</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def count_form(store_id: str, sku: str) -> str:
    """What one found, to be entered for any article."""
    data = f'data-store="{escape(store_id)}" data-sku="{escape(sku)}" data-move="COUNT"'
    return (
        '<div class="panel"><h2>Count it</h2><form class="tick"><label><span>found</span>'
        '<input type="number" inputmode="decimal" min="0" step="any" required></label>'
        f'<button {data} data-location="SHELF">On the shelf</button>'
        f'<button {data} data-location="BACKROOM">In the back</button><output role="status"></output></form></div>'
    )


def photo_form(store_id: str) -> str:
    """What takes a photo, or picks one."""
    return (
        '<div class="panel"><h2>Photograph a shelf</h2><div class="photo"><label for="zone">Zone, if it has a planogram'
        '<input id="zone" maxlength="128"></label><label for="photo">Photo (JPEG, PNG or WebP)'
        f'<input id="photo" type="file" accept="image/*" capture="environment" data-store="{escape(store_id)}"></label>'
        '<output id="photo_said" role="status"></output></div><p class="notes">The photo is looked at and not kept. What is '
        "kept for some days is a picture in which only products are sharp: people before the shelf are squares.</p></div>"
    )


def scans(found: Sequence[ShelfScan], named: Mapping[str, Row], now: datetime) -> str:
    """Pictures of shelves with what was found drawn in, the newest first."""
    shown = []
    for scan in found:
        missing = "".join(
            f'<li><a href="{article_link(scan.store_id, sku)}">{escape(named.get(sku, {}).get("name") or sku)}</a>: '
            f"{places} empty {'place' if places == 1 else 'places'}</li>"
            for sku, places in scan.missing.items()
        )
        zone = f"{escape(scan.zone_id)} · " if scan.zone_id else ""
        words = f"{len(scan.products)} products in {len(scan.rows)} rows, {scan.gaps} empty places"
        shown.append(
            f'<figure class="panel"><h2>{zone}{duration((now - scan.timestamp).total_seconds())} ago</h2>'
            f'<a href="{picture_link(scan.store_id, scan.event_id)}"><img loading="lazy" alt="A shelf: {words}" '
            f'src="{picture_link(scan.store_id, scan.event_id)}"></a><figcaption><p>{words}</p><ul>{missing}</ul></figcaption></figure>'
        )
    return (
        f'<div class="scans">{"".join(shown)}</div>'
        if shown
        else '<p class="none">No photo of this shop is kept here.</p>'
    )
