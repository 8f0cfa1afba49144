"""The one reader: thousands of bad records each refused with the field and a reason, and one verdict with Pydantic's
models.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas import events, export, reading
from schemas.events import StoreLayout, Transaction, VisitEvent
from schemas.reading import Refusal, TransactionFact, VisitFact, read_layout, read_transaction, read_visit_event
from tests.schemas.examples import valid

LATEST_MS = reading.epoch_ms(datetime(2026, 11, 20, tzinfo=UTC))

EVENT: dict[str, Any] = json.loads(valid("visit-events")["billing-queue-join"])
TRANSACTION: dict[str, Any] = json.loads(valid("transactions")["with-lines"])
LAYOUT: dict[str, Any] = json.loads(valid("store-layouts")["full"])

SQL = "Robert'); DROP TABLE events; --"


def dumps(record: Any) -> bytes:
    return json.dumps(record).encode()


def read_event(raw: bytes) -> list[VisitFact] | Refusal:
    return read_visit_event(raw, LATEST_MS)


def refused(found: Any) -> Refusal:
    assert isinstance(found, Refusal), found
    assert found.reason
    # It goes into headers, logs and answers.
    assert len(found.reason) <= 300
    assert len(found.field) <= 200
    return found


# Values that no field of a kind takes.
NOT_TEXT = [None, 0, 1.5, True, [], {}, [SQL], {"$ne": ""}]
NOT_NAMES = [
    *NOT_TEXT,
    "",
    "a\x00b",
    "\n",
    "line\nbreak",
    "tab\t",
    "\x1b[31m",
    "a\u2028b",
    "\u202egnp.exe",
    "x" * 129,
    "x" * 60_000,
]
NOT_STORES = [*NOT_NAMES, SQL, "a b", "a/b", "../S1", "-S1", "S\u00e9", "S1\n", "x" * 65]
NOT_UUIDS = [
    *NOT_NAMES,
    SQL,
    "42",
    "550e8400e29b41d4a716446655440000",
    "{550e8400-e29b-41d4-a716-446655440000}",
    "g" * 36,
]
NOT_TIMES = [
    *NOT_NAMES,
    *(
        SQL,
        "now",
        "2026-03-03",
        "14:22:10",
        "2026-03-03T14:22:10",
        "2026-03-03T14:22Z",
        "2026-3-3T14:22:10Z",
        "20260303T142210Z",
    ),
    *(
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-03-03T24:00:00Z",
        "2026-03-03T14:60:00Z",
        "2026-03-03T14:22:61Z",
    ),
    *("2026-03-03T14:22:10+24:00", "2026-03-03T14:22:10+0530", "2026-03-03T14:22:10 Z", "2026-03-03T14:22:10Z\n"),
    *("2026-03-03T14:22:10+0000", "2026-03-03T14:22:10,5Z", "2026-03-03T14:22:10.Z", "0000-01-01T00:00:00Z"),
    *("1970-01-01T00:00:00Z", "1999-12-31T23:59:59.999Z", "0001-01-01T00:00:00+05:00"),
    *("2026-11-20T00:00:00.001Z", "2036-03-03T14:22:10Z", "9999-12-31T23:59:59-05:00"),
    *(1772547730, 1772547730000, "1772547730", "\uff12026-03-03T14:22:10Z"),
]
NOT_COUNTS = [None, "", "3", SQL, True, -1, 1.5, 3.0, 1_000_001, 10**30, -(10**30), [], {}, "\x00"]
NOT_DWELLS = [None, "", "30000", SQL, True, -1, 1.5, 3.0, events.MAX_DWELL_MS + 1, 10**30, [], {}]
NOT_FLAGS = [None, 0, 1, "true", "", SQL, [], {}]
NOT_SHARES = [None, "0.9", "", SQL, True, -0.001, 1.001, 94, 10**300, [], {}]
NOT_TYPES = [*NOT_NAMES, SQL, "entry ", "Entry", "TELEPORT", "ENTRY\n"]
NOT_METADATA = [None, [], "", SQL, 1, True, "{}"]
NOT_AMOUNTS = [
    *(None, True, [], {}, "", SQL, "12,50", "1.2.3", "NaN", "sNaN", "Infinity", "-inf", "0x10", "1e1000000000", "\x00"),
    *(10**12 + 1, -(10**12) - 1, "1000000000000.01", 10**400, "1e99999999999999999999"),
]
NOT_CURRENCIES = ["", "inr", "IN", "INRR", "IN1", "INR\n", 1, True, [], SQL, "\u0130NR"]
NOT_GTINS = ["", "1234567", "123456789012345", "8901030A65275", 8901030865275, True, [], SQL, "\u0661" * 13]
OPTIONAL = None

EVENT_FIELDS: dict[str, list[Any]] = {
    "event_id": NOT_UUIDS,
    "store_id": NOT_STORES,
    "camera_id": NOT_NAMES,
    "visitor_id": NOT_NAMES,
    "event_type": NOT_TYPES,
    "timestamp": NOT_TIMES,
    "zone_id": [value for value in NOT_NAMES if value is not OPTIONAL],
    "dwell_ms": NOT_DWELLS,
    "is_staff": NOT_FLAGS,
    "confidence": NOT_SHARES,
    "metadata": NOT_METADATA,
    "metadata.queue_depth": [value for value in NOT_COUNTS if value is not OPTIONAL],
    "metadata.session_seq": [value for value in NOT_COUNTS if value is not OPTIONAL],
    "metadata.sku_zone": [value for value in NOT_NAMES if value is not OPTIONAL and len(str(value)) < 8192],
}
TRANSACTION_FIELDS: dict[str, list[Any]] = {
    "store_id": NOT_STORES,
    "transaction_id": NOT_NAMES,
    "timestamp": NOT_TIMES,
    "basket_value": NOT_AMOUNTS,
    "currency": NOT_CURRENCIES,
    "payment_kind": [value for value in NOT_NAMES if value is not OPTIONAL],
    "lines": [None, {}, "", SQL, 1, True],
    "lines.0": [None, [], "", 1],
    "lines.0.sku": NOT_NAMES,
    "lines.1.gtin": NOT_GTINS,
    "lines.0.quantity": [*NOT_AMOUNTS, 10**9 + 1],
    "lines.1.unit_price": NOT_AMOUNTS,
}
LAYOUT_FIELDS: dict[str, list[Any]] = {
    "store_id": NOT_STORES,
    "timestamp": NOT_TIMES,
    "name": [value for value in NOT_NAMES if value is not OPTIONAL],
    "time_zone": [
        None,
        1,
        "",
        SQL,
        "Mars/Olympus",
        "../../etc/passwd",
        "/etc/passwd",
        "Asia",
        ".",
        "UTC\n",
        "UTC\x00",
        "x" * 65,
    ],
    "currency": NOT_CURRENCIES,
    "opening_hours.mon": [None, {}, "10:00-22:00", SQL, 1],
    "opening_hours.mon.0": [None, [], ["10:00"], ["10:00", "12:00", "14:00"], "10:00"],
    "opening_hours.mon.0.0": [None, 10, "10", "10:60", "24:01", "1:00", "10:00\n", SQL],
    "zones": [None, {}, SQL, [{"zone_id": "A", "type": "SHELF"}] * 501],
    "zones.1.zone_id": NOT_NAMES,
    "zones.1.type": NOT_TYPES,
    "zones.1.areas.0.polygon": [None, [], [[0, 0], [1, 1]], [[0, 0]] * 65, SQL],
    "zones.1.areas.0.polygon.0": [None, [], [1], [1, 2, 3], "1,2"],
    "zones.1.areas.0.polygon.0.0": [None, "1", True, [], 10**400],
    "cameras.0.frame_width": [0, -1, 16385, 1.5, "1920", True],
    "cameras.0.entrance_line": [[], [[0, 0]], [[0, 0], [1, 1], [2, 2]], SQL],
}


def with_value(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = json.loads(json.dumps(record))
    holder: Any = changed
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in parents:
        holder = holder[part]
    holder[last] = value
    return changed  # type: ignore[no-any-return]


def cases(fields: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(path, value, id=f"{path}={json.dumps(value)[:40]}")
        for path, values in fields.items()
        for value in values
    ]


def names_it(refusal: Refusal, path: str) -> bool:
    """Whether the refusal points at the field, or into it."""
    return refusal.field == path or refusal.field.startswith(path + ".")


@pytest.mark.parametrize(("path", "value"), cases(EVENT_FIELDS))
def test_bad_visit_events(path: str, value: Any) -> None:
    refusal = refused(read_event(dumps(with_value(EVENT, path, value))))
    assert names_it(refusal, path), refusal


@pytest.mark.parametrize(("path", "value"), cases(TRANSACTION_FIELDS))
def test_bad_transactions(path: str, value: Any) -> None:
    refusal = refused(read_transaction(dumps(with_value(TRANSACTION, path, value)), LATEST_MS))
    assert names_it(refusal, path), refusal


@pytest.mark.parametrize(("path", "value"), cases(LAYOUT_FIELDS))
def test_bad_layouts(path: str, value: Any) -> None:
    refusal = refused(read_layout(dumps(with_value(LAYOUT, path, value)), LATEST_MS))
    assert names_it(refusal, path), refusal


@pytest.mark.parametrize(
    ("read", "model", "record"),
    [
        (read_visit_event, VisitEvent, EVENT),
        (read_transaction, Transaction, TRANSACTION),
        (read_layout, StoreLayout, LAYOUT),
    ],
)
def test_every_required_field_is_missed(read: Any, model: Any, record: dict[str, Any]) -> None:
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    assert required
    for name in required:
        refusal = refused(read(dumps({key: value for key, value in record.items() if key != name}), LATEST_MS))
        assert (refusal.field, refusal.reason) == (name, "Field required")


READERS = [
    pytest.param(read_visit_event, EVENT, id="visit-events"),
    pytest.param(read_transaction, TRANSACTION, id="transactions"),
    pytest.param(read_layout, LAYOUT, id="store-layouts"),
]


@pytest.mark.parametrize(("read", "record"), READERS)
def test_cut_short_at_every_byte(read: Any, record: dict[str, Any]) -> None:
    raw = dumps(record)
    for length in range(len(raw)):
        refused(read(raw[:length], LATEST_MS))


@pytest.mark.parametrize(("read", "record"), READERS)
def test_a_control_byte_or_half_a_character_anywhere(read: Any, record: dict[str, Any]) -> None:
    raw = dumps(record)
    for place in range(len(raw) + 1):
        for byte in (b"\x00", b"\xff", b"\x01"):
            refused(read(raw[:place] + byte + raw[place:], LATEST_MS))


@pytest.mark.parametrize(("read", "record"), READERS)
@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"",
            b" ",
            b"\x00",
            b"null",
            b"true",
            b"1",
            b'""',
            b"[]",
            b"[{}]",
            b"{}",
            b"{",
            b"}",
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00",
        ),
        *(
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"event_type":' * 10_000,
            b'"' + b"x" * 1_000_000 + b'"',
            b"9" * 100_000,
        ),
        *(b"<xml/>", b"store_id,timestamp\nS1,now\n", SQL.encode()),
    ],
)
def test_things_that_are_no_record(read: Any, record: dict[str, Any], raw: bytes) -> None:
    refused(read(raw, LATEST_MS))


@pytest.mark.parametrize(("read", "record"), READERS)
def test_trailing_bytes(read: Any, record: dict[str, Any]) -> None:
    raw = dumps(record)
    assert not isinstance(read(raw + b" \r\n\t", LATEST_MS), Refusal)
    for rest in (b"{}", b",", b"x", raw, b"]", b"}"):
        refused(read(raw + rest, LATEST_MS))


def within(record: bytes, field: bytes, value: bytes) -> bytes:
    return record[:-1] + b',"' + field + b'":' + value + b"}"


BAD_JSON = [
    *(
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":+1}',
    ),
    *(b'{"a":tru}', b'{"a":"\\x41"}', b'{"a":"\n"}', b'{"a":1,}', b"{'a':1}", b'{"a":1 "b":2}'),
    *(b'{"a":' + b"[" * 250 + b"]" * 250 + b"}", b'{"a":' + b"9" * 5000 + b"}", b"[" * 3000 + b"]" * 3000),
]


@pytest.mark.parametrize(
    ("field", "value"),
    # Half a surrogate pair in a field that nobody keeps is nobody's trouble.
    [*((field, value) for field in (b"unknown", b"metadata") for value in BAD_JSON), (b"metadata", b'{"a":"\\ud800"}')],
)
def test_what_is_skipped_must_be_json_too(field: bytes, value: bytes) -> None:
    """msgspec looks away where nothing is read; the record would break whoever reads it next."""
    raw = dumps({name: part for name, part in EVENT.items() if name != "metadata"})
    refused(read_event(within(raw, field, value)))


def test_numbers_beyond_a_double() -> None:
    assert "confidence" in refused(read_event(dumps({**EVENT, "confidence": 10**400}))).reason


def test_limits_of_size() -> None:
    many = dumps({**TRANSACTION, "lines": [{"sku": "A", "quantity": 1, "unit_price": 1}] * 1001})
    assert refused(read_transaction(many, LATEST_MS)).field == "lines"
    assert not isinstance(
        read_transaction(many.replace(b'{"sku": "A", "quantity": 1, "unit_price": 1}, ', b"", 1), LATEST_MS), Refusal
    )
    note = {"note": "x" * (events.MAX_METADATA_BYTES - len('{"note": ""}'))}
    assert isinstance(read_event(dumps({**EVENT, "metadata": note})), list)
    note["note"] += "x"
    assert refused(read_event(dumps({**EVENT, "metadata": note}))).field == "metadata"
    assert "65536" in refused(read_event(dumps({**EVENT, "unknown": "x" * 65_536}))).reason
    assert "262144" in refused(read_transaction(dumps({**TRANSACTION, "unknown": "x" * 262_144}), LATEST_MS)).reason


@pytest.mark.parametrize("field", ["camera_id", "visitor_id", "zone_id"])
def test_sql_is_only_text(field: str) -> None:
    """A name may be any printable text: statements take it as a parameter."""
    (fact,) = read_event(dumps({**EVENT, field: SQL}))  # type: ignore[misc]
    assert getattr(fact, field) == SQL
    assert bytes(fact.metadata) == dumps(EVENT["metadata"])


def test_bounds_of_time() -> None:
    for text, fits in (
        ("2000-01-01T00:00:00Z", True),
        ("1999-12-31T23:59:59.999999Z", False),
        ("2000-01-01T05:29:59+05:30", False),
        ("2026-11-20T00:00:00Z", True),
        ("2026-11-20T00:00:00.000999Z", True),
        ("2026-11-20T00:00:00.001Z", False),
        ("2026-11-19T19:00:00-05:00", True),
    ):
        for read, record in ((read_visit_event, EVENT), (read_transaction, TRANSACTION), (read_layout, LAYOUT)):
            found = read(dumps({**record, "timestamp": text}), LATEST_MS)
            assert isinstance(found, Refusal) is not fits, (text, found)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-03T14:22:10Z", 1772547730000),
        ("2026-03-03t14:22:10.5z", 1772547730500),
        ("2026-03-03 19:52:10.123+05:30", 1772547730123),
        ("2026-03-03T14:22:10.999999Z", 1772547730999),
        ("2026-03-03T14:22:10-00:00", 1772547730000),
    ],
)
def test_times_are_cut_to_the_millisecond(text: str, at: int) -> None:
    (fact,) = read_event(dumps({**EVENT, "timestamp": text}))  # type: ignore[misc]
    assert fact.at == at


def test_ids_are_compared_without_case() -> None:
    mixed = EVENT["event_id"].upper()
    (fact,) = read_event(dumps({**EVENT, "event_id": mixed}))  # type: ignore[misc]
    assert mixed != EVENT["event_id"] == fact.event_id == fact.key[3]
    late = refused(read_event(dumps({**EVENT, "event_id": mixed, "timestamp": "2999-01-01T00:00:00Z"})))
    assert late.event_id is not None
    assert late.event_id.lower() == EVENT["event_id"]


def test_amounts_have_four_decimals() -> None:
    for text, amount in (
        ("1.00005", "1.0001"),
        ("-1.00005", "-1.0001"),
        ("1.00004", "1.0000"),
        ("1e-400", "0"),
        (2.5, "2.5"),
    ):
        found = read_transaction(dumps({**TRANSACTION, "basket_value": text}), LATEST_MS)
        assert isinstance(found, TransactionFact)
        assert found.basket_value == Decimal(amount)
        assert found.basket_value.as_tuple().exponent == -4


# One verdict: JSON values near a valid event, read by both.

SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1))  # noqa: DTZ001
TIMES = INSTANTS.map(lambda moment: moment.isoformat() + "Z") | st.from_regex(
    r"\A20[0-3][0-9]-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,6})?([Zz]|[+-][0-2][0-9]:?[0-6][0-9])?\Z"
)
NEAR = {
    "event_id": st.uuids().map(str)
    | st.uuids().map(lambda value: str(value).upper())
    | st.uuids().map(lambda value: value.hex),
    "store_id": st.from_regex(r"[A-Za-z0-9 _.:@\-/]{1,5}", fullmatch=True),
    "camera_id": st.text(max_size=130),
    "visitor_id": st.text(max_size=3),
    "event_type": st.sampled_from(sorted(reading.EVENT_RANK)) | st.sampled_from(["entry", "TELEPORT", "ENTRY "]),
    "timestamp": TIMES,
    "zone_id": st.none() | st.text(max_size=3),
    "dwell_ms": st.integers(-2, 2)
    | st.integers(events.MAX_DWELL_MS - 1, events.MAX_DWELL_MS + 1)
    | st.sampled_from([1.0, 1.5]),
    "is_staff": st.booleans() | st.sampled_from([0, 1, "true"]),
    "confidence": st.floats(-0.1, 1.1) | st.integers(-1, 2),
    "metadata": st.fixed_dictionaries(
        {},
        optional={
            "queue_depth": st.none() | st.integers(-1, 3) | st.integers(999_999, 1_000_001) | JSON_VALUES,
            "session_seq": st.none() | st.integers(-1, 3) | JSON_VALUES,
            "sku_zone": st.none() | st.text(max_size=3) | JSON_VALUES,
            "more": JSON_VALUES,
        },
    ),
    "more": JSON_VALUES,
}


@st.composite
def near_events(draw: st.DrawFn) -> dict[str, Any]:
    """A valid event with up to three fields replaced by likely or unlikely values, or left out."""
    record = dict(EVENT)
    for name in draw(st.lists(st.sampled_from(sorted(NEAR)), max_size=3, unique=True)):
        action = draw(st.sampled_from(["near", "near", "near", "any", "gone"]))
        if action == "gone":
            record.pop(name, None)
        else:
            record[name] = draw(NEAR[name] if action == "near" else JSON_VALUES)
    return record


def judge(record: dict[str, Any], raw: bytes) -> VisitEvent | None:
    """Pydantic's verdict, with the bounds of time and size that only a reader knows."""
    try:
        event = VisitEvent.model_validate_json(raw)
    except ValidationError:
        return None
    if not reading.EARLIEST_MS <= reading.epoch_ms(event.timestamp) <= LATEST_MS:
        return None
    return event if len(dumps(record.get("metadata", {}))) <= events.MAX_METADATA_BYTES else None


