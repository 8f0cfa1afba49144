"""Publishing files: what becomes of each record, what a killed run leaves, and the whole way through a real Kafka."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from aisleflow.cli import app
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from producers import publish
from producers.publish import MAX_LINE_BYTES, Outcome, Record, event_records, layout_records, transaction_records

LATEST_MS = 1_800_000_000_000
SHARED = Path(__file__).parents[2].parent / "shared/data/events/pos_ST1008_2026-04-10.csv"


def event(number: int, **changes: Any) -> bytes:
    fields = {
        "event_id": f"00000000-0000-4000-8000-{number:012}",
        "store_id": "ST1",
        "camera_id": "C",
        "visitor_id": f"v{number}",
        "event_type": "ENTRY",
        "timestamp": "2026-03-03T12:00:00Z",
        "confidence": 0.9,
    }
    return orjson.dumps(fields | changes)


ENTRY = orjson.dumps(
    {"event_type": "entry", "id_token": "a", "store_code": "ST2", "event_timestamp": "2026-03-03T12:00:00Z"}
)


def kinds(records: list[Record]) -> list[str]:
    return ["refused" if record.refusal else "sent" if record.value is not None else "duplicate" for record in records]


def test_each_event_is_judged_alone() -> None:
    lines = [event(1), b"", event(2)[:-9], event(1, visitor_id="other"), ENTRY, ENTRY, event(3, dwell_ms=-1), event(3)]
    records = list(event_records(io.BytesIO(b"\r\n".join(lines)), LATEST_MS))
    assert kinds(records) == ["sent", "refused", "duplicate", "sent", "duplicate", "refused", "sent"]
    assert [record.line for record in records] == [1, 3, 4, 5, 6, 7, 8]
    assert [record.key for record in records if record.value] == ["ST1", "ST2", "ST1"]
    assert records[5].refusal is not None
    assert records[5].refusal.field == "dwell_ms"
    assert records[-1].end == len(b"\r\n".join(lines))


def test_a_huge_line_is_refused_in_bounded_memory() -> None:
    class Watched(io.BytesIO):
        largest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 < size <= MAX_LINE_BYTES + 1
            return super().readline(size)

    huge = b'{"event_id": "' + b"x" * 5_000_000
    first, second, third = event_records(Watched(event(1) + b"\n" + huge + b"\n" + event(2)), LATEST_MS)
    assert kinds([first, second, third]) == ["sent", "refused", "sent"]
    assert len(second.raw) == MAX_LINE_BYTES + 1
    assert third.line == 3


def test_transactions() -> None:
    text = b"""store_id,transaction_id,timestamp,basket_value_inr
S,T1,2026-04-10T12:15:05Z,10.5
S,T1,2026-04-10T12:15:05Z,10.5
S,T1,2026-04-10T12:15:05Z,11
S,T2,2026-04-10T12:15:05,11
S,T3,2999-04-10T12:15:05Z,11
not a shop,T4,2026-04-10T12:15:05Z,11
"""
    records = list(transaction_records(io.BytesIO(text), LATEST_MS, ZoneInfo("UTC")))
    assert kinds(records) == ["sent", "duplicate", "refused", "refused", "refused", "refused"]
    fields = [record.refusal.field for record in records if record.refusal]
    assert fields == ["transaction_id", "timestamp", "timestamp", "store_id"]


@pytest.mark.parametrize("indent", [True, False])
def test_layouts(indent: bool) -> None:
    layout = {"store_id": "S", "timestamp": "2026-01-01T00:00:00Z"}
    whole = orjson.dumps(layout, option=orjson.OPT_INDENT_2 if indent else 0)
    assert kinds(list(layout_records(io.BytesIO(whole), LATEST_MS))) == ["sent"]
    assert kinds(list(layout_records(io.BytesIO(whole[:-3]), LATEST_MS))) == ["refused"]


def test_layouts_a_line_each() -> None:
    layout = orjson.dumps({"store_id": "S", "timestamp": "2026-01-01T00:00:00Z"})
    records = list(layout_records(io.BytesIO(layout + b"\n" + b'{"store_id": 1}' + b"\n" + layout), LATEST_MS))
    assert kinds(records) == ["sent", "refused", "sent"]


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    """The command in a process of its own, as people run it."""
    command = [sys.executable, "-m", "aisleflow", "publish", *arguments]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def consumed(settings: Settings, topic: str) -> list[tuple[bytes, bytes]]:
    """(key, value) of everything on a topic."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "reader", "enable.auto.commit": False}
    )
    try:
        name = settings.topic_prefix + topic
        places = [
            TopicPartition(name, number, 0) for number in consumer.list_topics(name, timeout=10).topics[name].partitions
        ]
        wanted = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
        consumer.assign(places)
        found = []
        while len(found) < wanted:
            message = consumer.poll(10)
            assert message is not None
            assert message.error() is None
            found.append((message.key() or b"", message.value() or b""))
        return found
    finally:
        consumer.close()


