"""The benchmarks' traffic: every record is readable, and the shares are those that are said."""

from __future__ import annotations

import itertools
from collections import Counter

from benchmarks._load import Traffic, store_names
from benchmarks.freshness import Phase
from schemas.reading import Refusal, VisitFact, read_transaction, read_visit_event
from schemas.topics import VISIT_EVENTS

START_MS = 1_772_445_600_000


def test_every_record_is_a_fact_and_some_come_twice_or_late() -> None:
    records = Traffic(store_names(20), 1, START_MS, 1_000).take(20_000)
    facts: list[VisitFact] = []
    receipts = 0
    for topic, key, value in records:
        if topic == VISIT_EVENTS.name:
            found = read_visit_event(value, START_MS + 60_000)
            assert not isinstance(found, Refusal) and found[0].store_id == key
            facts += found
        else:
            receipt = read_transaction(value, START_MS + 60_000)
            assert not isinstance(receipt, Refusal) and receipt.store_id == key
            receipts += 1
    ids = Counter(fact.event_id for fact in facts)
    assert 80 <= sum(count - 1 for count in ids.values()) <= 100
    assert sum(later.at < earlier.at for earlier, later in itertools.pairwise(facts)) >= 80
    assert {fact.event_type for fact in facts} >= {"BILLING_QUEUE_JOIN", "BILLING_QUEUE_ABANDON", "ZONE_DWELL", "EXIT"}
    assert 0.03 < receipts / len(records) < 0.06
    assert records == Traffic(store_names(20), 1, START_MS, 1_000).take(20_000)


def test_the_loud_shop_makes_half_of_it() -> None:
    keys = Counter(key for _, key, _ in Traffic(store_names(10), 1, START_MS, 1_000, loud="LOUD").take(4_000))
    assert 0.48 < keys["LOUD"] / keys.total() < 0.52


def test_a_rate_is_sustained_only_if_the_lag_stays_and_the_sender_kept_its_pace() -> None:
    def phase(lag: list[int], sent: float) -> Phase:
        return Phase("", 1_000, [0.1], 0, [0.01], 0, [(second, each) for second, each in enumerate(lag)], 0.0, sent)

    assert phase([200, 220, 190, 210], 1_000).is_sustained
    assert not phase([200, 700, 1_200, 1_700], 1_000).is_sustained
    assert not phase([200, 220, 190, 210], 900).is_sustained
    assert not phase([9_000, 9_000, 9_000, 9_000], 1_000).is_sustained
