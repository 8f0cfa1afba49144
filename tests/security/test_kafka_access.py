"""A secured Kafka: nobody in without a password, each part with what it needs, and producers that may write their shop's
facts and read nothing.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from aisleflow import access
from aisleflow.cli import app
from aisleflow.clients import kafka_config
from aisleflow.commands import producers
from aisleflow.settings import Settings, as_kafka_user
from schemas.topics import DELIVERIES, TOPICS, TRANSACTIONS
from stream_processors.engine.dead_letter_desk import Choice, Desk, Letter
from stream_processors.gate import Gate
from tests.conftest import free_port, secured_kafka

pytestmark = pytest.mark.system
Config = dict[str, Any]
REFUSED = KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as settings:
        yield settings


@pytest.fixture(scope="module")
def admin(kafka: Settings) -> Settings:
    return as_kafka_user(kafka, "admin")


@pytest.fixture(scope="module")
def gate(kafka: Settings) -> Iterator[None]:
    """The gate, with the rights of a gate."""
    stop, problems = threading.Event(), []

    def run() -> None:
        try:
            Gate(as_kafka_user(kafka, "gate")).run(stop)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join(30)
    assert problems == []


def till(settings: Settings, name: str, *stores: str) -> Config:
    """The configuration of a producer just made."""
    made = producers.create(settings, name, list(stores), [TRANSACTIONS.name])
    login = {"kafka_user": name, "kafka_password": made["password"]}
    return kafka_config(Settings(**{**settings.model_dump(), **login}, _env_file=None)) | {"log_level": 0}  # type: ignore[arg-type]


def written(config: Config, topic: str, value: bytes, key: bytes | None = None) -> int | None:
    """Publish one record; the code of Kafka's error, None if it has it."""
    codes: list[int | None] = []
    producer = Producer({**config, "message.timeout.ms": 10_000, "enable.idempotence": True})
    producer.produce(topic, value, key, on_delivery=lambda error, _: codes.append(error and error.code()))
    producer.flush(15)
    return codes[0]


