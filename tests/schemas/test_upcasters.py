"""Older versions are read as the present one says it. No event has had a second version yet: these are made up here."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import pytest

from schemas import reading
from schemas.reading import Refusal, VisitFact
from schemas.upcasters import UPCASTERS, Upcaster

LATEST = 1_800_000_000_000
PRESENT = {
    "event_id": "550e8400-e29b-41d4-a716-446655440000", "store_id": "S", "camera_id": "C", "visitor_id": "V",
    "event_type": "ZONE_DWELL", "timestamp": "2026-03-03T14:22:10Z", "zone_id": "A", "dwell_ms": 30_000, "confidence": 0.9,
}  # fmt: skip


# In version 1 the dwell was told in seconds, in version 2 the zone was called area; version 3 is as things are.
def milliseconds(record: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in record.items() if name != "dwell_s"}
    return {**kept, "dwell_ms": record["dwell_s"] * 1000}


def zone(record: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in record.items() if name != "area"}
    return {**kept, "zone_id": record["area"]}


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


FIRST = {**without(PRESENT, "dwell_ms", "zone_id"), "dwell_s": 30, "area": "A"}
SECOND = {**without(PRESENT, "zone_id"), "area": "A", "schema_version": 2}
THIRD = {**PRESENT, "schema_version": 3}


class ThirdFact(VisitFact, kw_only=True):
    schema_version: Literal[3]  # type: ignore[assignment]


@pytest.fixture
def of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visit events as if two versions lay behind them."""
    monkeypatch.setitem(UPCASTERS, "VisitEvent", Upcaster((milliseconds, zone)))
    monkeypatch.setattr(reading, "_decode_visit", msgspec.json.Decoder(ThirdFact).decode)


def read(record: dict[str, Any]) -> Any:
    return reading.read_visit_event(json.dumps(record).encode(), LATEST)


def said(facts: list[VisitFact]) -> list[dict[str, Any]]:
    return [without(msgspec.structs.asdict(fact), "schema_version") for fact in facts]


@pytest.mark.parametrize(
    "record", [FIRST, {**FIRST, "schema_version": 1}, SECOND, THIRD], ids=["absent", "1", "2", "3"]
)
def test_every_version_is_one_fact(of_three: None, record: dict[str, Any]) -> None:
    facts = read(record)
    assert said(facts)[0] | {"metadata": b"{}"} == said(read(THIRD))[0] | {"metadata": b"{}"}
    assert (facts[0].zone_id, facts[0].dwell_ms) == ("A", 30_000)


def test_a_version_is_read_with_its_own_meaning_only(of_three: None) -> None:
    """What a later version calls otherwise is not taken from an earlier one."""
    assert isinstance(read({**FIRST, "schema_version": 3}), Refusal)


@pytest.mark.parametrize("version", [4, 0, -1, "1", None, 1.5, True])
def test_a_version_that_is_not_known_is_refused_by_name(of_three: None, version: Any) -> None:
    refusal = read({**THIRD, "schema_version": version})
    assert isinstance(refusal, Refusal)
    assert refusal.field == "schema_version"
    assert refusal.event_id == PRESENT["event_id"]


def test_today_every_event_is_of_version_1() -> None:
    assert {upcaster.present for upcaster in UPCASTERS.values()} == {1}
    assert said(read({**PRESENT, "schema_version": 1})) == said(read(PRESENT))


RECEIPT = {"store_id": "S", "transaction_id": "T", "timestamp": "2026-03-03T14:22:10Z", "basket_value": "1.50"}
LAYOUT = {"store_id": "S", "timestamp": "2026-03-03T14:22:10Z", "zones": [{"zone_id": "A", "type": "SHELF"}]}


@pytest.mark.parametrize(
    ("name", "reader", "record"),
    [
        ("VisitEvent", reading.read_visit_event, PRESENT),
        ("Transaction", reading.read_transaction, RECEIPT),
        ("StoreLayout", reading.read_layout, LAYOUT),
    ],
)
def test_what_is_newer_than_this_program_waits_in_the_dead_letters(
    name: str, reader: Any, record: dict[str, Any]
) -> None:
    assert not isinstance(reader(json.dumps(record).encode(), LATEST), Refusal)
    refusal = reader(json.dumps({**record, "schema_version": 2}).encode(), LATEST)
    assert isinstance(refusal, Refusal)
    assert refusal.field == "schema_version"
    assert "upgrade" in refusal.reason


def test_a_stored_layout_of_an_older_version_is_brought_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(old: dict[str, Any]) -> dict[str, Any]:
        return {**without(old, "areas"), "zones": old["areas"]}

    old = json.dumps({**without(LAYOUT, "zones"), "areas": LAYOUT["zones"]})
    expected = reading.stored_layout(json.dumps(LAYOUT))
    monkeypatch.setitem(UPCASTERS, "StoreLayout", Upcaster((step,)))
    assert reading.stored_layout(old) == expected
    assert reading.read_layout(old.encode(), LATEST) == expected
    assert reading.stored_layout(json.dumps({**LAYOUT, "schema_version": 2})) == expected
    with pytest.raises(ValueError, match="schema_version is 3"):
        reading.stored_layout(json.dumps({**LAYOUT, "schema_version": 3}))


def test_a_step_leaves_the_record_alone() -> None:
    record = dict(FIRST)
    found = Upcaster((milliseconds, zone)).upcast(record)
    assert record == FIRST
    assert found == {**THIRD}
