"""Dead letters on a real Kafka: what the worker buries is listed, shown, replayed and dropped, byte for byte."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from confluent_kafka import Consumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from aisleflow.cli import app
from aisleflow.clients import clickhouse_client, kafka_producer
from aisleflow.commands.dead_letters import printable
from aisleflow.settings import Settings
from schemas.reading import Refusal
from schemas.topics import VISIT_EVENTS
from stream_processors.engine import dead_letter_desk, dead_letters
from stream_processors.engine.dead_letter_desk import Choice, Desk, read_edited, spans_over, write_for_editing
from stream_processors.engine.dead_letters import DeadLetter, DeadLetterBox
from stream_processors.engine.sink import ClickHouseSink

TOPIC = VISIT_EVENTS.name


def event(**fields: Any) -> bytes:
    return json.dumps(
        {
            "event_id": str(uuid.uuid4()),
            "store_id": "S1",
            "camera_id": "C1",
            "visitor_id": "V1",
            "event_type": "ENTRY",
            "timestamp": "2026-03-03T14:22:10Z",
            "confidence": 0.9,
            **fields,
        }
    ).encode()


@pytest.fixture(scope="module")
def settings(kafka: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, None).model_copy(update={"clickhouse_url": None})


@pytest.fixture
def desk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk of a topic in which nothing waits yet; the commands use the same settings."""
    monkeypatch.setattr("aisleflow.settings.settings", lambda: settings)
    desk = Desk(settings, TOPIC)
    desk.mark([letter.offset for letter in desk.waiting()], "dropped")
    return desk


@pytest.fixture
def bury(settings: Settings, desk: Desk) -> Callable[..., list[int]]:
    """Publish dead letters as the worker does; their offsets."""
    box = DeadLetterBox(kafka_producer(settings))

    def put(
        *values: bytes | None, key: bytes | None = b"S1", field: str = "timestamp", reason: str = "is missing"
    ) -> list[int]:
        before = {letter.offset for letter in desk.waiting()}
        source = settings.topic_prefix + TOPIC
        letters = [
            DeadLetter(source, 3, 40 + i, key, value, "read", Refusal(field, reason)) for i, value in enumerate(values)
        ]
        asyncio.run(box.put(letters))
        return [letter.offset for letter in desk.waiting() if letter.offset not in before]

    return put


def command(*arguments: str | int | Path, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["dead-letters", *map(str, arguments)], input=answer)


def waiting(desk: Desk) -> list[int]:
    return [letter.offset for letter in desk.waiting()]


class Tail:
    """What arrives in a topic from now on."""

    def __init__(self, settings: Settings, topic: str) -> None:
        group = {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "tail", "enable.auto.commit": False}
        self._consumer = Consumer(group)
        name = settings.topic_prefix + topic
        partitions = [TopicPartition(name, number) for number in range(VISIT_EVENTS.partitions)]
        for partition in partitions:
            partition.offset = self._consumer.get_watermark_offsets(partition, timeout=10)[1]
        self._consumer.assign(partitions)

    def take(self, count: int) -> list[Any]:
        """The next records; fails if there are fewer, or more at once."""
        found = []
        while len(found) < count:
            message = self._consumer.poll(20)
            assert message is not None, f"{len(found)} of {count} records arrived"
            assert message.error() is None
            found.append(message)
        assert self._consumer.poll(0.2) is None, "more arrived"
        return found


@pytest.fixture
def tail(settings: Settings) -> Iterator[Tail]:
    tail = Tail(settings, TOPIC)
    yield tail
    tail._consumer.close()


def test_nothing_waits(desk: Desk) -> None:
    result = command("list")
    assert (result.exit_code, result.output) == (0, "no dead letters wait\n")


def test_list_groups_by_field_and_reason(desk: Desk, bury: Callable[..., list[int]]) -> None:
    first = bury(b"{", field="", reason="is not JSON")
    bury(b"{}", b"{ }", field="event_id", reason="Field required")
    (newest,) = bury(b"{  }", field="event_id", reason="Field required")
    for arguments in ((), (TOPIC,), (f"{TOPIC}.dlq",), (desk._topic,)):
        head, *kinds = command("list", *arguments).output.splitlines()
        assert head.startswith(f"{TOPIC}: 4 waiting since 20")
        assert [kind.split("(")[0].split() for kind in kinds] == [
            ["3", "event_id:", "Field", "required"],
            ["1", "is", "not", "JSON"],
        ]
        assert f"newest: offset {newest}," in kinds[0]
        assert f"newest: offset {first[0]}," in kinds[1]


