"""Tills in four languages, each by a client of its own, against our broker, open and secured: what they publish is in
ClickHouse, what nobody can read lies in the dead letters with its bytes, and a shop lands in one partition whoever publishes.

The programs are those of ``examples/tills``: C on librdkafka, Java on kafka-clients (the broker's own jars hold it),
JavaScript on kafkajs, Python on confluent-kafka; and kcat.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from aisleflow.clients import clickhouse_client, kafka_config, partition_of
from aisleflow.commands import producers
from aisleflow.settings import Settings, as_kafka_user
from aisleflow.supervisor import aisleflow_command, environment
from infra.kafka.broker import jars_dir
from stream_processors.engine.dead_letter_desk import Desk, Letter
from tests.conftest import secured_kafka
from tests.system.conftest import Workers
from tests.system.truth import caught_up

pytestmark = pytest.mark.system
EXAMPLES = Path(__file__).parents[3] / "examples/tills"
Line = tuple[str, bytes]
"""Key and value of a record."""
TOO_LARGE = 1_200_000


class Client:
    """One program that reads lines of key, tab, value and publishes them."""

    def __init__(self, command: Sequence[str], *codecs: str) -> None:
        self.command, self.codecs = list(command), codecs

    def publish(self, lines: Sequence[Line], **variables: str) -> subprocess.CompletedProcess[bytes]:
        """What became of it."""
        return subprocess.run(
            self.command,
            input=b"".join(key.encode() + b"\t" + value + b"\n" for key, value in lines),
            env={**os.environ, **variables},
            capture_output=True,
            timeout=120,
            check=False,
        )


class Kcat(Client):
    """kcat takes its settings as options."""

    def publish(self, lines: Sequence[Line], **variables: str) -> subprocess.CompletedProcess[bytes]:
        settings = {
            "bootstrap.servers": variables["KAFKA"],
            "compression.type": variables.get("COMPRESSION", "none"),
            "partitioner": variables.get("PARTITIONER", "murmur2_random"),
            "enable.idempotence": "true",
        }
        if "KAFKA_USER" in variables:
            settings |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}
            settings |= {"sasl.username": variables["KAFKA_USER"], "sasl.password": variables["KAFKA_PASSWORD"]}
        options = [word for name, value in settings.items() for word in ("-X", f"{name}={value}")]
        whole = Client([*self.command, "-P", "-K", "\t", "-t", variables.get("TOPIC", "transactions"), *options])
        return whole.publish(lines, **{name: value for name, value in variables.items() if name == "LD_PRELOAD"})


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Client]:
    """The programs, built; a missing compiler or package is an error in CI and a skip elsewhere."""
    folder = tmp_path_factory.mktemp("clients")
    for program, package in (
        ("cc", "gcc, librdkafka-dev"),
        ("node", "nodejs"),
        ("npm", "npm"),
        ("javac", "a JDK"),
        ("kcat", "kcat"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing; Debian: {package}")
    build = ["cc", "-O1", "-Wall", "-Werror", str(EXAMPLES / "till.c"), "-o", str(folder / "till"), "-lrdkafka"]
    subprocess.run(build, check=True, timeout=120)
    subprocess.run(
        ["javac", "-cp", f"{jars_dir()}/*", "-d", str(folder), str(EXAMPLES / "Till.java")], check=True, timeout=120
    )
    for name in ("package.json", "package-lock.json", "till.js"):
        shutil.copy(EXAMPLES / name, folder)
    subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=folder, check=True, timeout=120)
    return {
        "C": Client([str(folder / "till")], "gzip", "snappy", "lz4", "zstd"),
        "Java": Client(["java", "-cp", f"{folder}:{jars_dir()}/*", "Till"], "snappy", "lz4"),
        "JavaScript": Client(["node", str(folder / "till.js")], "gzip"),
        "Python": Client([sys.executable, str(EXAMPLES / "till.py")], "zstd"),
        "kcat": Kcat(["kcat"], "snappy"),
    }


LANGUAGES = ("C", "Java", "JavaScript", "Python", "kcat")


def receipt(store: str, name: str, **changes: object) -> bytes:
    """One receipt, with a line, in UTF-8."""
    fields = {
        "store_id": store,
        "transaction_id": name,
        "timestamp": "2026-11-20T10:00:00+05:30",
        "basket_value": "598.00",
        "currency": "INR",
        "payment_kind": "upi",
        "lines": [{"sku": "Crème", "quantity": "2", "unit_price": "299.00"}],
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None}, ensure_ascii=False).encode()


def bad(store: str, language: str) -> list[bytes]:
    """Receipts of a store that nobody can read, each in its own way."""
    return [
        f'{{"store_id": "{store}", "transaction_id": "{language}-cut off", "timesta'.encode(),
        receipt(store, f"{language}-no value", basket_value=None),
        receipt(store, f"{language}-wrong type", basket_value=["12"]),
        receipt(store, f"{language}-no offset", timestamp="2026-11-20T10:00:00"),
        receipt(store, f"{language}-future", timestamp="2999-01-01T00:00:00Z"),
        receipt(store, f"{language}-currency", currency="rupees"),
        receipt(
            store, f"{language}-larger than 256 KiB", lines=[{"sku": "x" * 120, "quantity": 1, "unit_price": 1}] * 1_900
        ),
    ]


def stored(settings: Settings, language: str) -> dict[str, tuple[str, str]]:
    """Store and basket of the receipts of a client, by their ids."""
    with clickhouse_client(settings) as client:
        rows = client.query(
            "SELECT transaction_id, store_id, toString(basket_value), lines.sku FROM transactions FINAL "
            "WHERE startsWith(transaction_id, {l:String})",
            parameters={"l": f"{language}-"},
        ).result_rows
    assert all(skus == ["Crème"] for *_, skus in rows)
    return {name: (store, basket) for name, store, basket, _ in rows}


def letters(settings: Settings, language: str) -> list[Letter]:
    """The dead letters of a client."""
    return [letter for letter in Desk(settings, "transactions").waiting() if language.encode() in (letter.value or b"")]


# --- in the open -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(
    kafka: str, clickhouse: str, make_world: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A world with two workers, so that a store in two partitions would be derived twice."""
    settings = make_world(kafka, clickhouse)
    workers = Workers(settings, tmp_path_factory.mktemp("open"))
    try:
        workers.start()
        workers.start()
        yield settings
    finally:
        workers.stop()


