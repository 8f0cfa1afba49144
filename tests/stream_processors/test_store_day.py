"""A store's day, fed as the worker feeds it: in any order, cut anywhere, killed between any two inserts, it ends the
same.

``Shop`` below does with dictionaries what ``stream_processors.derivation`` does with ClickHouse: facts are stored
first, then derived rows are inserted table by table, and a table keeps the row of the highest version.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producers.simulator.answers import World
from schemas.events import StoreLayout
from schemas.layouts import StoreCalendar
from schemas.reading import VisitFact
from schemas.topics import STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS
from stream_processors import store_day
from stream_processors.conversion import Receipt
from stream_processors.engine.sink import encode_rows
from stream_processors.store_day import (
    DAY_FIGURE_COLUMNS,
    NO_FIGURES,
    QUEUE_DEPTH_COLUMNS,
    VISIT_COLUMNS,
    ZONE_VISIT_COLUMNS,
    DerivedRows,
    Payment,
    StoreDay,
    Written,
    WrittenVisit,
)
from tests.stream_processors.facts import DAY, DAY_START, story, visit_fact

Row = dict[str, Any]
DAY_END = DAY_START + 86_400_000
NO_LAYOUT = StoreCalendar("S")
LAYOUT_OF_S = StoreLayout.model_validate_json(
    '{"store_id": "S", "timestamp": "2026-01-01T00:00:00Z", "zones": [{"zone_id": "A", "type": "BILLING"},'
    '{"zone_id": "CASH", "type": "SHELF"}]}'
)
LAYOUT = StoreCalendar("S", LAYOUT_OF_S)


class Table:
    """ReplacingMergeTree(version, is_deleted): the highest version of a key holds, among equals the last inserted."""

    def __init__(self, columns: Sequence[str], key: Sequence[str]) -> None:
        self._columns, self._key = columns, key
        self._rows: dict[tuple[Any, ...], Row] = {}

    def insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        for values in rows:
            row = dict(zip(self._columns, values, strict=True))
            key = tuple(row[name] for name in self._key)
            if key not in self._rows or row["version"] >= self._rows[key]["version"]:
                self._rows[key] = row

    def final(self) -> list[Row]:
        return sorted(
            (row for row in self._rows.values() if not row["is_deleted"]),
            key=lambda row: [row[name] for name in self._key],
        )

    def with_deleted(self) -> list[Row]:
        return list(self._rows.values())


class Shop:
    """The tables of one store and day, and the worker that keeps them."""

    def __init__(self) -> None:
        self.events: dict[str, VisitFact] = {}
        self.receipts: dict[str, Receipt] = {}
        self.zone_visits = Table(ZONE_VISIT_COLUMNS, ("visitor_id", "ordinal"))
        self.queue_depth = Table(QUEUE_DEPTH_COLUMNS, ("timestamp",))
        self.visits = Table(VISIT_COLUMNS, ("visitor_id",))
        self.day_figures = Table(DAY_FIGURE_COLUMNS, ("store_id", "business_day"))
        self.day: StoreDay | None = None

    def cycle(
        self, calendar: StoreCalendar, events: Iterable[VisitFact], receipts: Iterable[Receipt], inserts: int = 4
    ) -> None:
        """One cycle of the worker; it is killed after so many of the four inserts of derived rows."""
        new, repeated = [], set()
        for fact in events:
            if fact.event_id in self.events:
                repeated.add(self.events[fact.event_id].visitor_id)
            else:
                new.append(fact)
                self.events[fact.event_id] = fact
        for receipt in receipts:
            self.receipts.setdefault(receipt[1], receipt)
        if self.day is None or self.day.calendar is not calendar:
            self.day = StoreDay(calendar, DAY)
            paid = map(payment, filter(self._wanted, self.receipts.values()))
            self.day.restore(self.events.values(), paid, self.written())
        else:
            for fact in new:
                self.day.take(fact)
            self.day.late |= repeated
            for receipt in receipts:
                if self._wanted(self.receipts[receipt[1]]):
                    self.day.add_receipt(payment(self.receipts[receipt[1]]))
            for visitor_id in list(self.day.late):
                self.day.replace(visitor_id, [fact for fact in self.events.values() if fact.visitor_id == visitor_id])
        rows = self.day.settle()
        tables = (self.zone_visits, self.queue_depth, self.day_figures, self.visits)
        for _, table, made in zip(range(inserts), tables, _in_order(rows), strict=False):
            table.insert(made)
        if inserts < 4:
            self.day = None

    def _wanted(self, receipt: Receipt) -> bool:
        return StoreDay(NO_LAYOUT, DAY).wants(receipt[0])

    def written(self) -> Written:
        """What the history reads back."""
        zone_rows: dict[str, int] = {}
        for row in self.zone_visits.with_deleted():
            zone_rows[row["visitor_id"]] = max(zone_rows.get(row["visitor_id"], 0), row["ordinal"] + 1)
        return Written(
            visits={
                row["visitor_id"]: WrittenVisit(
                    *(
                        row["events"],
                        row["is_staff"],
                        row["purchased"],
                        row["attributed_transaction_id"],
                        _ms(row["layout_at"]),
                        row["rules"],
                    )
                )
                for row in self.visits.final()
            },
            zone_rows=zone_rows,
            queue_depth={_ms(row["timestamp"]): row["depth"] for row in self.queue_depth.final()},
            **{
                name: value
                for row in self.day_figures.final()
                for name, value in (("figures", tuple(row.values())[2:-2]), ("figures_version", row["version"]))
            },
        )

    def tables(self) -> list[list[Row]]:
        """All that a reader of the tables sees, but for versions."""
        return [
            [{name: value for name, value in row.items() if name != "version"} for row in table.final()]
            for table in (self.visits, self.zone_visits, self.queue_depth, self.day_figures)
        ]


def _in_order(rows: DerivedRows) -> tuple[list[tuple[Any, ...]], ...]:
    return rows.zone_visits, rows.queue_depth, rows.day_figures, rows.visits


def payment(receipt: Receipt) -> Payment:
    """A receipt with what was paid: some amount that goes with its name."""
    drawn = zlib.crc32(receipt[1].encode())
    return Payment(receipt, Decimal(drawn % 100_000) / 100 - 20, ("", "INR")[drawn % 2])


def _ms(clickhouse: str) -> int:
    return round(float(clickhouse) * 1000)


def at_once(calendar: StoreCalendar, events: Iterable[VisitFact], receipts: Iterable[Receipt]) -> list[list[Row]]:
    """The tables that a set of facts makes, derived in one go."""
    shop = Shop()
    shop.cycle(calendar, events, receipts)
    return shop.tables()


def of_the_oracle(calendar: StoreCalendar, events: Iterable[VisitFact], receipts: Iterable[Receipt]) -> list[Any]:
    """The day's answers by the implementation that shares no code with the workers."""
    world = World(DAY_END + 86_400_000)
    if calendar.layout is not None:
        world.take(STORE_LAYOUTS.name, calendar.layout.model_dump_json().encode())
    for fact in events:
        record = {
            **{
                name: getattr(fact, name)
                for name in ("event_id", "store_id", "camera_id", "visitor_id", "event_type", "timestamp")
            },
            **{name: getattr(fact, name) for name in ("zone_id", "dwell_ms", "is_staff", "confidence")},
            "metadata": {"queue_depth": fact.queue_depth, "session_seq": fact.key[1]},
        }
        world.take(VISIT_EVENTS.name, orjson.dumps(record))
    for moment, name in receipts:
        record = {"store_id": "S", "transaction_id": name, "timestamp": f"{_iso(moment)}", "basket_value": 1}
        world.take(TRANSACTIONS.name, orjson.dumps(record))
    assert world.refused == 0
    metrics = world.metrics("S", DAY)
    for name in ("transactions", "revenue", "currency"):
        del metrics[name]
    depths: dict[int, int] = dict(world.day("S", DAY).depths())
    return [metrics, world.funnel("S", DAY), world.heatmap("S", DAY), depths]