def test_show_tells_where_it_came_from(settings: Settings, bury: Callable[..., list[int]]) -> None:
    (offset,) = bury(b'{"store_id": "S1"}')
    lines = command("show", TOPIC, offset).output.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines[:-1])
    assert told.pop("buried").endswith("Z")
    assert told == {
        "topic": settings.topic_prefix + TOPIC,
        "partition": "3",
        "offset": "40",
        "stage": "read",
        "field": "timestamp",
        "error": "is missing",
        "key": "S1",
        "bytes": "18",
    }
    assert lines[-1] == '{"store_id": "S1"}'


NASTY = b'{"a": "\x1b[2J\x1b]0;gotcha\x07\x00\xff\xe2\x80\xae\r\n\xc2\x9b"}'


def test_bytes_that_do_not_print_are_escaped_and_raw_is_exact(bury: Callable[..., list[int]]) -> None:
    (offset,) = bury(NASTY, key=b"\x1b[31m", reason="bad \x1b[31m")
    output = command("show", TOPIC, offset).output
    assert all(char.isprintable() or char == "\n" for char in output)
    assert r"\x1b[2J\x1b]0;gotcha\x07\x00\xff\u202e\r\n\x9b" in output
    assert command("show", TOPIC, offset, "--raw").stdout_bytes == NASTY
    assert "\x1b" not in command("list").output


def test_long_letters_are_cut_when_shown(bury: Callable[..., list[int]]) -> None:
    value = b"x" * 100_000
    (offset,) = bury(value)
    output = command("show", TOPIC, offset).output
    assert len(output) < 6_000
    assert "and 95,904 bytes more; --raw gives all" in output
    assert command("show", TOPIC, offset, "--raw").stdout_bytes == value


def test_no_letter_at_this_offset(desk: Desk, bury: Callable[..., list[int]]) -> None:
    (offset,) = bury(b"{")
    desk.mark([offset], "dropped")
    for other in (offset + 1, offset + 1000):  # a mark, and nothing
        assert command("show", TOPIC, other).exit_code == 1


def test_replay_publishes_the_same_key_and_bytes(desk: Desk, bury: Callable[..., list[int]], tail: Tail) -> None:
    """An older version had refused them; this one reads them."""
    values = [event(), b" " + event(zone_id="caf\u00e9") + b"\n"]
    offsets = bury(*values)
    result = command("replay", TOPIC, "--all")
    assert (result.exit_code, result.output) == (0, f"2 replayed to {TOPIC}\n")
    records = tail.take(2)
    assert [(record.key(), record.value()) for record in records] == [(b"S1", value) for value in values]
    origins = [dict(record.headers())["replayed_from"].decode() for record in records]
    assert origins == [f"{desk._topic}/{offset}" for offset in offsets]
    assert waiting(desk) == []
    assert command("list").output == "no dead letters wait\n"
    again = command("replay", TOPIC, "--all")
    assert (again.exit_code, again.output) == (1, f"0 replayed to {TOPIC}\n")


def test_a_key_decides_the_partition_again(settings: Settings, bury: Callable[..., list[int]], tail: Tail) -> None:
    """Replayed facts of a store stand where its other facts do."""
    value = event(store_id="S77")
    producer = kafka_producer(settings)
    producer.produce(settings.topic_prefix + TOPIC, value, b"S77")
    assert producer.flush(10) == 0
    bury(value, key=b"S77")
    command("replay", TOPIC, "--all")
    records = tail.take(2)
    assert len({record.partition() for record in records}) == 1


def test_what_still_cannot_be_read_stays(desk: Desk, bury: Callable[..., list[int]], tail: Tail) -> None:
    bad, no_value, good, late = bury(event(dwell_ms=-1), None, event(), event(timestamp="2999-01-01T00:00:00Z"))
    result = command("replay", TOPIC, "--all")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"1 replayed to {TOPIC}",
        f"  offset {bad} still cannot be read: dwell_ms: Input should be greater than or equal to 0",
        f"  offset {no_value} still cannot be read: has no value",
        f"  offset {late} still cannot be read: timestamp: lies too far in the future; check the sender's clock",
    ]
    tail.take(1)
    assert waiting(desk) == [bad, no_value, late]
    assert good not in waiting(desk)