def read(config: Config, topic: str, group: str) -> int | list[bytes]:
    """The records of a topic, or the code of the error that Kafka answers instead."""
    group_config = {"group.id": group, "auto.offset.reset": "earliest", "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer({**config, **group_config})
    found: list[bytes] = []
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended = 0
        while ended < len(partitions):
            message = consumer.poll(10)
            assert message is not None, "Kafka did not answer"
            if (error := message.error()) is None:
                found.append(message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                ended += 1
            else:
                return error.code()
        return found if partitions else REFUSED
    except KafkaException as error:
        code: int = error.args[0].code()
        return code
    finally:
        consumer.close()


def receipt(store: str, number: int, **more: Any) -> bytes:
    fields = {
        "store_id": store,
        "transaction_id": f"T{number}",
        "timestamp": "2026-11-21T10:00:00Z",
        "basket_value": "9.5",
    }
    return json.dumps({**fields, **more}).encode()


def eventually(look: Any, wanted: Any) -> Any:
    """What is looked at, once it is as wanted or half a minute is over."""
    deadline = time.monotonic() + 30
    while (found := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


# --- nobody in without a password ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"sasl.password": "wrong"},
        {"sasl.username": "nobody"},
        {"sasl.mechanism": "PLAIN"},  # would show the password to whoever listens on the port
        {"sasl.mechanism": "SCRAM-SHA-256"},
        None,  # in the open
    ],
)
def test_nobody_is_let_in_without_the_right_password(change: Config | None, admin: Settings) -> None:
    good = kafka_config(admin) | {"log_level": 0}
    config = {"bootstrap.servers": admin.kafka_bootstrap, "log_level": 0} if change is None else good | change
    with pytest.raises(KafkaException):
        AdminClient(config).list_topics(timeout=2)
    AdminClient(good).list_topics(timeout=10)


def test_the_controller_too_wants_a_password(admin: Settings) -> None:
    properties = (admin.data_dir / "kafka" / "server.properties").read_text()
    (line,) = (line for line in properties.splitlines() if line.startswith("listeners="))
    host, port = line.rpartition("CONTROLLER://")[2].split(":")
    assert host == "127.0.0.1"
    # DescribeCluster, version 1, about controllers: a controller in the open answers it.
    request = struct.pack(">hhih", 60, 1, 1, -1) + b"\0" + b"\0\2\0"
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        assert connection.recv(4) == b"", "it closes the connection"


def test_no_password_lies_in_the_brokers_files(admin: Settings) -> None:
    assert admin.kafka_password is not None
    files = [path for path in (admin.data_dir / "kafka").iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"server.properties", "secured"}
    assert all(admin.kafka_password.get_secret_value() not in path.read_text() for path in files)


# --- our own parts --------------------------------------------------------------------------------------------------------

VISITS, ALERTS, DEAD, DOOR = "visit-events", "alerts", "transactions.dlq", "transactions.from.PARTS"
# (user, topics it may write to, topics it may read) of these four and `transactions`
PARTS = [
    ("worker", {"transactions", VISITS, ALERTS, DEAD}, {"transactions", VISITS}),
    ("gate", {"transactions", VISITS, DEAD}, {DOOR}),
    ("api", {"transactions", VISITS}, {"transactions", VISITS}),
    ("simulator", {"transactions", VISITS}, set()),
    ("connect", {"transactions", DEAD}, {"transactions", VISITS, ALERTS}),
    ("webhooks", set(), {"transactions", VISITS, ALERTS}),
    ("cli", {"transactions", VISITS, ALERTS, DEAD, DOOR}, {"transactions", VISITS, ALERTS, DEAD, DOOR}),
]


@pytest.mark.parametrize(("user", "writes", "reads"), PARTS)
def test_each_part_may_do_what_it_needs_and_no_more(
    user: str, writes: set[str], reads: set[str], kafka: Settings, admin: Settings
) -> None:
    if DOOR not in AdminClient(kafka_config(admin)).list_topics(timeout=10).topics:
        till(admin, "parts-till", "PARTS")
    config = kafka_config(as_kafka_user(kafka, user)) | {"log_level": 0}
    topics = ["transactions", VISITS, ALERTS, DEAD, DOOR]
    # Nothing valid: what is looked at is only whether Kafka takes it.
    assert {topic for topic in topics if written(config, topic, b"-") != REFUSED} == writes
    assert {topic for topic in topics if isinstance(read(config, topic, kafka.consumer_group), list)} == reads
    with pytest.raises(producers.ProducersError, match="may not make users"):
        producers.create(as_kafka_user(kafka, user), "made-by-a-part", ["S"], ["transactions"])


def test_every_topic_of_facts_is_open_to_who_needs_it() -> None:
    grants = set(access.parts_grants(Settings(_env_file=None, topic_prefix="p.", consumer_group="g")))
    for topic in TOPICS.values():
        if topic.event is not None and topic.name not in (ALERTS, DELIVERIES.name):
            assert access.Grant("worker", access.READ, f"p.{topic.name}") in grants
            assert access.Grant("api", access.WRITE, f"p.{topic.name}") in grants or topic.key != "store_id"
    assert not {grant for grant in grants if not grant.name.startswith(("p.", "g"))}


def test_connectors_and_webhooks_work_with_what_they_may(kafka: Settings, admin: Settings, tmp_path: Path) -> None:
    """A drop folder's good and bad row as ``connect``, an alert that nobody takes as ``webhooks``."""
    from connectors import webhooks
    from connectors.csv_folder import CsvFolder, Folder
    from connectors.outbox import Outbox
    from connectors.pulling import Puller

    (tmp_path / "a.csv").write_text("no,sku,qty\n1,A,5\n2,A,some\n")
    fields = {
        **{name: {"const": value} for name, value in (("store_id", "SECURE"), ("kind", "RECEIVE"))},
        "timestamp": {"const": "2026-03-03T14:00:00Z"},
        "sku": "sku",
        "quantity": "qty",
    }
    mapped = {"to": "stock-movements", "identity": ["no"], "fields": fields}
    folder = Folder.model_validate({"name": "drop", "folder": tmp_path, "settle_s": 0, "map": mapped})
    as_connect = as_kafka_user(kafka, "connect")
    counts = Puller(as_connect, "c", tmp_path / "state").pull(CsvFolder(folder, "c", {}, as_connect))
    assert (counts.facts, counts.refused) == (1, 1)
    assert Desk(kafka, "stock-movements").summary().count == 1

    as_webhooks = as_kafka_user(kafka, "webhooks").model_copy(update={"webhooks_private": True, "data_dir": tmp_path})
    registered = webhooks.add(as_webhooks, f"http://127.0.0.1:{free_port()}/", ["alerts"], [], 1)
    assert written(kafka_config(admin), ALERTS, b'{"store_id": "SECURE"}', b"SECURE") != REFUSED
    target = webhooks.WebhookTarget(registered, private=True)
    tally = Outbox(as_webhooks, target).run(threading.Event(), until_end=True)
    assert tally.buried == 1
    assert Desk(kafka, "deliveries").summary().count == 1


# --- producers ------------------------------------------------------------------------------------------------------------


def test_a_till_writes_its_shops_receipts_and_reads_nothing(kafka: Settings, admin: Settings, gate: None) -> None:
    config, operator = till(admin, "till-a", "STA"), kafka_config(kafka)
    mine = receipt("STA", 1)
    assert written(config, "transactions.from.STA", mine) is None
    assert eventually(lambda: mine in read(operator, "transactions", "aisleflow.look"), True)  # type: ignore[operator]
    assert eventually(lambda: producers.waiting(kafka, ["transactions.from.STA"]), {}) == {}
    idle = kafka.model_copy(update={"consumer_group": f"{kafka.consumer_group}.idle"})
    assert producers.waiting(idle, ["transactions.from.STA"]) == {"transactions.from.STA": 1}
    for topic in TOPICS:
        assert written(config, topic, receipt("STA", 2)) == REFUSED
        assert isinstance(read(config, topic, "till-a"), int)
    assert isinstance(read(config, "transactions.from.STA", "till-a"), int), "not even what it wrote itself"
    client = AdminClient(config)
    assert client.list_topics(timeout=10).topics.keys() == {"transactions.from.STA"}
    groups: Any = client.list_consumer_groups().result()
    assert groups.valid == []
    member = Consumer({**config, "group.id": kafka.consumer_group, "enable.auto.commit": False})
    with pytest.raises(KafkaException):
        member.committed([TopicPartition("transactions.from.STA", 0)], timeout=3)
    member.close()


def waiting(settings: Settings, choose: str) -> list[Letter]:
    return [letter for letter in Desk(settings, "transactions").waiting() if letter.headers.get("topic") == choose]


def test_a_till_cannot_write_for_another_shop(kafka: Settings, admin: Settings, gate: None) -> None:
    till(admin, "till-c", "STC")  # the other shop has a door too
    config, operator = till(admin, "till-b", "STB"), kafka_config(kafka)
    assert written(config, "transactions.from.STC", receipt("STC", 1)) == REFUSED
    wrong = [
        receipt("STC", 2),
        receipt("STC", 3)[:-1] + b', "store_id": "STB"}',  # the reader takes the last: this one is STB's
        receipt("STB", 4)[:-1] + b', "store_id": "STC"}',
        b'{"store_id": "STB", ',
        b"",
        receipt("STB", 5, timestamp="2999-01-01T00:00:00Z"),
    ]
    for value in wrong:
        assert written(config, "transactions.from.STB", value, b"STC") is None
    buried = eventually(
        lambda: [letter.value for letter in waiting(kafka, "transactions.from.STB")], [*wrong[:1], *wrong[2:]]
    )
    assert buried == [*wrong[:1], *wrong[2:]], "with their bytes, in their order"
    assert {letter.key for letter in waiting(kafka, "transactions.from.STB")} == {b"STC"}
    passed = [value for value in read(operator, "transactions", "aisleflow.look") if b"STC" in value]  # type: ignore[union-attr]
    assert passed == [wrong[1]]
    # Replaying does not let them in either.
    letters = waiting(kafka, "transactions.from.STB")
    outcome = Desk(kafka, "transactions").replay(Choice(frozenset(letter.offset for letter in letters)))
    assert (outcome.published, len(outcome.unreadable)) == (0, len(letters))
    # An operator who mends one sends it through the same door.
    mended = receipt("STB", 6)
    assert (
        Desk(kafka, "transactions")
        .replay(Choice(frozenset({letters[0].offset})), {letters[0].offset: mended})
        .published
    )
    assert eventually(lambda: mended in read(operator, "transactions", "aisleflow.look"), True)  # type: ignore[operator]


def test_removal_ends_access_on_connections_that_are_open(admin: Settings) -> None:
    config, codes = till(admin, "till-d", "STD"), []
    producer = Producer({**config, "message.timeout.ms": 10_000})

    def send() -> int | None:
        producer.produce(
            "transactions.from.STD", b"-", on_delivery=lambda error, _: codes.append(error and error.code())
        )
        producer.flush(15)
        return codes[-1]

    assert send() is None
    assert producers.producers(admin)["till-d"] == ["transactions.from.STD"]
    producers.delete(admin, "till-d")
    assert send() == REFUSED
    assert "till-d" not in producers.producers(admin)
    with pytest.raises(KafkaException):
        AdminClient(config).list_topics(timeout=2)
    with pytest.raises(producers.ProducersError, match="no producer till-d"):
        producers.delete(admin, "till-d")


@pytest.mark.parametrize(
    ("name", "store", "topic", "message"),
    [
        ("worker", "S", "transactions", "own parts"),
        ("a b", "S", "transactions", "is not a name"),
        ("User:x", "S", "transactions", "is not a name"),
        ("x", "S", "alerts", "has no doors"),
        ("x", "S/../T", "transactions", "not a store's id"),
        ("x", "S\n", "transactions", "not a store's id"),
        ("x", "S:1", "transactions", "use HTTP"),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, store: str, topic: str, message: str) -> None:
    with pytest.raises(producers.ProducersError, match=message):
        producers.create(Settings(_env_file=None), name, [store], [topic])


def test_the_commands(admin: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisleflow.settings.settings", lambda: as_kafka_user(admin, "cli"))
    runner = CliRunner()
    done = runner.invoke(app, ["producers", "add", "till-e", "--store", "STE", "--store", "STF", "--json"])
    made = json.loads(done.output.splitlines()[-1])  # the gate of this test logs beside it
    assert made.pop("doors") == ["transactions.from.STE", "transactions.from.STF"]
    assert written(made | {"log_level": 0}, "transactions.from.STF", receipt("STF", 1)) is None
    assert "exists; remove it" in runner.invoke(app, ["producers", "add", "till-e", "--store", "STE"]).output
    listed = runner.invoke(app, ["producers", "list"]).output
    assert "till-e                   transactions.from.STE transactions.from.STF" in listed
    assert made["sasl.password"] not in listed
    shown = runner.invoke(
        app, ["producers", "add", "till-f", "--store", "STF", "--address", "kafka.example:9094"]
    ).output
    assert shown.count("kafka.example:9094") == 3 and 'username: "till-f"' in shown
    assert runner.invoke(app, ["producers", "remove", "till-e"]).exit_code == 0
    assert runner.invoke(app, ["producers", "remove", "till-e"]).exit_code == 1