def _iso(moment: int) -> str:
    from datetime import UTC, datetime

    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment)).isoformat()


def of_the_tables(tables: list[list[Row]], moments: Iterable[int]) -> list[Any]:
    """The same answers from the tables, as the API's queries count them."""
    visits, stays, depths, _ = tables
    people = [row for row in visits if not row["is_staff"]]
    visitors = [row for row in people if row["is_visitor"]]
    joined = [row for row in people if row["joined_queue"]]

    def share(part: int, whole: int) -> float:
        return (2 * 10_000 * part + whole) // (2 * whole) / 10_000 if whole else 0.0

    def mean(values: list[int]) -> int:
        return (2 * sum(values) + len(values)) // (2 * len(values)) if values else 0

    by_zone: dict[str, list[int]] = {}
    for stay in stays:
        if not stay["is_staff"]:
            by_zone.setdefault(stay["zone_id"], []).append(stay["dwell_ms"])
    busiest = max(map(len, by_zone.values()), default=0)
    metrics = {
        "unique_visitors": len(visitors),
        "conversion_rate": share(sum(row["purchased"] for row in visitors), len(visitors)),
        "avg_dwell_ms": mean([dwell for dwells in by_zone.values() for dwell in dwells]),
        "queue_depth_current": depths[-1]["depth"] if depths else 0,
        "abandonment_rate": share(sum(row["abandoned_queue"] for row in joined), len(joined)),
        "staff_visits": len(visits) - len(people),
        "unmatched_visitors": len(people) - len(visitors),
        "attributed_conversion_rate": share(
            sum(bool(row["attributed_transaction_id"]) for row in visitors), len(visitors)
        ),
    }
    funnel = {
        "entry": len(visitors),
        "zone_visit": sum(row["zone_visits"] > 0 or row["has_billing_presence"] for row in visitors),
        "billing_queue": sum(row["has_billing_presence"] for row in visitors),
        "purchased": sum(row["purchased"] for row in visitors),
    }
    heatmap = {
        zone: {
            "frequency": len(dwells),
            "avg_dwell_ms": mean(dwells),
            "normalized": (200 * len(dwells) + busiest) // (2 * busiest),
            "data_confidence": "LOW" if len(dwells) < 20 else "HIGH",
        }
        for zone, dwells in by_zone.items()
    }
    course = {_ms(row["timestamp"]): row["depth"] for row in depths}
    at_moments, depth = {}, 0
    for moment in sorted({*moments, *course}):
        depth = course.get(moment, depth)
        at_moments[moment] = depth
    return [metrics, funnel, heatmap, {moment: at_moments[moment] for moment in moments}]