def test_replay_only_what_was_chosen(desk: Desk, bury: Callable[..., list[int]], tail: Tail) -> None:
    by_time = bury(event(), event(), event(), field="timestamp")
    by_zone = bury(event(), event(), field="zone_id")
    assert "1 replayed" in command("replay", TOPIC, "--offset", by_time[1]).output
    assert waiting(desk) == [by_time[0], by_time[2], *by_zone]
    assert "2 replayed" in command("replay", TOPIC, "--field", "zone_id").output
    assert waiting(desk) == [by_time[0], by_time[2]]
    assert "0 replayed" in command("replay", TOPIC, "--field", "zone_id", "--offset", by_time[0]).output
    tail.take(3)


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "--offset", 1), ("--all", "--field", "x"), ("--all", "--from", "x")]
)
@pytest.mark.parametrize("name", ["replay", "drop"])
def test_which_letters_must_be_said(desk: Desk, name: str, arguments: tuple[str | int, ...]) -> None:
    assert command(name, TOPIC, *arguments).exit_code == 2


def test_letters_are_mended_in_a_file(desk: Desk, bury: Callable[..., list[int]], tail: Tail, tmp_path: Path) -> None:
    broken = event(store_id="S9", dwell_ms=-1, metadata={"note": "caf\u00e9"}).replace(b", ", b",\r\n")
    mended, left, still_bad = bury(broken, broken, broken, key=b"wrong")
    file = tmp_path / "letters.tsv"
    assert command("replay", TOPIC, "--all", "--to", file).exit_code == 0
    assert waiting(desk) == [mended, left, still_bad], "writing a file handles nothing"
    assert command("replay", TOPIC, "--all", "--to", file).exit_code == 2, "it must not write over somebody's work"
    first, _, third = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first.replace(b": -1", b": 1") + third)
    result = command("replay", TOPIC, "--from", file)
    assert result.output.splitlines()[0] == f"1 replayed to {TOPIC}"
    assert f"offset {still_bad} still cannot be read: dwell_ms" in result.output
    assert waiting(desk) == [left, still_bad]
    (record,) = tail.take(1)
    assert record.key() == b"S9", "the key is the store that the mended bytes name"
    assert json.loads(record.value()) == json.loads(broken) | {"dwell_ms": 1}