@given(near_events())
@settings(max_examples=2000, deadline=None)
@example({**EVENT, "timestamp": "2026-03-03T14:22:10+0530"})
@example({**EVENT, "timestamp": "2026-03-03T14:22:10-0000"})
@example({**EVENT, "dwell_ms": 3.0})
@example({**EVENT, "confidence": 1})
@example({**EVENT, "metadata": {"queue_depth": True}})
@example({**EVENT, "visitor_id": "\ud800"})
@example({**EVENT, "more": "\ud83d\ude00"})
def test_reader_and_models_give_one_verdict(record: dict[str, Any]) -> None:
    raw = dumps(record)
    event, found = judge(record, raw), read_event(raw)
    if event is None:
        refused(found)
        return
    assert isinstance(found, list), found
    (fact,) = found
    assert fact.event_id == event.event_id.lower()
    for name in ("store_id", "camera_id", "visitor_id", "event_type", "zone_id", "dwell_ms", "is_staff", "confidence"):
        assert getattr(fact, name) == getattr(event, name)
    assert fact.at == reading.epoch_ms(event.timestamp)
    assert fact.queue_depth == event.metadata.queue_depth
    assert fact.key == (fact.at, event.metadata.session_seq or 0, reading.EVENT_RANK[event.event_type], fact.event_id)
    assert json.loads(bytes(fact.metadata)) == record.get("metadata", {})