def counted(tables: list[list[Row]], receipts: Iterable[Receipt]) -> tuple[Any, ...]:
    """The figures of the day, counted from the rows that they follow from."""
    visits, stays, depths, _ = tables
    people = [row for row in visits if not row["is_staff"]]
    visitors = [row for row in people if row["is_visitor"]]
    zones = {
        zone_id: [stay["dwell_ms"] for stay in stays if stay["zone_id"] == zone_id and not stay["is_staff"]]
        for zone_id in sorted({stay["zone_id"] for stay in stays if not stay["is_staff"]})
    }
    paid = [payment(receipt) for receipt in receipts if receipt[0] < DAY_END]
    number = Counter(one.currency for one in paid)
    return (
        len(visitors),
        len(people) - len(visitors),
        len(visits) - len(people),
        sum(bool(row["zone_visits"] or row["has_billing_presence"]) for row in visitors),
        sum(row["has_billing_presence"] for row in visitors),
        sum(row["purchased"] for row in visitors),
        sum(bool(row["attributed_transaction_id"]) for row in visitors),
        sum(row["joined_queue"] for row in people),
        sum(row["abandoned_queue"] for row in people),
        list(zones),
        [len(dwells) for dwells in zones.values()],
        [sum(dwells) for dwells in zones.values()],
        sorted(number),
        [number[currency] for currency in sorted(number)],
        [sum(one.value for one in paid if one.currency == currency) for currency in sorted(number)],
        depths[-1]["depth"] if depths else 0,
    )