STORES = [f"ST{number}" for number in range(1001, 1021)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_till_publishes_is_counted_or_buried(language: str, clients: dict[str, Client], world: Settings) -> None:
    client, topic = clients[language], f"{world.topic_prefix}transactions"
    open_ = {"KAFKA": world.kafka_bootstrap, "TOPIC": topic}
    good = {f"{language}-{store}": store for store in STORES}
    refused = bad("ST1001", language)
    lines = [(store, receipt(store, name)) for name, store in good.items()]
    lines += [("ST1001", value) for value in refused]
    lines += [("ST1002", receipt("ST1001", f"{language}-wrong key")), ("", receipt("ST1003", f"{language}-no key"))]
    lines += [("never heard of", receipt("NEVER-HEARD-OF", f"{language}-unknown store"))]
    done = client.publish(lines, **open_)
    assert done.returncode == 0, done.stderr
    for codec in client.codecs:
        done = client.publish([("ST1004", receipt("ST1004", f"{language}-{codec}"))], COMPRESSION=codec, **open_)
        assert done.returncode == 0, done.stderr
    done = client.publish([("ST1001", b"x" * TOO_LARGE)], **open_)
    assert b"not delivered" in done.stderr.lower() or done.returncode != 0, (
        "too large is told at once, and nothing is buried"
    )
    caught_up(world, 60)
    named = {"wrong key": "ST1001", "no key": "ST1003", "unknown store": "NEVER-HEARD-OF"} | dict.fromkeys(
        client.codecs, "ST1004"
    )
    wanted = good | {f"{language}-{name}": store for name, store in named.items()}
    assert stored(world, language) == {name: (store, "598") for name, store in wanted.items()}
    found = letters(world, language)
    assert sorted(letter.value or b"" for letter in found) == sorted(refused), "with their bytes"
    assert {letter.key for letter in found} == {b"ST1001"}
    assert {letter.headers["field"] for letter in found} >= {"basket_value", "timestamp", "currency"}


def test_a_shop_lands_in_one_partition_whoever_publishes(clients: dict[str, Client], world: Settings) -> None:
    topic = f"{world.topic_prefix}transactions"
    consumer = Consumer({**kafka_config(world), "group.id": "look", "enable.partition.eof": True})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    where: dict[str, set[int]] = {}
    ended = 0
    while ended < len(partitions):
        message = consumer.poll(10)
        assert message is not None
        if (error := message.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            ended += 1
        elif (key := (message.key() or b"").decode()) in STORES:
            where.setdefault(key, set()).add(message.partition() or 0)
    consumer.close()
    assert where == {store: {partition_of(store, world.store_partitions)} for store in STORES}


def test_a_wrong_partitioner_makes_no_answer_wrong(clients: dict[str, Client], world: Settings) -> None:
    """librdkafka's own default: most shops' receipts lie elsewhere, and are moved."""
    lines = [(store, receipt(store, f"stray-{store}")) for store in STORES]
    where = {"KAFKA": world.kafka_bootstrap, "TOPIC": f"{world.topic_prefix}transactions"}
    done = clients["kcat"].publish(lines, PARTITIONER="consistent_random", **where)
    assert done.returncode == 0, done.stderr
    caught_up(world, 60)
    assert stored(world, "stray") == {f"stray-{store}": (store, "598") for store in STORES}
    assert letters(world, "stray") == []


# --- secured ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(
    clickhouse: str, make_world: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A secured Kafka with a worker and a gate, each as its own user."""
    folder = tmp_path_factory.mktemp("secured")
    with secured_kafka(folder) as cli:
        database = make_world(None, clickhouse).clickhouse_url
        settings = cli.model_copy(update={"clickhouse_url": database})
        workers = Workers(as_kafka_user(settings, "worker"), folder)
        with (folder / "gate.log").open("wb") as log:
            variables = {**os.environ, **environment(as_kafka_user(settings, "gate"))}
            gate = subprocess.Popen(aisleflow_command("gate"), env=variables, stdout=log, stderr=log)
        try:
            workers.start()
            yield settings
        finally:
            workers.stop()
            gate.terminate()
            gate.wait(20)


def newer_librdkafka() -> Path:
    """The library that confluent-kafka brings. SCRAM of those before 2.6.1, such as Debian 12's, is wrong, and Kafka 4 refuses it
    (librdkafka#4895).
    """
    (found,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_secured_till_publishes_for_its_shop_alone(
    language: str, clients: dict[str, Client], secured: Settings
) -> None:
    client, user, store = clients[language], f"till-{language}", f"SHOP-{language}"
    made = producers.create(as_kafka_user(secured, "admin"), user, [store], ["transactions"])
    (door,) = made["doors"]
    login = {"KAFKA": secured.kafka_bootstrap, "KAFKA_USER": user, "KAFKA_PASSWORD": made["password"]}
    if language in ("C", "kcat"):
        login["LD_PRELOAD"] = str(newer_librdkafka())
    wrong = [*bad(store, language), receipt("SHOP-OTHER", f"{language}-for another shop")]
    lines = [("any key", receipt(store, f"{language}-good")), *((store, value) for value in wrong)]
    done = client.publish(lines, TOPIC=door, **login)
    assert done.returncode == 0, done.stderr
    for other in ("transactions", "transactions.from.SHOP-OTHER"):
        done = client.publish([(store, receipt(store, f"{language}-elsewhere"))], TOPIC=other, **login)
        assert done.returncode != 0 or b"fail" in done.stderr.lower(), f"{other} is not its own"
    deadline = time.monotonic() + 60
    while len(letters(secured, language)) < len(wrong) or not stored(secured, language):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = letters(secured, language)
    assert stored(secured, language) == {f"{language}-good": (store, "598")}
    assert sorted(letter.value or b"" for letter in found) == sorted(wrong)
    assert {letter.headers["topic"] for letter in found} == {door}