# A schema's patterns are ECMAScript's, where $ is the end; to Python, with which this library looks, also before a last newline.
SCHEMA = Draft202012Validator(
    json.loads(
        json.dumps(export.json_schema(VisitEvent)),
        object_hook=lambda part: {
            key: value.removesuffix("$") + r"\Z"
            if key == "pattern" and isinstance(value, str) and value.endswith("$")
            else value
            for key, value in part.items()
        },
    )
)


@given(near_events().filter(lambda record: record.get("timestamp") == EVENT["timestamp"]))
@settings(max_examples=500, deadline=None)
@example({**EVENT, "camera_id": "0\n"})
def test_the_exported_schema_gives_the_same_verdict(record: dict[str, Any]) -> None:
    """Except that 3.0 is an integer to JSON Schema: the reader wants it written 3."""

    def no_whole_float(value: Any) -> bool:
        return not (isinstance(value, float) and value.is_integer())

    metadata = record.get("metadata")
    counts = [metadata.get("queue_depth"), metadata.get("session_seq")] if isinstance(metadata, dict) else []
    if all(map(no_whole_float, [record.get("dwell_ms"), *counts])):
        assert SCHEMA.is_valid(record) is isinstance(read_event(dumps(record)), list)


AMOUNTS = (
    st.decimals(-(10**13), 10**13, places=3).map(str)
    | st.floats(-1e13, 1e13)
    | st.integers(-(10**13), 10**13)
    | JSON_VALUES
)