# Few moments, people and zones, close to the end of the day, so that rules meet.
MOMENTS = st.integers(1, 12).map(lambda n: DAY_END - n * 60_000)
COMMON = {
    "visitor": st.sampled_from("VWX"),
    "dwell": st.sampled_from((0, 0, 30_000, 240_000)),
    "staff": st.sampled_from((False,) * 12 + (True,)),
    "depth": st.sampled_from((None, None, None, 0, 2, 5)),
    "seq": st.integers(0, 1),
}
CAMERAS = st.sampled_from(("C1", "C2"))
EVENTS = st.builds(
    visit_fact,
    MOMENTS,
    st.sampled_from(("ENTRY", "EXIT", "REENTRY", "BILLING_QUEUE_JOIN", "BILLING_QUEUE_JOIN", "BILLING_QUEUE_ABANDON")),
    st.sampled_from((None, "CASH", "A")),
    CAMERAS,
    **COMMON,
) | st.builds(
    visit_fact,
    MOMENTS,
    st.sampled_from(("ZONE_ENTER", "ZONE_EXIT", "ZONE_DWELL")),
    st.sampled_from(("CASH", "QUEUE", "A", "B")),
    CAMERAS,
    **COMMON,
)
PAYMENTS = st.integers(-6, 12).map(lambda n: DAY_END - n * 60_000)
RECEIPTS = st.lists(
    st.tuples(PAYMENTS, st.sampled_from(("T1", "T2", "T3", "T4"))), unique_by=lambda receipt: receipt[1], max_size=4
)
FEW = st.lists(EVENTS, max_size=6, unique_by=lambda fact: fact.event_id)
MANY = st.lists(EVENTS, min_size=8, max_size=16, unique_by=lambda fact: fact.event_id)
DAYS = st.tuples(FEW | MANY, RECEIPTS)
CALENDARS = st.sampled_from((NO_LAYOUT, LAYOUT))


@settings(max_examples=600)
@given(DAYS, CALENDARS)
def test_the_two_implementations_agree(day: tuple[list[VisitFact], list[Receipt]], calendar: StoreCalendar) -> None:
    events, receipts = day
    expected = of_the_oracle(calendar, events, receipts)
    tables = at_once(calendar, events, receipts)
    assert of_the_tables(tables, expected[3]) == expected
    figures = tuple(tables[3][0].values())[2:-1] if tables[3] else NO_FIGURES
    assert figures == counted(tables, receipts)


