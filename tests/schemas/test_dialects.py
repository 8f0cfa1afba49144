"""The second camera dialect: what each record becomes, and that nothing it says can break the contract."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dialects import DialectError, translate
from schemas.events import VisitEvent

ENTRY = {
    "event_type": "entry",
    "id_token": "ID_60001",
    "store_code": "ST1076",
    "camera_id": "cam1",
    "event_timestamp": "2026-03-08T23:40:05.1+05:30",
    "group_id": "G_1",
    "group_size": 2,
    "is_staff": False,
}
ZONE = {
    "event_type": "zone_entered",
    "track_id": 7,
    "store_id": "ST1076",
    "zone_name": "Skin care",
    "zone_type": "SHELF",
    "event_time": "2026-03-08T18:11:00Z",
}
QUEUE = {
    "event_type": "queue_completed",
    "queue_event_id": "Q_1",
    "track_id": 7,
    "store_code": "ST1076",
    "queue_join_ts": "2026-03-08T18:12:00Z",
    "queue_served_ts": "2026-03-08T18:13:00Z",
    "queue_exit_ts": "2026-03-08T18:14:30.250Z",
    "wait_seconds": 60,
    "queue_position_at_join": 2,
    "abandoned": False,
}


def events(record: dict[str, Any]) -> list[dict[str, Any]]:
    translated = translate(record)
    assert translated is not None
    return translated


def test_entry() -> None:
    (event,) = events(ENTRY)
    assert event | {"event_id": ""} == {
        "event_id": "",
        "store_id": "ST1076",
        "camera_id": "cam1",
        "visitor_id": "ID_60001",
        "event_type": "ENTRY",
        "timestamp": "2026-03-08T18:10:05.100Z",
        "zone_id": None,
        "dwell_ms": 0,
        "is_staff": False,
        "confidence": 1.0,
        "metadata": {"group_id": "G_1", "group_size": 2},
    }


def test_zone() -> None:
    (event,) = events(ZONE)
    assert (event["visitor_id"], event["zone_id"], event["event_type"]) == ("7", "Skin care", "ZONE_ENTER")
    assert event["metadata"] == {"zone_type": "SHELF"}


def test_queue() -> None:
    join, leave = events(QUEUE)
    assert (join["event_type"], join["timestamp"]) == ("BILLING_QUEUE_JOIN", "2026-03-08T18:12:00.000Z")
    assert join["metadata"]["queue_depth"] == 2
    assert "queue_depth" not in leave["metadata"]
    assert (leave["event_type"], leave["timestamp"]) == ("ZONE_EXIT", "2026-03-08T18:14:30.250Z")
    assert leave["dwell_ms"] == 150_250
    assert join["zone_id"] == leave["zone_id"] == "BILLING"


@pytest.mark.parametrize("record", [QUEUE | {"event_type": "queue_abandoned", "abandoned": None}])
def test_abandoned_by_type(record: dict[str, Any]) -> None:
    assert events(record)[1]["event_type"] == "BILLING_QUEUE_ABANDON"


def test_abandoned_by_flag() -> None:
    untyped = {key: value for key, value in QUEUE.items() if key != "event_type"}
    assert events(untyped)[1]["event_type"] == "ZONE_EXIT"
    assert events(untyped | {"abandoned": True})[1]["event_type"] == "BILLING_QUEUE_ABANDON"


def test_one_fact_however_it_is_written() -> None:
    same = ENTRY | {"event_timestamp": "2026-03-08T18:10:05.100900Z", "group_size": 3}
    assert events(same)[0]["event_id"] == events(ENTRY)[0]["event_id"]
    for other in ({"id_token": "x"}, {"store_code": "x"}, {"camera_id": "x"}, {"event_type": "exit"}):
        assert events(ENTRY | other)[0]["event_id"] != events(ENTRY)[0]["event_id"]
    assert events(ZONE | {"zone_name": "Hair"})[0]["event_id"] != events(ZONE)[0]["event_id"]
    assert len({event["event_id"] for event in events(QUEUE) + events(QUEUE | {"queue_event_id": "Q_2"})}) == 4


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (ENTRY | {"id_token": None}, "id_token"),
        (ENTRY | {"id_token": True}, "id_token"),
        (ENTRY | {"id_token": "a\0b"}, "id_token"),
        (ENTRY | {"store_code": "no spaces"}, "store_code"),
        (ENTRY | {"store_code": None}, "store_id"),
        (ENTRY | {"event_timestamp": "2026-03-08T18:10:05"}, "event_timestamp"),
        (ENTRY | {"event_timestamp": "2026-13-08T18:10:05Z"}, "event_timestamp"),
        (ENTRY | {"event_timestamp": "0001-01-01T00:00:00+10:00"}, "event_timestamp"),
        (ENTRY | {"event_timestamp": 1772992805}, "event_timestamp"),
        (ENTRY | {"group_size": "2"}, "group_size"),
        (ENTRY | {"is_staff": "no"}, "is_staff"),
        (ENTRY | {"confidence": 1.5}, "confidence"),
        (ENTRY | {"confidence": "high"}, "confidence"),
        (ZONE | {"zone_name": None}, "zone_name"),
        (ZONE | {"zone_type": 3}, "zone_type"),
        (QUEUE | {"queue_exit_ts": "2026-03-08T18:11:00Z"}, "queue_exit_ts"),
        (QUEUE | {"queue_served_ts": "2026-03-08T18:11:00Z"}, "queue_served_ts"),
        (QUEUE | {"queue_exit_ts": "2027-03-08T18:11:00Z"}, "dwell_ms"),
        (QUEUE | {"queue_event_id": None}, "queue_event_id"),
        (QUEUE | {"queue_position_at_join": -1}, "queue_position_at_join"),
        (QUEUE | {"wait_seconds": float("nan")}, "wait_seconds"),
        (QUEUE | {"abandoned": True}, "abandoned"),
    ],
)
def test_refused(record: dict[str, Any], field: str) -> None:
    with pytest.raises(DialectError) as refusal:
        translate(record)
    assert refusal.value.field == field
    assert refusal.value.reason


@pytest.mark.parametrize("record", [{}, {"event_type": "ENTRY"}, {"event_type": "Entry"}, {"event_type": ["entry"]}])
def test_not_this_dialect(record: dict[str, Any]) -> None:
    assert translate(record) is None


JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text("a1:\0é", max_size=5), st.just([]), st.just({"a": 1})
)


@given(
    st.sampled_from([ENTRY, ZONE, QUEUE]),
    st.dictionaries(st.sampled_from(sorted({*ENTRY, *ZONE, *QUEUE, "confidence"})), JSON_VALUES, max_size=3),
)
def test_valid_or_refused_and_always_the_same(record: dict[str, Any], changes: dict[str, Any]) -> None:
    changed = record | changes
    try:
        first = translate(changed)
    except DialectError:
        return
    assert translate(dict(reversed(changed.items()))) == first
    for event in first or []:
        VisitEvent.model_validate(event)
