"""What the wall says, and that nothing from outside becomes HTML."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest

from api.health.backlog import Backlog, Look, Trend
from api.health.monitor import Log, Part
from api.stores.answers import Anomaly, Funnel, heatmap
from api.wall import render
from api.wall.live import CameraNow, Shop, Snapshot, depth_at, trend

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
NASTY = "<script>alert('x')</script>\"&"


def make_shop(**changes: object) -> Shop:
    shop = Shop(
        store_id="S1",
        name="Goa",
        day=date(2026, 3, 3),
        zone=ZoneInfo("Asia/Kolkata"),
        last_event=NOW - timedelta(seconds=9),
        is_stale=False,
        behind_s=0,
        visitors=145,
        conversion=0.3793,
        attributed=0.3586,
        abandonment=0.12,
        unmatched=6,
        staff=4,
        avg_dwell_ms=48_000,
        transactions=54,
        revenue=61240.5,
        currency="INR",
        funnel=Funnel(entry=145, zone_visit=132, billing_queue=85, purchased=55),
        zones=heatmap([{"zone_id": "SKINCARE", "frequency": 87, "dwell_ms": 87_000}]),
        queue=3,
        queue_before=2,
        trend=[(NOW - timedelta(minutes=15), 2), (NOW, 3)],
    )
    return replace(shop, **changes)  # type: ignore[arg-type]


def make_log(kafka: str = "up", workers: str = "behind", trend: Trend = "catching_up", behind_s: int = 192) -> Log:
    since = NOW - timedelta(minutes=20)
    backlog = Backlog(
        records=120_000,
        behind_seconds=behind_s,
        complete_until=NOW - timedelta(seconds=behind_s),
        since=since,
        trend=trend,
        arriving_per_second=2_000,
        read_per_second=3_000,
        current_again_in_seconds=250 if trend == "catching_up" else None,
    )
    part = Part.model_validate
    return Log(
        part({"status": kafka, "detail": "answers" if kafka == "up" else "does not answer"}),
        part({"status": workers, "detail": ""}),
        Look(NOW, backlog, 8) if kafka == "up" else None,
    )


def make_anomaly(severity: str = "WARN", minutes_ago: int = 5, **changes: object) -> Anomaly:
    fields = {
        "type": "QUEUE_SPIKE",
        "subject": "",
        "severity": severity,
        "message": "8 people are waiting",
        "suggested_action": "Open another till.",
        "detected_at": NOW - timedelta(minutes=minutes_ago),
        "value": 8,
        "baseline": 2.5,
        "closed_at": None,
        **changes,
    }
    return Anomaly.model_validate(fields)


class _Reader(HTMLParser):
    """Collects tags and text, and insists that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"unclosed: {self.open}"

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def every_part(shop: Shop, snapshot: Snapshot) -> str:
    return "".join(
        (
            render.card(shop, NOW),
            render.wall_header(snapshot, NOW),
            render.shop_header(shop, snapshot, NOW),
            render.banner(snapshot, NOW),
            render.banner(replace(snapshot, problem=None), NOW),
            render.alerts(render.worst_first([shop], NOW), 4, NOW),
            render.heat_tiles(render.total_zones([shop]), detailed=True),
            render.queue_chart(shop),
            render.shop_notes(shop),
            render.money(shop),
            render.panel("Funnel", render.funnel_bars(shop.funnel)),
            render.EMPTY,
            render.UNKNOWN_SHOP,
        )
    )


def test_a_card_says_the_figures() -> None:
    text = _Reader(render.card(make_shop(), NOW)).text
    for words in (
        "Goa",
        "145",
        "37.9\u2009%",
        "in queue",
        "3",
        "▲ growing",
        "SKINCARE",
        "87",
        "last event 9\u2009s ago",
    ):
        assert words in text
    assert [w for w in text.split() if w.isdecimal()].count("55") == 1, "the funnel ends with the purchases"


def test_the_queue_is_held_against_its_depth_a_quarter_of_an_hour_ago() -> None:
    rows = [
        {"quarter": NOW - timedelta(minutes=45), "deepest": 9, "last": 4},
        {"quarter": NOW - timedelta(minutes=15), "deepest": 12, "last": 2},
    ]
    moments = (60, 45, 30, 15, 0)
    assert [depth_at(rows, NOW - timedelta(minutes=ago)) for ago in moments] == [0, 4, 4, 2, 2]


def test_colours_have_words_beside_them() -> None:
    stale = make_shop(is_stale=True, anomalies=[make_anomaly("CRITICAL")], last_event=NOW - timedelta(minutes=25))
    text = _Reader(render.card(stale, NOW)).text
    assert "Critical" in text and "silent: last event 25\u2009min ago" in text