@settings(max_examples=1000)
@given(DAYS, CALENDARS, st.randoms(use_true_random=False), st.data())
def test_any_order_any_repetition_any_cut_any_crash(
    day: tuple[list[VisitFact], list[Receipt]], calendar: StoreCalendar, chance: random.Random, data: st.DataObject
) -> None:
    facts: list[tuple[str, Any]] = [
        *(("event", fact) for fact in day[0]),
        *(("receipt", receipt) for receipt in day[1]),
    ]
    log = facts + chance.sample(facts, len(facts) // 3)
    chance.shuffle(log)
    shop = Shop()
    place = 0
    # Much of what can go wrong in memory is mended by the next crash: half of the runs have none.
    ends = st.sampled_from((4, 4, 4, 0, 1, 2, 3) if data.draw(st.booleans(), label="crashes") else (4,))
    while place < len(log):
        size = data.draw(st.integers(1, 6), label="records")
        batch = log[place : place + size]
        inserts = data.draw(ends, label="inserts before it is killed")
        shop.cycle(calendar, *_parted(batch), inserts=inserts)
        if inserts == 4:
            place += size
        # Else nothing was acknowledged: the same records come again, cut elsewhere.
    assert shop.tables() == at_once(calendar, *day)


@settings(max_examples=200)
@given(DAYS, DAYS, st.integers(0, 4), st.integers(0, 4))
@example((story("23:50 ZONE_EXIT A; 23:51 ZONE_EXIT A"), []), ([], []), 4, 1)
def test_a_layout_that_comes_after_the_events(
    day: tuple[list[VisitFact], list[Receipt]], more: tuple[list[VisitFact], list[Receipt]], before: int, after: int
) -> None:
    shop = Shop()
    shop.cycle(NO_LAYOUT, *day, inserts=before)
    shop.cycle(LAYOUT, [], [], inserts=after)
    shop.cycle(LAYOUT, *more)
    shop.cycle(LAYOUT, *day)
    receipts = {name: (moment, name) for moment, name in [*more[1], *day[1]]}
    receipts |= {name: (moment, name) for moment, name in day[1]}
    assert shop.tables() == at_once(LAYOUT, [*day[0], *more[0]], receipts.values())


class OldRules(StoreCalendar):
    """The rules of another version, in which people pay somewhere else."""

    def is_billing(self, zone_id: str) -> bool:
        return zone_id == "A"


@settings(max_examples=200)
@given(DAYS)
def test_a_day_of_an_older_version_of_the_rules_is_derived_anew_when_it_is_opened(
    day: tuple[list[VisitFact], list[Receipt]],
) -> None:
    shop = Shop()
    with pytest.MonkeyPatch.context() as old:
        old.setattr(store_day, "RULES", store_day.RULES - 1)
        shop.cycle(OldRules("S"), *day)
    shop.cycle(NO_LAYOUT, [], [])
    assert shop.tables() == at_once(NO_LAYOUT, *day)
    restored = StoreDay(NO_LAYOUT, DAY)
    restored.restore(shop.events.values(), map(payment, shop.receipts.values()), shop.written())
    assert _in_order(restored.settle()) == ([], [], [], [])


@settings(max_examples=200)
@given(DAYS)
def test_a_worker_that_lost_the_day_cannot_undo_what_the_next_one_wrote(
    day: tuple[list[VisitFact], list[Receipt]],
) -> None:
    """The first worker derived a part of the facts, and writes it after the second has derived them all."""
    slow = Shop()
    slow.cycle(NO_LAYOUT, day[0][: len(day[0]) // 2], [])
    late_rows = [table.with_deleted() for table in (slow.zone_visits, slow.queue_depth, slow.day_figures, slow.visits)]
    shop = Shop()
    shop.cycle(NO_LAYOUT, *day)
    expected = shop.visits.final(), shop.day_figures.final()
    tables = (shop.zone_visits, shop.queue_depth, shop.day_figures, shop.visits)
    for table, rows in zip(tables, late_rows, strict=True):
        table.insert(tuple(row.values()) for row in rows)
    assert (shop.visits.final(), shop.day_figures.final()) == expected


def test_an_earlier_visit_takes_the_claim_of_another() -> None:
    first, second = story("23:52 BILLING_QUEUE_JOIN visitor=W"), story("23:51 BILLING_QUEUE_JOIN visitor=V")
    paid = [(first[0].at + 60_000, "T")]
    shop = Shop()
    shop.cycle(NO_LAYOUT, first, paid)
    shop.cycle(NO_LAYOUT, second, [])
    assert {row["visitor_id"]: row["attributed_transaction_id"] for row in shop.visits.final()} == {"V": "T", "W": ""}


def test_a_day_that_a_layout_empties_has_no_figures_until_something_counts_again() -> None:
    """Before the layout tells the time zone its days are those of UTC."""
    facts = story("23:30 ENTRY visitor=A")
    east = StoreCalendar("S", LAYOUT_OF_S.model_copy(update={"timezone": "Asia/Kolkata"}))
    shop = Shop()
    shop.cycle(NO_LAYOUT, facts, [])
    shop.day = StoreDay(east, DAY)
    shop.day.restore([], [], shop.written())
    rows = shop.day.settle()
    shop.visits.insert(rows.visits)
    shop.day_figures.insert(rows.day_figures)
    assert (shop.visits.final(), shop.day_figures.final()) == ([], [])
    shop.cycle(east, story("10:00 ENTRY visitor=B"), [])
    assert [row["unique_visitors"] for row in shop.day_figures.final()] == [1]


def test_a_late_event_that_makes_fewer_zone_visits_takes_rows_away() -> None:
    facts = story("10:00 ZONE_ENTER A@C1; 10:02 ZONE_ENTER B@C1; 10:03 ZONE_DWELL A@C2; 10:04 ZONE_EXIT B@C1")
    late = story("10:01 ZONE_DWELL A@C2")
    shop = Shop()
    shop.cycle(NO_LAYOUT, facts, [])
    assert [row["zone_id"] for row in shop.zone_visits.final()] == ["A", "B", "A"]
    shop.cycle(NO_LAYOUT, late, [])
    assert [row["zone_id"] for row in shop.zone_visits.final()] == ["A", "B"]


def test_nothing_new_is_nothing_written() -> None:
    facts = story("10:00 ENTRY; 10:01 ZONE_ENTER CASH; 10:02 BILLING_QUEUE_JOIN CASH; 10:03 ZONE_EXIT CASH; 10:04 EXIT")
    shop = Shop()
    shop.cycle(NO_LAYOUT, facts, [(facts[3].at, "T")])
    restored = StoreDay(NO_LAYOUT, DAY)
    restored.restore(facts, [payment((facts[3].at, "T"))], shop.written())
    assert _in_order(restored.settle()) == ([], [], [], [])


def test_a_day_whose_facts_have_expired_has_no_figures_until_it_is_counted() -> None:
    facts = story("10:00 ENTRY visitor=A; 10:01 ZONE_ENTER X visitor=A; 10:00 ENTRY visitor=B")
    shop = Shop()
    shop.cycle(NO_LAYOUT, facts, [])
    (written,) = shop.day_figures.final()
    # Only one event is left when a late one opens the day again.
    day = StoreDay(NO_LAYOUT, DAY, kept_since=DAY + timedelta(days=1))
    day.restore([facts[2], *story("10:07 EXIT visitor=B")], [], shop.written())
    rows = day.settle().day_figures
    assert [row[-2:] for row in rows] == [(written["version"], 1)]
    shop.day_figures.insert(rows)
    assert shop.day_figures.final() == []
    for fact in story("10:09 ENTRY visitor=C"):
        day.take(fact)
    assert day.settle().day_figures == []


def test_visits_of_an_older_layout_whose_events_have_expired_stay() -> None:
    """The layout changed after they had; days with expired facts are not derived anew by it."""
    facts = story("10:00 ENTRY visitor=A; 10:00 ENTRY visitor=B")
    shop = Shop()
    shop.cycle(NO_LAYOUT, facts, [])
    day = StoreDay(LAYOUT, DAY, kept_since=DAY + timedelta(days=1))
    day.restore(story("10:07 ENTRY visitor=C"), [], shop.written())
    rows = day.settle()
    assert [(row[2], row[-1]) for row in rows.visits] == [("C", 0)]
    assert [row[-1] for row in rows.day_figures] == [1]


def test_an_old_day_with_all_of_its_facts_keeps_its_figures() -> None:
    facts = story("10:00 ENTRY visitor=A; 10:00 ENTRY visitor=B")
    shop = Shop()
    shop.cycle(NO_LAYOUT, facts, [])
    day = StoreDay(NO_LAYOUT, DAY, kept_since=DAY + timedelta(days=1))
    day.restore([*facts, *story("10:07 ENTRY visitor=C")], [], shop.written())
    assert [row[2] for row in day.settle().day_figures] == [3]


def test_only_what_changed_is_written() -> None:
    shop = Shop()
    shop.cycle(NO_LAYOUT, story("10:00 ENTRY visitor=A; 10:01 ZONE_ENTER X visitor=A; 10:00 ENTRY visitor=B"), [])
    assert shop.day is not None
    for fact in story("10:05 ZONE_ENTER Y@C2 visitor=A"):
        shop.day.take(fact)
    rows = shop.day.settle()
    assert [row[2] for row in rows.visits] == ["A"]
    assert [(row[2], row[3], row[4]) for row in rows.zone_visits] == [("A", 1, "Y")]
    assert rows.queue_depth == []


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_is_written_exact_to_the_millisecond(moment: int) -> None:
    written = Decimal(encode_rows([[moment / 1000]]).strip().strip(b"[]").decode())
    assert written * 1000 == moment


def _parted(batch: Iterable[tuple[str, Any]]) -> tuple[list[VisitFact], list[Receipt]]:
    events, receipts = [], []
    for kind, fact in batch:
        (events if kind == "event" else receipts).append(fact)
    return events, receipts
