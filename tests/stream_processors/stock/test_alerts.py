"""What is told of a shop's stock, in which words, and when no more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Severity
from schemas.layouts import StoreCalendar
from stream_processors.anomalies import OpenAnomaly, follow
from stream_processors.stock.alerts import CLOSES_AT, MOST, OPENS_AT, AtRisk, Negative, detect

SHOP = StoreCalendar("S")
MILK = AtRisk("MILK", 6, 0, 14.2, 8.4, 0.4, 0.62, 1_772_560_800_000, 24, 2, "FARM")


def told(held: Severity | None, **changes: Any) -> list[tuple[str, str]]:
    known = [("MILK", held)] if held else []
    return [(one.type, one.severity) for one in detect(SHOP, [], [MILK._replace(**changes)], [], known)]


NOTE, WARNING = [("STOCKOUT_RISK", "INFO")], [("STOCKOUT_RISK", "WARN")]


@pytest.mark.parametrize(
    ("held", "changes", "found"),
    [
        (None, {}, NOTE),
        (None, {"risk_48h": 0.49}, []),
        ("INFO", {"risk_48h": 0.3}, NOTE),
        ("INFO", {"risk_48h": 0.24}, []),
        (None, {"risk_24h": 0.79}, NOTE),
        (None, {"risk_24h": 0.8}, WARNING),
        (None, {"risk_24h": 0.8, "expected_48h": 9.9}, NOTE),
        ("INFO", {"risk_24h": 0.7}, NOTE),
        ("WARN", {"risk_24h": 0.7}, WARNING),
        ("WARN", {"risk_24h": 0.5}, NOTE),
        (None, {"expected_48h": 0.9, "risk_48h": 1.0}, []),
    ],
)
def test_what_opens_what_is_critical_and_what_closes(
    held: Severity | None, changes: dict[str, float], found: list[tuple[str, str]]
) -> None:
    assert told(held, **changes) == found


def test_it_says_what_when_and_what_to_do() -> None:
    (risk,) = detect(SHOP, [], [MILK], [], [])
    assert risk.message == (
        "MILK will have run out within 48 hours with a probability of 62%, as likely as not by Tuesday 18:00: "
        "6 are left, 14.2 are expected to sell."
    )
    assert (
        risk.suggested_action
        == "Order 24 today of FARM, or ask another shop for some, or put something else in its place."
    )
    assert (risk.value, risk.baseline, risk.subject) == (0.6, 0.5, "MILK")
    (out,) = detect(SHOP, [], [MILK._replace(on_hand=0, coming=30, order_quantity=0)], [], [])
    assert out.message == "MILK has run out; 30 are on the way; 14.2 are expected to be asked for in the next 48 hours."
    assert out.suggested_action.startswith("Nothing more is to be ordered: ask")
    (negative,) = detect(SHOP, [Negative("TEA", -3, -1.5)], [], [], [])
    assert negative.message == "The ledger holds -3 on the shelf and -1.5 in the back of TEA, which cannot be."
    assert (negative.type, negative.severity, negative.value) == ("NEGATIVE_STOCK", "INFO", -3)


def test_of_many_those_are_told_that_lose_most_and_what_is_told_stays() -> None:
    many = [MILK._replace(sku=f"{number:02}", lost_48h=number) for number in range(30)]
    found = [one.subject for one in detect(SHOP, [], many, [], [])]
    assert sorted(found) == [f"{number:02}" for number in range(10, 30)]
    later = [one.subject for one in detect(SHOP, [], many, [], [("03", "INFO"), ("04", "INFO")])]
    assert len(later) == MOST and {"03", "04", "29"} <= set(later)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_one_that_comes_and_goes_is_one_alert_until_it_is_calm(risks: list[float]) -> None:
    held: OpenAnomaly | None = None
    for hour, risk in enumerate(risks):
        known: list[tuple[str, Severity]] = [("MILK", held.finding.severity)] if held else []
        found = detect(SHOP, [], [MILK._replace(risk_48h=risk, risk_24h=risk)], [], known)
        before, held = held, follow(held, found[0] if found else None, hour)
        if before is None:
            assert (held is not None) == (risk >= OPENS_AT)
        elif held is not None and held.closed_at is not None:
            assert risk < CLOSES_AT
            held = None
        else:
            assert held is not None and held.detected_at == before.detected_at and risk >= CLOSES_AT
