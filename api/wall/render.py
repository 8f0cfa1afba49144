"""From a snapshot to HTML. No I/O; everything that comes from outside is escaped. Words stand beside every colour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from urllib.parse import quote

from api.health.backlog import prospect
from api.stores.answers import Anomaly, Funnel, ZoneHeat, heatmap, rate
from api.wall.live import QUARTER, Shop, Snapshot
from api.words import duration, number

SHOPS_A_PAGE = 30
PAGE_S = 12
STEPS = (
    ("entry", "Came in"),
    ("zone_visit", "Stopped at a shelf"),
    ("billing_queue", "Went to pay"),
    ("purchased", "Bought"),
)
NAMED_SHOPS = 4
SEVERITY_WORDS = {"CRITICAL": "Critical", "WARN": "Warning", "INFO": "Note"}


def percent(share: float) -> str:
    """0.3123 as 31.2 %, and 1 as 100 %."""
    return f"{share * 100:.1f}\u2009%" if share < 0.9995 else "100\u2009%"


def dwell(ms: float) -> str:
    """A time in a zone: 42 s, 2.5 min."""
    seconds = ms / 1000
    return f"{seconds:.0f}\u2009s" if seconds < 100 else f"{seconds / 60:.1f}\u2009min"


def clock(moment: datetime, shop: Shop) -> str:
    """A time of day where the shop is."""
    return f"{moment.astimezone(shop.zone):%H:%M %Z}"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, or never."""
    return "never" if moment is None else f"{duration((now - moment).total_seconds())} ago"


def heat_colour(share: float) -> str:
    """Background of a zone from cold (0) to hot (1); white text stays readable on all of it."""
    cold, hot = (25, 47, 66), (190, 74, 20)
    mix = (round(a + (b - a) * min(max(share, 0), 1)) for a, b in zip(cold, hot, strict=True))
    return "rgb({},{},{})".format(*mix)


def sparkline(depths: Sequence[int], width: int = 120, height: int = 36) -> str:
    """The queue over the day as a small area."""
    if len(depths) < 2:
        return ""
    top = max(max(depths), 4)
    step = width / (len(depths) - 1)
    points = " ".join(f"{i * step:.1f},{height - 2 - depth / top * (height - 6):.1f}" for i, depth in enumerate(depths))
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="0,{height} {points} {width},{height}"/><polyline points="{points}"/></svg>'
    )


def direction(before: int, queue: int) -> str:
    """Which way the queue goes: its depth a quarter of an hour ago, and now."""
    if queue > before:
        return '<span class="up">▲ growing</span>'
    if queue < before:
        return '<span class="down">▼ shrinking</span>'
    return '<span class="same">● steady</span>'


def badge(severity: str) -> str:
    """A severity as colour and word."""
    return f'<span class="badge {severity.lower()}">{SEVERITY_WORDS[severity]}</span>'


def funnel_bars(steps: Funnel) -> str:
    """The funnel as bars with counts and the share that came so far."""
    rows = []
    for name, words in STEPS:
        value = getattr(steps, name)
        share = rate(value, steps.entry)
        rows.append(
            f'<div class="step"><span class="words">{words}</span>'
            f'<span class="bar"><i style="width:{share * 100:.1f}%"></i></span>'
            f'<b>{number(value)}</b><span class="share">{percent(share)}</span></div>'
        )
    return f'<div class="funnel">{"".join(rows)}</div>'


def mini_funnel(steps: Funnel) -> str:
    """The funnel in one line."""
    bars = "".join(
        f'<span><i style="height:{max(6.0, rate(getattr(steps, name), steps.entry) * 100):.0f}%"></i></span>'
        for name, _ in STEPS
    )
    counts = "<em>›</em>".join(number(getattr(steps, name)) for name, _ in STEPS)
    title = "came in, stopped at a shelf, went to pay, bought"
    return f'<div class="mini" title="{title}"><div class="bars">{bars}</div><div class="counts">{counts}</div></div>'