def test_alerts_say_what_to_do_the_worst_and_newest_first() -> None:
    shop = make_shop(anomalies=[make_anomaly("INFO"), make_anomaly("CRITICAL", 9, message="older")])
    other = make_shop(name="Pune", anomalies=[make_anomaly("CRITICAL", 2, message="newer", subject="CAM_1")])
    text = _Reader(render.alerts(render.worst_first([shop, other], NOW), 2, NOW)).text
    assert text.index("newer") < text.index("older") and "Pune · CAM_1" in text
    assert "→ Open another till." in text and "since 17:21 IST" in text and "3 in all" in text
    assert "8 people" not in text


LATE = make_shop(behind_s=192, name="Pune")
GONE = "The database does not answer"


@pytest.mark.parametrize(
    ("snapshot", "state", "says"),
    [
        (Snapshot((), NOW), "LIVE", ""),
        (Snapshot(), "READING", "Reading the figures"),
        (
            Snapshot((make_shop(), LATE), NOW, log=make_log()),
            "BEHIND",
            "▲ Behind by 3\u2009min, 120,000 events, since 11:40 UTC: catching up, about 4\u2009min to go "
            "1 of 2 shops: Pune; the others are current",
        ),
        (Snapshot((LATE, LATE), NOW, log=make_log(trend="unknown")), "BEHIND", "too early to say"),
        (
            Snapshot((LATE, LATE), NOW, log=make_log(trend="standing_still")),
            "BEHIND",
            "nothing is being read All shops",
        ),
        (
            Snapshot((LATE,), NOW, log=make_log(trend="falling_behind")),
            "BEHIND",
            "falling further behind: 2,000 a second arrive, 3,000 are read",
        ),
        (
            Snapshot((LATE,), NOW, log=make_log(workers="down")),
            "BEHIND",
            "No worker answers: the figures stand still; 120,000 events wait, the first since 11:56 UTC",
        ),
        (Snapshot((), NOW, log=make_log("down")), "BEHIND", "Kafka does not answer: nothing new arrives"),
        (
            Snapshot((), NOW - timedelta(minutes=3), problem=GONE),
            "NOT LIVE",
            "The database does not answer. Figures are of 3\u2009min ago. Trying again.",
        ),
        (Snapshot(problem=GONE), "NOT LIVE", "The database does not answer. Trying again."),
        (Snapshot((LATE,), NOW, GONE, make_log()), "NOT LIVE", "Trying again. Behind by 3\u2009min, 120,000 events"),
    ],
)
def test_what_is_not_current_says_so(snapshot: Snapshot, state: str, says: str) -> None:
    assert state in render.state(snapshot)
    assert says in _Reader(render.banner(snapshot, NOW)).text


def test_a_shop_that_is_current_says_so_beside_one_that_is_not() -> None:
    shops = (make_shop(), LATE)
    snapshot = Snapshot(shops, NOW, log=make_log(behind_s=600))
    current, late = (_Reader(render.shop_header(shop, snapshot, NOW)).text for shop in shops)
    assert "LIVE" in current and "BEHIND" in late
    assert render.banner(snapshot, NOW, shops[0]) == ""
    assert "Behind by 3\u2009min" in render.banner(snapshot, NOW, LATE), "its own age, not the worst"
    assert "▲ behind by 3\u2009min" in render.card(LATE, NOW) and "behind" not in render.card(shops[0], NOW)


def test_of_many_shops_behind_some_are_named() -> None:
    shops = [make_shop(name=f"Shop {n}", behind_s=30 * (n > 0)) for n in range(8)]
    assert render.concerned(shops) == (
        "7 of 8 shops: Shop 1, Shop 2, Shop 3, Shop 4 and 3 more; the others are current"
    )


def test_nothing_from_outside_becomes_html() -> None:
    nasty = make_shop(
        store_id=NASTY,
        name=NASTY,
        currency=NASTY,
        zones=heatmap([{"zone_id": NASTY, "frequency": 1, "dwell_ms": 0}]),
        anomalies=[make_anomaly(subject=NASTY, message=NASTY, suggested_action=NASTY)],
    )
    snapshot = Snapshot((nasty, replace(nasty, behind_s=9)), NOW, problem=NASTY, log=make_log())
    read = _Reader(every_part(nasty, snapshot))
    assert "script" not in read.tags and read.text.count("<script>") >= 8
    assert render.link(nasty, kiosk=False).startswith("/shops/%3Cscript%3E")


def test_who_has_seen_it_and_what_is_over_no_longer_shouts() -> None:
    seen = {"event_id": "1", "by": "<b>Asha</b>", "note": "second till opens", "at": NOW, "until": None}
    loud = make_anomaly("WARN", 1, message="loud")
    quiet = make_anomaly("CRITICAL", acknowledged=seen, message="quiet")
    over = make_anomaly("CRITICAL", 9, calm_since=NOW - timedelta(minutes=2))
    again = make_anomaly("INFO", acknowledged={**seen, "until": NOW - timedelta(minutes=1)})
    shop = make_shop(anomalies=[quiet, over, loud, again])
    text = _Reader(render.alerts(render.worst_first([shop], NOW), 4, NOW)).text
    assert text.index("loud") < text.index("quiet")
    assert "seen by <b>Asha</b> at" in text and ": second till opens" in text and "over since" in text
    assert "warn" in render.card_classes(shop, NOW) and "critical" not in render.card_classes(shop, NOW)
    assert render.loudest(make_shop(anomalies=[quiet, over]), NOW) is None
    assert render.loudest(make_shop(anomalies=[again]), NOW) == "INFO"


