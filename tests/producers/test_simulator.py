"""The simulator: the same seed gives the same bytes, what it sends keeps the contract, and queues follow from
service.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random

import orjson
import pytest

from producers.simulator import faults as faulty
from producers.simulator.faults import NO_FAULTS, Faults, malform
from producers.simulator.files import LAYOUTS_MADE, true_answers, write
from producers.simulator.shops import Shop, layouts, make_shops
from producers.simulator.stream import stream
from producers.simulator.traffic import Fact, Rush, facts
from schemas.dialects import translate
from schemas.events import StoreLayout, VisitEvent
from schemas.reading import Refusal, read_transaction, read_visit_event

DAYS = [date(2026, 3, 2), date(2026, 3, 3)]
LATEST_MS = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
SHOPS = make_shops(5, 7)


def event_type(fact: Fact) -> str:
    record = orjson.loads(fact.value)
    return str(record.get("event_type", "transaction"))


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again, other = (list(stream(SHOPS[:2], DAYS, seed, faults=Faults())) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_sending_order_and_days_do_not_depend_on_each_other() -> None:
    both = list(stream(SHOPS[:2], DAYS, 7))
    assert [message.at_ms for message in both] == sorted(message.at_ms for message in both)
    apart = [message for day in DAYS for shop in SHOPS[:2] for message in stream([shop], [day], 7)]
    assert sorted(both) == sorted(apart)


@pytest.mark.parametrize("shop", SHOPS, ids=lambda shop: shop.store_id)
def test_every_good_record_is_readable(shop: Shop) -> None:
    for message in stream([shop], DAYS[:1], 7):
        read = read_transaction if message.topic == "transactions" else read_visit_event
        assert not isinstance(read(message.value, LATEST_MS), Refusal), message.value


def test_some_shops_speak_the_other_dialect() -> None:
    (shop,) = (shop for shop in SHOPS if shop.dialect)
    kinds = Counter(map(event_type, facts(shop, DAYS[0], 7)))
    assert {"entry", "exit", "zone_entered", "zone_exited", "queue_completed"} <= kinds.keys()


@pytest.mark.parametrize("shop", SHOPS, ids=lambda shop: shop.store_id)
def test_no_malformed_record_is_readable(shop: Shop) -> None:
    day = facts(shop, DAYS[0], 7)
    sample = Random(1).sample(day, 20) + [fact for fact in day if fact.topic == "transactions"][:5]
    for fact in sample:
        read = read_transaction if fact.topic == "transactions" else read_visit_event
        for way in faulty._WAYS:
            spoilt = way(fact.value, Random(2))
            assert isinstance(read(spoilt, LATEST_MS), Refusal), spoilt[:300]
            assert b"\n" not in spoilt
    assert malform(sample[0].value, Random(3)) != sample[0].value


def test_layouts_describe_the_shops() -> None:
    shops = make_shops(10, 7)
    known = dict(layouts(shops, LAYOUTS_MADE))
    assert set(known) == {shop.store_id for shop in shops[:9]}
    layout = StoreLayout.model_validate_json(known[shops[0].store_id])
    assert layout.time_zone == shops[0].time_zone
    assert {camera.camera_id for camera in layout.cameras} == set(shops[0].cameras)
    assert {zone.zone_id for zone in layout.zones if zone.type == "BILLING"} == {shops[0].billing}


def test_gtins_have_their_check_digit() -> None:
    for product in SHOPS[0].products:
        digits = [int(digit) for digit in product.gtin]
        assert len(digits) == 13
        assert sum(digit * (3 if place % 2 else 1) for place, digit in enumerate(digits)) % 10 == 0


def test_baskets_are_the_sum_of_their_lines() -> None:
    receipts = [orjson.loads(fact.value) for fact in facts(SHOPS[0], DAYS[0], 7) if fact.topic == "transactions"]
    assert len(receipts) > 20
    for receipt in receipts:
        if receipt["lines"]:
            total = sum(Decimal(line["unit_price"]) * line["quantity"] for line in receipt["lines"])
            assert Decimal(receipt["basket_value"]) == total
    assert any(not receipt["lines"] for receipt in receipts)


def test_buyers_were_at_the_till() -> None:
    """Receipts follow from visits: nearly every one has somebody in the billing zone within the five minutes before."""
    events = [VisitEvent.model_validate_json(f.value) for f in facts(SHOPS[0], DAYS[0], 7) if f.topic == "visit-events"]
    left = sorted(
        e.timestamp for e in events if e.event_type == "ZONE_EXIT" and e.zone_id == "BILLING" and not e.is_staff
    )
    paid = sorted(
        datetime.fromisoformat(orjson.loads(f.value)["timestamp"])
        for f in facts(SHOPS[0], DAYS[0], 7)
        if f.topic == "transactions"
    )
    matched = sum(any(0 <= (end - at).total_seconds() < 300 for end in left) for at in paid)
    assert matched / len(paid) > 0.95


def test_queues_follow_from_the_tills_that_are_open() -> None:
    """Eight times the people give up waiting at the same tills, and do not where there are eight times the tills."""
    shop = SHOPS[1]
    opens = shop.open_between(DAYS[0])[0]

    def abandoned(more_tills: int) -> float:
        busy = replace(shop, groups_per_hour=shop.groups_per_hour * 8, tills=shop.tills * more_tills)
        kinds = Counter(map(event_type, facts(busy, DAYS[0], 7)))
        return kinds["BILLING_QUEUE_ABANDON"] / max(1, kinds["transaction"])

    assert abandoned(1) > 0.25
    assert abandoned(8) < 0.01
    rushed = Counter(map(event_type, facts(shop, DAYS[0], 7, rush=Rush(opens, 6, 6))))
    assert rushed["ENTRY"] > 3 * Counter(map(event_type, facts(shop, DAYS[0], 7)))["ENTRY"]


def test_a_rush_changes_nothing_before_it() -> None:
    noon = SHOPS[0].open_between(DAYS[0])[0] + 3 * 3_600_000
    day = facts(SHOPS[0], DAYS[0], 7, rush=Rush(noon, 4, 4), until_ms=noon + 600_000)
    entered = [fact.at_ms for fact in day if event_type(fact) == "ENTRY"]
    assert max(entered) < noon + 600_000 + 60_000
    assert sum(at >= noon for at in entered) > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", Faults()),
        ("none", NO_FAULTS),
        ("late=0.5", Faults(0, 0, 0.5, 0, 0, 0)),
        ("late", Faults(0, 0, 0.02, 0, 0, 0)),
    ],
)
def test_faults_by_name(text: str, expected: Faults) -> None:
    assert Faults.parse(text) == expected


@pytest.mark.parametrize("text", ["storm", "late=2", "late=-0.1", "late=often", ""])
def test_faults_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Faults.parse(text)


def test_faults_happen_and_lose_nothing_but_a_dead_camera() -> None:
    plain = {message.value for message in stream(SHOPS, DAYS, 7)}
    sent = list(stream(SHOPS, DAYS, 7, faults=Faults(dead_camera=0)))
    assert plain <= {message.value for message in sent}
    values = Counter(message.value for message in sent)
    assert sum(count > 1 for count in values.values()) > 100
    assert len(set(values) - plain) > 50
    died = {message.value for message in stream(SHOPS[:1], DAYS[:1], 7, faults=Faults(0, 0, 0, 0, 0, dead_camera=1))}
    whole = {message.value for message in stream(SHOPS[:1], DAYS[:1], 7)}
    assert died < whole
    assert len({orjson.loads(value)["camera_id"] for value in whole - died}) == 1


def test_faults_change_no_answer_but_by_design() -> None:
    """Shuffled, late, repeated and accompanied by unreadable records, the same facts give the same answers."""
    stores = [shop.store_id for shop in SHOPS[:3]]
    shaken = Faults(duplicates=0.2, changed=0, late=0.2, shuffled=0.2, malformed=0.05, dead_camera=0)
    plain, sent = (
        orjson.loads(true_answers(((m.topic, m.value) for m in stream(SHOPS[:3], DAYS, 7, faults=faults)), stores))
        for faults in (NO_FAULTS, shaken)
    )
    assert plain["stores"] == sent["stores"]
    assert (plain["refused"], plain["duplicates"]) == (0, 0)
    assert min(sent["refused"], sent["duplicates"]) > 100


def test_files(tmp_path: Path) -> None:
    out = tmp_path / "simulated"
    wrote = write(out, 2, DAYS[:1], 7, Faults())
    lines = {name: (out / f"{name}.jsonl").read_bytes().count(b"\n") for name in ("events", "transactions", "layouts")}
    assert lines == {"events": wrote.events, "transactions": wrote.transactions, "layouts": 2}
    answers = orjson.loads((out / "answers.json").read_bytes())
    assert answers["stores"]["ST1001"]["days"]["2026-03-02"]["metrics"]["unique_visitors"] > 50


def test_changed_records_keep_their_id() -> None:
    for fact in facts(SHOPS[0], DAYS[0], 7)[:50]:
        before, after = orjson.loads(fact.value), orjson.loads(faulty._changed(fact.value, Random(1)))
        if "event_id" in before:
            assert before["event_id"].lower() == after["event_id"].lower()
            assert before != after
    dialect = next(shop for shop in SHOPS if shop.dialect)
    queues = [fact.value for fact in facts(dialect, DAYS[0], 7) if b"queue_event_id" in fact.value]
    for value in queues:
        first, second = (translate(orjson.loads(v)) or [] for v in (value, faulty._changed(value, Random(1))))
        assert [event["event_id"] for event in first] == [event["event_id"] for event in second]
        assert first != second