@pytest.mark.system
def test_events_through_kafka(world: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([event(1), b"{", event(1), ENTRY]))
    code, said = run(world, "events", str(file))
    assert (code, "2 sent, 1 duplicate, 1 refused" in said, "line 2" in said) == (1, True, True), said
    assert sorted(consumed(world, "visit-events")) == sorted([(b"ST1", event(1)), (b"ST2", ENTRY)])
    (refused,) = map(orjson.loads, (tmp_path / "events.jsonl.refused.jsonl").read_bytes().splitlines())
    assert (refused["line"], refused["record"]) == (2, "{")
    assert run(world, "events", str(file), "--allow-refused")[0] == 0


@pytest.mark.system
def test_the_real_export_through_kafka(world: Settings) -> None:
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not here")
    code, said = run(world, "transactions", str(SHARED))
    assert (code, "24 sent, 0 duplicate, 0 refused" in said) == (0, True), said
    assert len(consumed(world, "transactions")) == 24


@pytest.mark.system
def test_a_killed_run_continues(world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle, the next run sends what Kafka had not confirmed, and the state file is gone at the end."""
    monkeypatch.setattr(publish, "CONFIRM_EVERY", 10)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(event(1000 + number, store_id="RESUMED") for number in range(100)))
    produce, sent = publish.produce, list[bytes]()

    def killed(producer: Any, name: str, value: bytes, *arguments: Any, **named: Any) -> None:
        sent.append(value)
        if len(sent) == 57:
            raise KeyboardInterrupt
        produce(producer, name, value, *arguments, **named)

    monkeypatch.setattr(publish, "produce", killed)
    with pytest.raises(KeyboardInterrupt):
        publish.publish_events(file, world)
    monkeypatch.setattr(publish, "produce", produce)
    seen: list[Outcome] = []
    outcome = publish.publish_events(file, world, progress=lambda position, outcome: seen.append(outcome))
    assert (outcome.resumed, outcome.sent, outcome.duplicates) == (50, 50, 0)
    values = {value for key, value in consumed(world, "visit-events") if key == b"RESUMED"}
    assert values == set(file.read_bytes().splitlines())
    assert list((world.data_dir / "publish").iterdir()) == []
    assert publish.publish_events(file, world).sent == 100


def test_without_kafka_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(event(1))
    settings = Settings(_env_file=None, kafka="127.0.0.1:1", data_dir=tmp_path)
    monkeypatch.setattr("aisleflow.settings.settings", lambda: settings)
    monkeypatch.setattr(publish, "METADATA_TIMEOUT_S", 0.5)
    result = CliRunner().invoke(app, ["publish", "events", str(file)])
    assert result.exit_code == 3
    assert "127.0.0.1:1" in result.output
    assert "run the same command again" in result.output


@pytest.mark.parametrize(
    ("arguments", "code"), [(["events", "/nowhere.jsonl"], 3), (["transactions", "x.csv", "--time-zone", "Mars"], 2)]
)
def test_what_people_get_wrong(arguments: list[str], code: int) -> None:
    assert CliRunner().invoke(app, ["publish", *arguments]).exit_code == code