def test_a_shop_without_anything_is_shown() -> None:
    empty = make_shop(last_event=None, visitors=0, zones={}, trend=[], currency=None, funnel=render.total_funnel([]))
    text = _Reader(every_part(empty, Snapshot((empty,), NOW))).text
    assert "last event never" in text and "No zone visits yet" in text and "No queue readings yet" in text


def test_all_shops_together() -> None:
    zones = heatmap(
        [
            {"zone_id": "SKINCARE", "frequency": 13, "dwell_ms": 0},
            {"zone_id": "HAIR", "frequency": 200, "dwell_ms": 200_000},
        ]
    )
    shops = [make_shop(), make_shop(zones=zones)]
    assert render.total_funnel(shops) == Funnel(entry=290, zone_visit=264, billing_queue=170, purchased=110)
    total = render.total_zones(shops)
    assert [(zone, heat.frequency, heat.normalized) for zone, heat in total.items()] == [
        ("HAIR", 200, 100),
        ("SKINCARE", 100, 50),
    ]
    assert total["SKINCARE"].avg_dwell_ms == 870


@pytest.mark.parametrize(("shops", "expected"), [(1, 1), (2, 2), (4, 3), (6, 3), (12, 4), (20, 5), (30, 7)])
def test_columns(shops: int, expected: int) -> None:
    assert render.columns(shops) == expected


def test_more_shops_than_fit_take_turns() -> None:
    shops = [make_shop(store_id=str(i)) for i in range(70)]
    seen = [render.on_screen(shops, NOW + timedelta(seconds=render.PAGE_S * turn)) for turn in range(3)]
    assert sorted(len(page) for page in seen) == [10, 30, 30]
    assert {shop.store_id for page in seen for shop in page} == {str(i) for i in range(70)}


def test_trend_holds_the_last_depth_where_nothing_changed() -> None:
    def at(minute: int) -> datetime:
        return NOW + timedelta(minutes=minute)

    rows = [
        {"quarter": at(0), "deepest": 4, "last": 1},
        {"quarter": at(45), "deepest": 0, "last": 0},
        {"quarter": at(60), "deepest": 2, "last": 2},
    ]
    steps = [4, 1, 1, 1, 2, 2, 2]
    assert trend(rows, at(92)) == [(at(15 * i), depth) for i, depth in enumerate(steps)]
    assert trend([], NOW) == []


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7200, "2 h"),
        (47 * 3600, "47 h"),
        (72 * 3600, "3 days"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert render.duration(seconds).replace("\u2009", " ") == expected


def test_heat_runs_from_cold_to_hot() -> None:
    assert render.heat_colour(-1) == render.heat_colour(0) == "rgb(25,47,66)"
    assert render.heat_colour(1) == "rgb(190,74,20)"


def make_camera(camera_id: str = "CAM-1", state: str = "ONLINE", **changes: object) -> CameraNow:
    since = NOW - timedelta(minutes=20)
    camera = CameraNow(camera_id, "REPORT", state, "", since, 0, 0, NOW - timedelta(minutes=2))
    return replace(camera, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cameras", "words"),
    [
        ([], "last event 9\u2009s ago"),
        ([make_camera()], "last event 9\u2009s ago"),
        ([make_camera(), make_camera("CAM-2", "FROZEN")], "⚠ camera CAM-2 frozen"),
        ([make_camera(state="OFFLINE"), make_camera("CAM-2", "DEGRADED")], "⚠ 2 of 2 cameras not well"),
        ([make_camera(received_at=NOW - timedelta(minutes=17))], "⚠ camera CAM-1 unheard"),
        # A recording that is over sends nothing any more, and is well.
        ([make_camera(received_at=NOW - timedelta(days=3), kind="END")], "last event 9\u2009s ago"),
    ],
)
def test_a_card_names_cameras_that_are_not_well(cameras: list[CameraNow], words: str) -> None:
    assert words in render.age(make_shop(cameras=cameras), NOW)


def test_a_shop_s_cameras_are_told_with_reason_time_and_door_counts() -> None:
    ill = make_camera(NASTY, "FROZEN", reason=f"the same picture for 30 s {NASTY}")
    shop = make_shop(
        cameras=[make_camera(entries=118, entrance_balance=6), ill, make_camera("B", entries=9, entrance_balance=-2)]
    )
    told = render.cameras(shop, NOW)
    assert "is frozen" in told and "the same picture for 30 s" in told and "since 17:10 IST" in told
    assert "<script" not in told and "CAM-1" not in told
    notes = render.shop_notes(shop)
    assert "CAM-1: 6 more in than out of 118 entries" in notes
    assert "B: 2 more out than in of 9 entries" in notes