@given(
    st.fixed_dictionaries({}, optional={"basket_value": AMOUNTS, "currency": JSON_VALUES, "lines": JSON_VALUES}),
    AMOUNTS,
    AMOUNTS,
)
@settings(max_examples=1000, deadline=None)
def test_transactions_get_one_verdict(changes: dict[str, Any], quantity: Any, price: Any) -> None:
    lines = [{"sku": "A", "quantity": quantity, "unit_price": price}]
    raw = dumps({**TRANSACTION, "lines": lines, **changes})
    try:
        model = Transaction.model_validate_json(raw)
    except ValidationError:
        refused(read_transaction(raw, LATEST_MS))
        return
    fact = read_transaction(raw, LATEST_MS)
    assert isinstance(fact, TransactionFact), fact
    assert abs(fact.basket_value - model.basket_value) <= Decimal("0.00005")
    assert [line.sku for line in fact.lines] == [line.sku for line in model.lines]


@given(st.binary(max_size=200))
@settings(max_examples=1000, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (read_visit_event, read_transaction, read_layout):
        refused(read(raw, LATEST_MS))


@given(st.binary(min_size=1, max_size=4), st.integers(0, 10_000))
@settings(max_examples=1000, deadline=None)
def test_damaged_records_are_read_or_refused(damage: bytes, place: int) -> None:
    """Whatever is read is JSON that others can read too."""
    for read, record in ((read_visit_event, EVENT), (read_transaction, TRANSACTION), (read_layout, LAYOUT)):
        raw = dumps(record)
        start = place % len(raw)
        raw = raw[:start] + damage + raw[start + len(damage) :]
        if not isinstance(read(raw, LATEST_MS), Refusal):
            orjson.loads(raw)


DIALECT = [json.loads(raw) for raw in valid("visit-events", dialect=True).values()]


@given(st.sampled_from(DIALECT), st.data())
@settings(max_examples=1500, deadline=None)
def test_records_of_the_second_dialect_are_read_or_refused(record: dict[str, Any], data: st.DataObject) -> None:
    changed = dict(record)
    for name in data.draw(st.lists(st.sampled_from(sorted(record)), max_size=3, unique=True)):
        changed[name] = data.draw(JSON_VALUES | TIMES | st.text(max_size=130))
    found = read_event(dumps(changed))
    if isinstance(found, Refusal):
        refused(found)
    else:
        assert 1 <= len(found) <= 2
        assert all(reading.EARLIEST_MS <= fact.at <= LATEST_MS for fact in found)


LAYOUT_PATHS = [
    "time_zone",
    "opening_hours",
    "opening_hours.mon",
    "opening_hours.mon.0.0",
    "zones",
    "zones.1.areas.0.polygon",
    "cameras",
]


@given(st.sampled_from(LAYOUT_PATHS), JSON_VALUES)
@settings(max_examples=1000, deadline=None)
def test_a_layout_that_is_read_can_be_stored_and_read_again(path: str, value: Any) -> None:
    found = read_layout(dumps(with_value(LAYOUT, path, value)), LATEST_MS)
    if isinstance(found, Refusal):
        refused(found)
    else:
        assert read_layout(events.dump(found), LATEST_MS) == found