@pytest.mark.parametrize("text", [b"{}\n", b"x\t{}\n", b"\t{}\n", b"-1\t{}\n", b"1\t{}\n\n"])
def test_a_file_of_something_else_is_refused(desk: Desk, tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "letters.tsv"
    file.write_bytes(text)
    result = command("replay", TOPIC, "--from", file)
    assert result.exit_code == 2
    assert "does not begin with an offset and a tab" in " ".join(result.output.replace("│", " ").split())


def test_drop_asks_first(desk: Desk, bury: Callable[..., list[int]]) -> None:
    first, second = bury(b"{", b"[")
    for answer in ("n\n", ""):
        assert command("drop", TOPIC, "--all", answer=answer).exit_code == 1
        assert waiting(desk) == [first, second]
    assert command("drop", TOPIC, "--offset", first, answer="y\n").exit_code == 0
    assert waiting(desk) == [second]
    assert command("drop", TOPIC, "--all", "--yes").output == "1 dropped\n"
    assert waiting(desk) == []
    assert command("drop", TOPIC, "--all", "--yes").exit_code == 1
    assert command("show", TOPIC, first, "--raw").stdout_bytes == b"{", "Kafka keeps the bytes"


def test_what_is_buried_during_the_question_stays(
    desk: Desk, bury: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(b"{")
    later: list[int] = []

    def confirm(*_: Any, **__: Any) -> bool:
        later.extend(bury(b"["))
        return True

    monkeypatch.setattr(typer, "confirm", confirm)
    assert command("drop", TOPIC, "--all").output.endswith("1 dropped\n")
    assert waiting(desk) == later != []


def test_a_crash_between_publishing_and_marking_loses_nothing(
    settings: Settings, desk: Desk, bury: Callable[..., list[int]], tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = bury(event())
    with monkeypatch.context() as broken:
        broken.setattr(Desk, "mark", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            desk.replay(Choice())
    assert waiting(desk) == offsets
    assert Desk(settings, TOPIC).replay(Choice()).published == 1
    assert waiting(desk) == []
    first, second = tail.take(2)
    assert first.value() == second.value()


def test_many_letters(desk: Desk, bury: Callable[..., list[int]], tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches and, with every other letter unreadable, several marks a batch."""
    monkeypatch.setattr(dead_letter_desk, "SPANS_PER_MARK", 7)
    good, bad = [event() for _ in range(500)], [event(dwell_ms=-i - 1) for i in range(500)]
    offsets = bury(*[value for pair in zip(good, bad, strict=True) for value in pair])
    outcome = desk.replay(Choice())
    assert outcome.published == 500
    assert [offset for offset, _ in outcome.unreadable] == offsets[1::2]
    assert waiting(desk) == offsets[1::2]
    assert [record.value() for record in tail.take(500)] == good
    assert "and 480 more" in command("replay", TOPIC, "--all").output


def test_an_unknown_topic_is_told(desk: Desk) -> None:
    for name in ("nonsense", "visit-events.dlq.dlq", ""):
        result = command("list", name)
        assert result.exit_code == 2
        assert "is not a topic with dead letters" in " ".join(result.output.replace("│", " ").split())


def test_topics_that_are_not_there_are_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = settings.model_copy(update={"topic_prefix": "nowhere."})
    monkeypatch.setattr("aisleflow.settings.settings", lambda: elsewhere)
    result = command("list", TOPIC)
    assert result.exit_code == 3
    assert "`aisleflow topics` creates what is missing" in result.output


def test_without_kafka_it_says_so(make_world: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_desk, "ANSWER_WITHIN_S", 1)
    settings = make_world(None, None)
    monkeypatch.setattr("aisleflow.settings.settings", lambda: settings)
    for arguments in (("list",), ("show", TOPIC, 1), ("replay", TOPIC, "--all"), ("drop", TOPIC, "--all", "--yes")):
        result = command(*arguments)
        assert result.exit_code == 3, result.output
        assert f"(Kafka at {settings.kafka_bootstrap})" in result.output


@given(st.sets(st.integers(0, 200)))
def test_spans_hold_exactly_the_offsets(offsets: set[int]) -> None:
    spans = spans_over(sorted(offsets))
    held = dead_letter_desk._Spans(iter(reversed(spans)))
    assert {offset for offset in range(-1, 203) if offset in held} == offsets
    assert len(held._starts) == len(spans)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10))))
def test_spans_of_several_marks_may_overlap(found: list[tuple[int, int]]) -> None:
    held = dead_letter_desk._Spans((first, first + more) for first, more in found)
    wanted = {offset for first, more in found for offset in range(first, first + more + 1)}
    assert {offset for offset in range(-1, 70) if offset in held} == wanted


@given(st.dictionaries(st.integers(0, 2**63 - 1), st.binary()))
def test_a_file_for_editing_keeps_everything_but_line_breaks(values: dict[int, bytes]) -> None:
    file = io.BytesIO()
    letters = [dead_letter_desk.Letter(offset, 0, None, value, {}) for offset, value in values.items()]
    assert write_for_editing(letters, file) == len(values)
    file.seek(0)
    assert read_edited(file) == {offset: b" ".join(value.splitlines()) for offset, value in values.items()}


@given(st.binary())
def test_printable_is_printable(data: bytes) -> None:
    assert printable(data).isprintable()


def test_the_table_knows_what_was_replayed_and_dropped(
    kafka: str, clickhouse: str, make_world: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_world(kafka, clickhouse)
    monkeypatch.setattr("aisleflow.settings.settings", lambda: settings)
    source = settings.topic_prefix + TOPIC
    buried = [
        DeadLetter(source, 3, 40 + i, b"S1", value, "read", Refusal("timestamp", "is missing"))
        for i, value in enumerate((event(), event(), b"{"))
    ]
    asyncio.run(DeadLetterBox(kafka_producer(settings)).put(buried))
    with clickhouse_client(settings) as client:
        sink = ClickHouseSink(client)
        sink.insert_blocking(dead_letters.TABLE, dead_letters.COLUMNS, dead_letters.letter_rows(buried), "cycle")
        assert command("drop", TOPIC, "--offset", 1, "--yes").exit_code == 0
        assert command("replay", TOPIC, "--all").exit_code == 1, "one still cannot be read"
        found = client.query(
            "SELECT offset, error, store_id, handled FROM dead_letters FINAL ORDER BY offset"
        ).result_rows
    assert found == [
        (40, "timestamp", "S1", "replayed"),
        (41, "timestamp", "S1", "dropped"),
        (42, "timestamp", "S1", ""),
    ]


def test_marks_hold_where_clickhouse_is_away(
    settings: Settings, desk: Desk, bury: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = bury(b"{")
    away = settings.model_copy(update={"clickhouse_url": SecretStr("http://127.0.0.1:1/x")})
    monkeypatch.setattr("aisleflow.settings.settings", lambda: away)
    result = command("drop", TOPIC, "--offset", offsets[0], "--yes")
    assert (result.exit_code, waiting(desk)) == (0, [])
    assert "still lists them as waiting" in result.output
