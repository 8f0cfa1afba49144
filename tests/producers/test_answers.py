"""The independent computation, held to small tables whose answers were worked out by hand from docs/metrics.md.

Events are written as ``"MM:SS TYPE zone ..."`` (``-``: no zone) in the first hour after noon of one day.
"""

from __future__ import annotations

import uuid
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest

from producers.simulator.answers import World

DAY = date(2026, 3, 3)
LATEST_MS = 1_800_000_000_000
S = "S1"


def instant(clock: str, day: date = DAY) -> str:
    """``"MM:SS"`` after noon, or ``"HH:MM:SS"``."""
    return f"{day}T{clock if clock.count(':') == 2 else '12:' + clock}Z"


class Story:
    """Builds a world from lines."""

    def __init__(self) -> None:
        self.world = World(LATEST_MS)
        self.seq = 0

    def see(self, visitor: str, *lines: str, day: date = DAY, **fields: Any) -> Story:
        for line in lines:
            clock, kind, zone, *more = [*line.split(), None]
            self.event(
                visitor_id=visitor,
                timestamp=instant(clock or "", day),
                event_type=kind,
                zone_id=None if zone == "-" else zone,
                **{**dict(pair.split("=") for pair in more if pair), **fields},
            )
        return self

    def event(self, **fields: Any) -> Story:
        self.seq += 1
        event = {"event_id": str(uuid.UUID(int=self.seq)), "store_id": S, "camera_id": "C", "confidence": 1.0} | fields
        for name in ("dwell_ms",):
            if name in event:
                event[name] = int(event[name])
        if (depth := event.pop("depth", None)) is not None:
            event["metadata"] = {"queue_depth": int(depth)}
        self.world.take("visit-events", orjson.dumps(event))
        return self

    def pay(self, *clocks: str, value: str = "10.00", day: date = DAY) -> Story:
        for clock in clocks:
            self.seq += 1
            paid = {
                "store_id": S,
                "transaction_id": f"T{self.seq:03}",
                "timestamp": instant(clock, day),
                "currency": "INR",
            }
            self.world.take("transactions", orjson.dumps(paid | {"basket_value": value}))
        return self

    def layout(self, **fields: Any) -> Story:
        layout = {"store_id": S, "timestamp": "2026-01-01T00:00:00Z"} | fields
        self.world.take("store-layouts", orjson.dumps(layout))
        return self

    def metrics(self, day: date = DAY) -> dict[str, Any]:
        return self.world.metrics(S, day)

    def stays(self, visitor: str) -> list[tuple[str, int, int, int]]:
        """(zone, start s, end s, dwell s) of a visitor, counted from noon."""
        day = self.world.day(S, DAY)
        noon = day.start + 12 * 3_600_000
        return [
            (stay.zone_id, (stay.start - noon) // 1000, (stay.end - noon) // 1000, stay.dwell_ms // 1000)
            for stay in day.stays[visitor]
        ]


def test_a_plain_visit() -> None:
    story = Story().see("v", "00:00 ENTRY", "00:10 ZONE_ENTER A", "01:40 ZONE_EXIT A dwell_ms=90000", "02:00 EXIT")
    assert story.stays("v") == [("A", 10, 100, 90)]
    assert story.metrics() == {
        "unique_visitors": 1,
        "conversion_rate": 0.0,
        "avg_dwell_ms": 90_000,
        "queue_depth_current": 0,
        "abandonment_rate": 0.0,
        "staff_visits": 0,
        "unmatched_visitors": 0,
        "attributed_conversion_rate": 0.0,
        "transactions": 0,
        "revenue": Decimal(0),
        "currency": None,
    }
    assert story.world.funnel(S, DAY) == {"entry": 1, "zone_visit": 1, "billing_queue": 0, "purchased": 0}


@pytest.mark.parametrize(
    ("lines", "stays"),
    [
        # Unclosed: ends at its last event.
        (["00:00 ZONE_ENTER A", "00:30 ZONE_DWELL A dwell_ms=30000"], [("A", 0, 30, 30)]),
        # A reported dwell larger than the span counts.
        (["00:00 ZONE_DWELL A dwell_ms=60000", "00:10 ZONE_EXIT A"], [("A", 0, 10, 60)]),
        # Another zone of the same camera closes it; its later exit opens and closes a new one.
        (["00:00 ZONE_ENTER A", "00:20 ZONE_ENTER B", "00:30 ZONE_EXIT A"],
         [("A", 0, 20, 20), ("B", 20, 30, 10), ("A", 30, 30, 0)]),
        # ... and at the very same time belongs to the one that was closed then.
        (["00:00 ZONE_ENTER A", "00:20 ZONE_ENTER B", "00:20 ZONE_EXIT A dwell_ms=25000"], [("A", 0, 20, 25), ("B", 20, 20, 0)]),
        # EXIT closes all; a ZONE_EXIT alone is a visit of no length.
        (["00:00 ZONE_ENTER A", "00:20 EXIT", "00:40 ZONE_EXIT A"], [("A", 0, 20, 20), ("A", 40, 40, 0)]),
        # A join inside the billing zone belongs to it, named or not; without an open one and unnamed it opens none.
        (["00:00 BILLING_QUEUE_JOIN", "00:05 ZONE_ENTER BILLING", "00:06 BILLING_QUEUE_JOIN",
          "00:50 BILLING_QUEUE_ABANDON BILLING"],
         [("BILLING", 5, 50, 45)]),
        # The entrance is no zone, whatever it carries.
        (["00:00 ENTRY DOOR", "00:05 REENTRY DOOR"], []),
    ],
)  # fmt: skip
def test_zone_visits(lines: list[str], stays: list[tuple[str, int, int, int]]) -> None:
    assert Story().see("v", *lines).stays("v") == stays


def test_another_camera_does_not_close() -> None:
    story = Story().see("v", "00:00 ZONE_ENTER A", camera_id="C1").see("v", "00:20 ZONE_ENTER B", camera_id="C2")
    story.see("v", "00:40 ZONE_EXIT A", camera_id="C1")
    assert story.stays("v") == [("A", 0, 40, 40), ("B", 20, 20, 0)]


def test_the_order_is_that_of_the_rules_not_of_arrival() -> None:
    lines = [
        "00:00 ENTRY",
        "00:10 ZONE_ENTER A",
        "00:30 ZONE_DWELL A dwell_ms=20000",
        "00:40 ZONE_EXIT A",
        "00:50 EXIT",
    ]
    assert Story().see("v", *lines).stays("v") == Story().see("v", *reversed(lines)).stays("v") == [("A", 10, 40, 30)]


def test_the_first_of_an_id_stays_whatever_its_case() -> None:
    event = {
        "event_id": str(uuid.UUID(int=0xABC)),
        "visitor_id": "v",
        "timestamp": instant("00:00"),
        "event_type": "ENTRY",
    }
    story = Story().event(**event).event(**event | {"event_id": event["event_id"].upper(), "is_staff": True})
    assert (story.metrics()["unique_visitors"], story.metrics()["staff_visits"], story.world.duplicates) == (1, 0, 1)


def test_staff_and_unmatched_are_no_visitors() -> None:
    story = Story().see("v", "00:00 ENTRY").see("inside", "00:00 ZONE_ENTER A", "01:00 ZONE_EXIT A")
    story.see("s", "00:00 ENTRY", "00:10 ZONE_ENTER A", "09:00 ZONE_EXIT A").see("s", "10:00 EXIT", is_staff=True)
    metrics = story.metrics()
    counted = [metrics[name] for name in ("unique_visitors", "unmatched_visitors", "staff_visits", "avg_dwell_ms")]
    assert counted == [1, 1, 1, 60_000]
    assert story.world.heatmap(S, DAY)["A"]["frequency"] == 1


@pytest.mark.parametrize(
    ("left", "paid", "purchased"),
    [("10:00", "09:59", True), ("10:00", "15:00", True), ("10:00", "15:01", False), ("10:00", "04:59", False)],
)
def test_purchased_within_five_minutes(left: str, paid: str, purchased: bool) -> None:
    story = Story().see("v", "00:00 ENTRY", "05:00 ZONE_ENTER BILLING", f"{left} ZONE_EXIT BILLING").pay(paid)
    assert story.world.funnel(S, DAY)["purchased"] == purchased
    assert story.metrics()["conversion_rate"] == float(purchased)


def test_a_queue_event_spans_its_dwell_but_not_the_night() -> None:
    story = Story().see("v", "00:00 ENTRY", "10:00 BILLING_QUEUE_ABANDON - dwell_ms=300000").pay("05:00")
    assert story.world.funnel(S, DAY) == {"entry": 1, "zone_visit": 1, "billing_queue": 1, "purchased": 1}
    night = Story().see("v", "00:00:30 ENTRY", "00:01:00 BILLING_QUEUE_JOIN BILLING dwell_ms=3600000")
    night.pay("23:59:59", day=date(2026, 3, 2))
    assert night.world.funnel(S, DAY)["purchased"] == 0


def test_each_transaction_claims_one_visit() -> None:
    story = Story()
    for visitor, since in (("a", "01:00"), ("b", "00:30"), ("c", "02:00")):
        story.see(visitor, "00:00 ENTRY", f"{since} ZONE_ENTER BILLING", "04:00 ZONE_EXIT BILLING")
    story.pay("03:00", "03:10")
    day = story.world.day(S, DAY)
    assert list(day.claims.values()) == ["b", "a"]
    metrics = story.metrics()
    assert (metrics["conversion_rate"], metrics["attributed_conversion_rate"]) == (1.0, 0.6667)
    assert (metrics["transactions"], metrics["revenue"], metrics["currency"]) == (2, Decimal("20.00"), "INR")


def test_abandoned_is_the_last_word_and_no_purchase() -> None:
    story = Story()
    story.see("gone", "00:00 BILLING_QUEUE_JOIN BILLING", "01:00 BILLING_QUEUE_ABANDON BILLING")
    story.see(
        "back",
        "00:00 BILLING_QUEUE_JOIN BILLING",
        "01:00 BILLING_QUEUE_ABANDON BILLING",
        "01:30 BILLING_QUEUE_JOIN BILLING",
    )
    story.see("paid", "30:00 BILLING_QUEUE_JOIN BILLING", "31:00 BILLING_QUEUE_ABANDON BILLING").pay("32:00")
    assert story.metrics()["abandonment_rate"] == 0.3333


@pytest.mark.parametrize(
    ("lines", "depth"),
    [
        (["00:00 BILLING_QUEUE_JOIN BILLING"], 1),
        (["00:00 BILLING_QUEUE_JOIN BILLING", "00:10 BILLING_QUEUE_JOIN BILLING"], 1),
        (["00:00 BILLING_QUEUE_JOIN BILLING depth=7", "00:10 ZONE_EXIT BILLING"], 6),
        (["00:00 BILLING_QUEUE_JOIN BILLING depth=7", "00:10 ZONE_EXIT SHELF", "00:20 EXIT", "00:30 EXIT"], 6),
        (["00:00 BILLING_QUEUE_JOIN BILLING depth=7", "00:10 ZONE_EXIT BILLING depth=2", "00:20 EXIT"], 2),
        (["00:00 ZONE_DWELL A depth=0", "00:05 ZONE_EXIT BILLING"], 0),
        (["00:00 BILLING_QUEUE_JOIN BILLING", "00:05 ZONE_DWELL BILLING depth=0", "00:10 EXIT"], 0),
    ],
)
def test_queue_depth(lines: list[str], depth: int) -> None:
    assert Story().see("v", *lines).metrics()["queue_depth_current"] == depth


def test_queue_depth_knows_claims_and_not_staff() -> None:
    story = Story().see("v", "00:00 BILLING_QUEUE_JOIN BILLING").see("w", "00:01 BILLING_QUEUE_JOIN BILLING")
    story.see("s", "00:30 ZONE_DWELL BILLING depth=9", is_staff=True)
    assert story.metrics()["queue_depth_current"] == 2
    # The transaction of the same instant comes after the events: v is claimed and leaves.
    assert story.pay("01:00").metrics()["queue_depth_current"] == 1
    assert story.see("v", "02:00 EXIT").metrics()["queue_depth_current"] == 1


def test_heatmap() -> None:
    story = Story()
    for number in range(20):
        story.see(f"v{number}", "00:00 ZONE_ENTER A", "00:10 ZONE_EXIT A")
    for number in range(5):
        story.see(f"v{number}", "01:00 ZONE_ENTER B", "01:00 ZONE_EXIT B", "02:00 ZONE_DWELL C dwell_ms=1")
    story.see("v0", "03:00 ZONE_DWELL C")
    assert story.world.heatmap(S, DAY) == {
        "A": {"frequency": 20, "avg_dwell_ms": 10_000, "normalized": 100, "data_confidence": "HIGH"},
        "B": {"frequency": 5, "avg_dwell_ms": 0, "normalized": 25, "data_confidence": "LOW"},
        "C": {"frequency": 5, "avg_dwell_ms": 12_001, "normalized": 25, "data_confidence": "LOW"},
    }


def test_the_business_day_is_the_stores() -> None:
    story = Story().layout(time_zone="Asia/Kolkata").see("v", "18:29:59 ENTRY", "18:30:00 EXIT")
    assert [str(day) for day in story.world.days(S)] == ["2026-03-03", "2026-03-04"]
    assert story.metrics()["unique_visitors"] == 1
    assert story.metrics(date(2026, 3, 4))["unmatched_visitors"] == 1


def test_listed_zones_have_their_type() -> None:
    zones = [{"zone_id": "TILL", "type": "BILLING"}, {"zone_id": "CASHMERE", "type": "SHELF"}]
    story = (
        Story().see("v", "00:00 ENTRY", "00:01 ZONE_ENTER TILL").see("w", "00:00 ENTRY", "00:01 ZONE_ENTER CASHMERE")
    )
    assert story.world.funnel(S, DAY)["billing_queue"] == 1  # by name: CASH
    assert {v for v, spans in story.world.day(S, DAY).presences.items() if spans} == {"w"}
    story.layout(zones=zones)
    assert {v for v, spans in story.world.day(S, DAY).presences.items() if spans} == {"v"}


HOURS = {"tue": [["11:00", "20:00"]]}


def names(story: Story) -> list[str]:
    return [f"{one['type']} {one['subject']} {one['severity']}" for one in story.world.anomalies(S)]


def test_queue_spike() -> None:
    story = Story().see("v", "00:00 BILLING_QUEUE_JOIN BILLING depth=5")
    assert "QUEUE_SPIKE  WARN" not in names(story)
    assert "QUEUE_SPIKE  WARN" in names(story.see("v", "00:01 ZONE_DWELL BILLING depth=6"))
    assert "QUEUE_SPIKE  CRITICAL" in names(story.see("v", "00:02 ZONE_DWELL BILLING depth=11"))
    # A week ago: 10 people for the second half of this hour, 5 on average.
    story.see("w", "30:00 ZONE_DWELL BILLING depth=10", day=date(2026, 2, 24))
    assert story.world.usual_depth(S, story.world.stores[S].newest or 0) == 5
    assert "QUEUE_SPIKE  CRITICAL" in names(story)
    assert not any("QUEUE" in name for name in names(story.see("v", "00:03 ZONE_DWELL BILLING depth=10")))


def test_conversion_drop() -> None:
    story = Story()

    def visitors(day: date, count: int, buyers: int) -> None:
        for number in range(count):
            story.see(f"v{number}", "00:00 ENTRY", day=day)
            if number < buyers:
                story.see(f"v{number}", "00:01 ZONE_DWELL BILLING", day=day)
        story.pay("00:02", day=day)

    visitors(DAY, 20, 6)
    assert not any("CONVERSION" in name for name in names(story))  # nothing to compare with
    visitors(date(2026, 3, 1), 10, 4)
    assert not any("CONVERSION" in name for name in names(story))  # 0.3 is not under 70 % of 0.4
    visitors(date(2026, 2, 24), 10, 6)
    (drop,) = [one for one in story.world.anomalies(S) if one["type"] == "CONVERSION_DROP"]
    assert (drop["severity"], drop["value"], drop["baseline"]) == ("INFO", 0.3, 0.5)  # nobody has settled yet
    visitors(date(2026, 2, 23), 10, 0)  # eight days ago: no part of it
    assert drop in story.world.anomalies(S)
    story.see("late", "59:00 EXIT")
    assert "CONVERSION_DROP  INFO" in names(story)  # 6 of 20 at 0.5: 1.8 standard deviations
    for number in range(20, 46):
        story.see(f"v{number}", "00:00 ENTRY")
    assert "CONVERSION_DROP  CRITICAL" in names(story)  # 6 of 46: 5 of them


def test_abandonment_spike() -> None:
    story = Story()
    for number in range(10):
        story.see(f"v{number}", "00:00 BILLING_QUEUE_JOIN BILLING", "00:09 ZONE_EXIT BILLING")
    story.see("v0", "00:10 BILLING_QUEUE_ABANDON BILLING").see("v1", "00:10 BILLING_QUEUE_ABANDON BILLING")
    assert not any("ABANDONMENT" in name for name in names(story))  # 0.2 is not above 0.2
    assert "ABANDONMENT_SPIKE  INFO" in names(story.see("v2", "00:10 BILLING_QUEUE_ABANDON BILLING"))
    story.see("v3", "00:10 BILLING_QUEUE_ABANDON BILLING").see("v4", "00:10 BILLING_QUEUE_ABANDON BILLING")
    assert "ABANDONMENT_SPIKE  INFO" in names(story.see("v5", "00:10 BILLING_QUEUE_ABANDON BILLING"))
    assert "ABANDONMENT_SPIKE  INFO" in names(
        story.see("late", "59:00 EXIT")
    )  # 6 of 10 at 0.2: 3.2 standard deviations
    assert "ABANDONMENT_SPIKE  CRITICAL" in names(story.see("v6", "00:10 BILLING_QUEUE_ABANDON BILLING"))


def test_dead_zones() -> None:
    zones = [
        {"zone_id": zone, "type": kind} for zone, kind in (("A", "SHELF"), ("B", "DISPLAY"), ("STORE", "STOCKROOM"))
    ]
    story = Story().layout(zones=zones, opening_hours=HOURS).see("v", "00:00 ZONE_ENTER A", "10:00 ZONE_EXIT A")
    dead = lambda: [name for name in names(story) if "DEAD" in name]  # noqa: E731
    assert dead() == ["DEAD_ZONE B INFO"]
    story.see("w", "39:59 ZONE_ENTER NEW", "39:59 ENTRY")
    assert dead() == ["DEAD_ZONE B INFO"]
    story.see("w", "40:00 ENTRY")
    assert dead() == ["DEAD_ZONE A INFO", "DEAD_ZONE B INFO"]
    story.see("s", "40:00 ZONE_ENTER B", is_staff=True)
    assert dead() == ["DEAD_ZONE A INFO", "DEAD_ZONE B INFO"]
    story.see("w", "13:10:00 ENTRY")
    assert dead() == ["DEAD_ZONE A INFO", "DEAD_ZONE B INFO", "DEAD_ZONE NEW INFO"]
    assert names(story.see("w", "20:00:00 EXIT")) == []  # closed


def test_not_dead_before_half_an_hour_of_opening() -> None:
    zones = [{"zone_id": "A", "type": "SHELF"}]
    story = Story().layout(zones=zones, opening_hours=HOURS).see("v", "11:29:59 ENTRY")
    assert names(story) == []
    assert names(story.see("v", "11:30:00 ENTRY")) == ["DEAD_ZONE A INFO"]


def test_camera_down() -> None:
    story = Story().layout(cameras=[{"camera_id": "C"}, {"camera_id": "SILENT"}], opening_hours=HOURS)
    story.see("v", "11:10:00 ENTRY")
    assert names(story) == []  # ten minutes are not more than ten minutes
    assert names(story.see("v", "11:10:01 ENTRY")) == ["CAMERA_DOWN SILENT CRITICAL"]
    story.see("v", "11:20:02 ENTRY", camera_id="OTHER")
    assert names(story) == ["CAMERA_DOWN C CRITICAL", "CAMERA_DOWN SILENT CRITICAL"]


def test_what_cannot_be_read_changes_nothing() -> None:
    story = Story().see("v", "00:00 ENTRY")
    before = story.metrics()
    good = {"event_id": str(uuid.UUID(int=9**9)), "store_id": S, "camera_id": "C", "confidence": 1.0, "visitor_id": "x"}
    good |= {"timestamp": instant("00:00"), "event_type": "ENTRY"}
    bad = [
        {"dwell_ms": -1},
        {"timestamp": "2999-01-01T00:00:00Z"},
        {"timestamp": "1999-01-01T00:00:00Z"},
        {"visitor_id": "\0"},
    ]
    for change in bad:
        story.world.take("visit-events", orjson.dumps(good | change))
    story.world.take("visit-events", orjson.dumps(good)[:-5])
    assert (story.world.refused, story.metrics()) == (5, before)
    story.world.take("visit-events", orjson.dumps(good))
    assert story.metrics()["unique_visitors"] == 2