def heat_tiles(zones: dict[str, ZoneHeat], limit: int | None = None, *, detailed: bool = False) -> str:
    """Zones as tiles, the busiest first; brighter means busier, and the number says it."""
    tiles = []
    for zone, figures in list(zones.items())[:limit]:
        more = ""
        if detailed:
            few = ' <span class="few">few visits</span>' if figures.data_confidence == "LOW" else ""
            more = f"<small>{dwell(figures.avg_dwell_ms)} on average{few}</small>"
        tiles.append(
            f'<div class="tile" style="background:{heat_colour(figures.normalized / 100)}" title="{escape(zone)}">'
            f"<span>{escape(zone)}</span><b>{number(figures.frequency)}</b>{more}</div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else '<p class="none">No zone visits yet</p>'


def link(shop: Shop, kiosk: bool) -> str:
    """The address of a shop's page."""
    return f"/shops/{quote(shop.store_id)}{'?kiosk' if kiosk else ''}"


def ways(store_id: str) -> str:
    """Where one can go from a shop's page."""
    place = f"/shops/{quote(store_id, safe='')}"
    others = "".join(f' <a class="way" href="{place}/{page.lower()}">{page}</a>' for page in ("Stock", "Forecasts"))
    return f"<nav>{BACK}<br>{others}</nav>"


def age(shop: Shop, now: datetime) -> str:
    """The age of a shop's last event; in words if that is too old, newer ones wait for the workers, or a
    camera is not well.
    """
    words = f"last event {ago(shop.last_event, now)}"
    if shop.is_stale:
        return f'<div class="age late">⚠ silent: {words}</div>'
    if shop.behind_s:
        return f'<div class="age late">▲ behind by {duration(shop.behind_s)}</div>'
    if ill := camera_words(shop, now):
        return f'<div class="age late">⚠ {ill}</div>'
    return f'<div class="age">{words}</div>'


def camera_words(shop: Shop, now: datetime) -> str:
    """Cameras that are not well, in a few words; empty when all are."""
    ill = [(camera, trouble[0]) for camera in shop.cameras if (trouble := camera.trouble(now)) is not None]
    if len(ill) == 1:
        return f"camera {escape(ill[0][0].camera_id)} {ill[0][1]}"
    return f"{len(ill)} of {len(shop.cameras)} cameras not well" if ill else ""


def cameras(shop: Shop, now: datetime) -> str:
    """Each camera that is not well, with the reason and since when."""
    told = []
    for camera in shop.cameras:
        if (trouble := camera.trouble(now)) is not None:
            word, since = trouble
            reason = f": {escape(camera.reason)}" if camera.reason else ""
            told.append(
                f'<li class="warn"><b>Camera {escape(camera.camera_id)} is {word}</b>{reason}'
                f" <time>since {clock(since, shop)}</time></li>"
            )
    return f'<ul class="alerts">{"".join(told)}</ul>' if told else ""


def door_counts(shop: Shop) -> str:
    """How far the counts at each door are apart: after closing time, by how much they are wrong at least."""
    told = []
    for camera in shop.cameras:
        if camera.entries and camera.entrance_balance:
            more, way = abs(camera.entrance_balance), "in than out" if camera.entrance_balance > 0 else "out than in"
            told.append(f"{escape(camera.camera_id)}: {number(more)} more {way} of {number(camera.entries)} entries")
    return " · ".join(told)


def loudest(shop: Shop, now: datetime) -> str | None:
    """The worst severity among what lasts and nobody has seen; None if there is none."""
    return next((anomaly.severity for anomaly in shop.anomalies if anomaly.shouts(now)), None)


def card_classes(shop: Shop, now: datetime) -> str:
    """How a shop's card looks: its worst anomaly that nobody has seen, and whether it is silent."""
    return f"card {(loudest(shop, now) or '').lower()} {'stale' if shop.is_stale else ''}"


def card(shop: Shop, now: datetime) -> str:
    """What stands on a shop's card."""
    severity = loudest(shop, now)
    worst = badge(severity) if severity else ""
    return (
        f'<div class="name"><span>{escape(shop.name)}</span>{worst}</div>'
        f'<div class="figures"><div><b>{number(shop.visitors)}</b><small>visitors</small></div>'
        f"<div><b>{percent(shop.conversion)}</b><small>bought</small></div></div>"
        f'<div class="queue"><div><b>{number(shop.queue)}</b><small>in queue</small>{direction(shop.queue_before, shop.queue)}</div>'
        f"{sparkline([depth for _, depth in shop.trend])}</div>"
        f'{mini_funnel(shop.funnel)}<div class="strip">{heat_tiles(shop.zones, 2)}</div>{age(shop, now)}'
    )


def columns(shops: int) -> int:
    """How many cards stand side by side, so that all fit on one screen."""
    return max(1, min(shops, math.ceil(math.sqrt(shops * 1.22))))


def on_screen(shops: Sequence[Shop], now: datetime) -> Sequence[Shop]:
    """The shops to show now: all, or by turns when they are more than one screen holds."""
    pages = math.ceil(len(shops) / SHOPS_A_PAGE)
    if pages <= 1:
        return shops
    page = int(now.timestamp() // PAGE_S) % pages
    return shops[page * SHOPS_A_PAGE : (page + 1) * SHOPS_A_PAGE]


def total_funnel(shops: Iterable[Shop]) -> Funnel:
    """The funnel of all shops together."""
    sums = dict.fromkeys((name for name, _ in STEPS), 0)
    for shop in shops:
        for name in sums:
            sums[name] += getattr(shop.funnel, name)
    return Funnel(**sums)


def total_zones(shops: Iterable[Shop]) -> dict[str, ZoneHeat]:
    """The zones of all shops together, by name."""
    sums: dict[str, list[int]] = {}
    for shop in shops:
        for zone, figures in shop.zones.items():
            total = sums.setdefault(zone, [0, 0])
            total[0] += figures.frequency
            total[1] += figures.frequency * figures.avg_dwell_ms
    rows = [{"zone_id": zone, "frequency": count, "dwell_ms": dwell} for zone, (count, dwell) in sums.items()]
    return heatmap(sorted(rows, key=lambda row: (-row["frequency"], row["zone_id"])))


def alerts(found: Sequence[tuple[Shop, Anomaly]], limit: int, now: datetime, *, named: bool = True) -> str:
    """Anomalies with what to do about them, in this order; those that somebody has seen, or that are over, in soft colours."""
    if not found:
        return '<p class="none good">✓ Nothing out of the ordinary</p>'
    items = []
    for shop, anomaly in found[:limit]:
        about = " · ".join(filter(None, (shop.name if named else "", anomaly.subject)))
        items.append(
            f'<li class="{anomaly.severity.lower()}{"" if anomaly.shouts(now) else " quiet"}">{badge(anomaly.severity)}'
            f'<span class="about">{escape(about)}</span> <time>since {clock(anomaly.detected_at, shop)}</time>'
            f'<div class="message">{escape(anomaly.message)}</div>{_what_now(anomaly, shop)}</li>'
        )
    more = f'<p class="more">{len(found)} in all; the page of each shop has its own</p>' if len(found) > limit else ""
    return f'<ul class="alerts">{"".join(items)}</ul>{more}'


def _what_now(anomaly: Anomaly, shop: Shop) -> str:
    """What to do about it, or what has become of it."""
    told = []
    if anomaly.calm_since is not None:
        told.append(f'<div class="seen">✓ over since {clock(anomaly.calm_since, shop)}</div>')
    if (seen := anomaly.acknowledged) is not None:
        until = f", until {clock(seen.until, shop)}" if seen.until else ""
        note = f": {escape(seen.note)}" if seen.note else ""
        told.append(f'<div class="seen">✓ seen by {escape(seen.by)} at {clock(seen.at, shop)}{until}{note}</div>')
    return "".join(told) or f'<div class="action">→ {escape(anomaly.suggested_action)}</div>'


def worst_first(shops: Iterable[Shop], now: datetime) -> list[tuple[Shop, Anomaly]]:
    """All open anomalies: those that nobody has seen before the others, the worst first, and of those the newest."""
    order = list(SEVERITY_WORDS)
    found = [(shop, anomaly) for shop in shops for anomaly in shop.anomalies]
    return sorted(
        found,
        key=lambda pair: (not pair[1].shouts(now), order.index(pair[1].severity), -pair[1].detected_at.timestamp()),
    )


def lateness(snapshot: Snapshot, shop: Shop | None = None) -> str | None:
    """Why new events are not in the figures of all shops, or of one; None when nothing keeps them."""
    log = snapshot.log
    if log is None:
        return None
    if log.kafka.status != "up":
        return f"Kafka {log.kafka.detail}: nothing new arrives"
    if log.look is None:
        return "How far the workers are is not known: Kafka does not tell about them"
    backlog = log.look.backlog
    if log.workers.status == "down":
        waiting = ""
        if backlog.complete_until:
            waiting = f"; {number(backlog.records)} events wait, the first since {backlog.complete_until:%H:%M} UTC"
        return f"No worker answers: the figures stand still{waiting}"
    if backlog.since is None or (shop and not shop.behind_s):
        return None
    behind_s = backlog.behind_seconds if shop is None else shop.behind_s or 0
    whose = " of all shops" if shop else ""
    return (
        f"Behind by {duration(behind_s)}, {number(backlog.records)} events{whose}, since {backlog.since:%H:%M} UTC: "
        f"{prospect(backlog)}"
    )


def concerned(shops: Sequence[Shop]) -> str:
    """Which shops' figures are behind."""
    late = [shop for shop in shops if shop.behind_s]
    if not late or len(late) == len(shops):
        return "All shops are concerned" if late and len(shops) > 1 else ""
    names = ", ".join(shop.name for shop in late[:NAMED_SHOPS])
    more = f" and {len(late) - NAMED_SHOPS} more" if len(late) > NAMED_SHOPS else ""
    return f"{len(late)} of {len(shops)} shops: {names}{more}; the others are current"


def state(snapshot: Snapshot, shop: Shop | None = None) -> str:
    """Whether the figures, of all shops or of one, are live: in colour and words."""
    if snapshot.problem:
        return '<span class="state away">■ NOT LIVE</span>'
    if not snapshot.is_known:
        return '<span class="state late">… READING</span>'
    if lateness(snapshot, shop):
        return '<span class="state late">▲ BEHIND</span>'
    return '<span class="state live">● LIVE</span>'


def banner(snapshot: Snapshot, now: datetime, shop: Shop | None = None) -> str:
    """What keeps the figures, of all shops or of one, from being current; empty when nothing does."""
    late = lateness(snapshot, shop)
    if not snapshot.is_known:
        return '<div class="banner late" role="status">… Reading the figures</div>'
    if snapshot.problem:
        since = f" Figures are of {ago(snapshot.taken_at, now)}." if snapshot.taken_at else ""
        more = f"<small>{escape(late)}</small>" if late else ""
        return f'<div class="banner away" role="alert">■ {escape(snapshot.problem)}.{since} Trying again.{more}</div>'
    if late:
        whom = concerned(snapshot.shops) if shop is None else ""
        more = f"<small>{escape(whom)}</small>" if whom else ""
        return f'<div class="banner late" role="alert">▲ {escape(late)}{more}</div>'
    return ""


def figure(value: str, words: str) -> str:
    """A large figure with its words."""
    return f'<div class="kpi"><b>{value}</b><small>{words}</small></div>'


def freshness(last_event: datetime | None, snapshot: Snapshot, now: datetime, shop: Shop | None = None) -> str:
    """Age of the last event and time of the last update."""
    updated = snapshot.taken_at.strftime("%H:%M:%S UTC") if snapshot.taken_at else "not yet"
    return (
        f'<div class="fresh">{state(snapshot, shop)}<span>last event <b>{ago(last_event, now)}</b></span>'
        f"<span>updated <b>{updated}</b></span></div>"
    )


def days(shops: Sequence[Shop]) -> str:
    """The business day that the wall is about."""
    found = {shop.day for shop in shops}
    if len(found) == 1:
        return f"{found.pop():%a %d %b %Y}"
    return "each on its latest day" if found else ""


def wall_header(snapshot: Snapshot, now: datetime) -> str:
    """The whole chain in five figures."""
    shops = snapshot.shops
    steps = total_funnel(shops)
    last = max((shop.last_event for shop in shops if shop.last_event), default=None)
    open_alerts = sum(anomaly.shouts(now) for shop in shops for anomaly in shop.anomalies)
    return (
        f'<div class="brand">Aisleflow<small>all shops<br>{days(shops)}</small></div><div class="kpis">'
        + figure(number(len(shops)), "shops" if len(shops) != 1 else "shop")
        + figure(number(steps.entry), "visitors")
        + figure(percent(rate(steps.purchased, steps.entry)), "bought")
        + figure(number(sum(shop.queue for shop in shops)), "in queues")
        + figure(number(open_alerts), "alerts" if open_alerts != 1 else "alert")
        + f"</div>{freshness(last, snapshot, now)}"
    )


EMPTY = """
<div class="empty"><h1>No shop has sent anything yet</h1>
<p>Watch simulated shops come alive:</p><pre>aisleflow demo</pre>
<p>or publish your own events:</p><pre>aisleflow publish events FILE.jsonl</pre>
<p>or send them to this server (<code>POST /events/ingest</code>). This page fills by itself.</p></div>
"""


PAGES = '<a class="back" href="/stock">Stock</a><a class="back" href="/ask">Ask</a>'
BACK = '<a class="back" href="/">‹ All shops</a>'
UNKNOWN_SHOP = """
<div class="empty"><h1>This shop is not known</h1><p>No event, transaction or layout of it has arrived.</p></div>
"""


def queue_chart(shop: Shop) -> str:
    """The queue over the day, with its scale."""
    depths = [depth for _, depth in shop.trend]
    if len(depths) < 2:
        return '<p class="none">No queue readings yet</p>'
    first, last = shop.trend[0][0], shop.trend[-1][0] + QUARTER
    return (
        f'<div class="chart"><div class="scale"><span>{max(max(depths), 4)}</span><span>0</span></div>'
        f"{sparkline(depths, 600, 160)}"
        f'<div class="times"><span>{clock(first, shop)}</span><span>{clock(last, shop)}</span></div></div>'
    )


def money(shop: Shop) -> str:
    """Revenue with its currency."""
    return f"{number(shop.revenue)} <i>{escape(shop.currency)}</i>" if shop.currency else number(shop.revenue)


def shop_header(shop: Shop, snapshot: Snapshot, now: datetime) -> str:
    """One shop in figures."""
    return (
        f'<div class="brand">{escape(shop.name)}<small>{shop.day:%A %d %B %Y}</small></div><div class="kpis">'
        + figure(number(shop.visitors), "visitors")
        + figure(percent(shop.conversion), "bought")
        + figure(number(shop.queue), f"in queue {direction(shop.queue_before, shop.queue)}")
        + figure(percent(shop.abandonment), "left the queue")
        + figure(dwell(shop.avg_dwell_ms), "in a zone")
        + figure(number(shop.transactions), "receipts")
        + figure(money(shop), "revenue")
        + f"</div>{freshness(shop.last_event, snapshot, now, shop)}"
    )


def shop_notes(shop: Shop) -> str:
    """How far the figures of a shop can be trusted."""
    doors = f" · {counts}" if (counts := door_counts(shop)) else ""
    return (
        f'<p class="notes">{percent(shop.attributed)} bought by receipt (each receipt claims one visit) · '
        f"{number(shop.unmatched)} seen inside only (the entrance camera missed them) · {number(shop.staff)} staff, "
        f"left out of every figure{doors}</p>"
    )


def panel(title: str, body: str, name: str = "") -> str:
    """A titled part of the page."""
    return f'<section class="panel {name}"><h2>{title}</h2>{body}</section>'
