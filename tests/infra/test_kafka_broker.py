"""The broker that Maven fetched, and the registry's topics in it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from aisleflow.clients import kafka_config
from aisleflow.commands import topics
from aisleflow.settings import Settings
from infra.kafka import broker
from infra.kafka.broker import Broker, BrokerError
from schemas.topics import TOPICS
from stream_processors.engine.worker import credentials
from tests.conftest import free_port, process, running_kafka


def test_the_broker_listens_on_loopback_only_and_makes_no_topics(tmp_path: Path) -> None:
    properties = dict(line.split("=", 1) for line in Broker(tmp_path, 1, 2).properties().splitlines())
    assert properties["listeners"] == "CLIENTS://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert properties["auto.create.topics.enable"] == "false"
    largest = max(int(topic.config["max.message.bytes"]) for topic in TOPICS.values())
    assert int(properties["message.max.bytes"]) >= largest


@pytest.mark.parametrize(("program", "advice"), [("java", "install Java"), ("mvn", "install it to fetch")])
def test_a_missing_program_is_named(program: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real = {name: f"/usr/bin/{name}" for name in ("java", "mvn") if name != program}
    monkeypatch.setattr(broker.shutil, "which", real.get)
    with pytest.raises(BrokerError, match=advice):
        broker.fetch_jars()


def test_offline_is_said_and_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake = tmp_path / "bin" / "mvn"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho '[ERROR] Unknown host' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(BrokerError, match=r"offline\?\n\[ERROR\] Unknown host"):
        broker.fetch_jars()
    assert not broker.jars_dir().exists()
    assert not list(broker.jars_dir().parent.iterdir())


def test_a_java_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(broker, "java_version", lambda: 11)
    with pytest.raises(BrokerError, match="Java 11 is too old"):
        broker.fetch_jars()


def test_nobody_there_does_not_answer() -> None:
    assert not broker.answers(f"127.0.0.1:{free_port()}")
    assert not broker.responds(free_port())


def test_a_broker_that_is_stopped_accepts_and_does_not_respond(tmp_path: Path) -> None:
    with running_kafka(tmp_path / "kafka", port := free_port()):
        (pid,) = (
            int(found.parent.name)
            for found in Path("/proc").glob("[0-9]*/cmdline")
            if str(tmp_path / "kafka").encode() in found.read_bytes()
        )
        assert broker.responds(port)
        os.kill(pid, signal.SIGSTOP)
        assert not broker.responds(port, 0.5)
        os.kill(pid, signal.SIGCONT)
        assert broker.responds(port, 10)
    assert not broker.answers("nonsense")


def create(address: str, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": address})  # must live until the answer is there
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result()


@pytest.mark.system
def test_topics_are_created_once_and_never_changed(kafka: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, kafka=kafka, topic_prefix="once.", data_dir=tmp_path)
    assert sorted(topics.ensure(settings)) == sorted(f"once.{name}" for name in TOPICS)
    assert topics.ensure(settings) == []
    admin = AdminClient({"bootstrap.servers": kafka})
    found = admin.list_topics(timeout=10).topics
    for topic in TOPICS.values():
        assert len(found[f"once.{topic.name}"].partitions) == topic.partitions
    name = next(iter(TOPICS))
    create(kafka, f"other.{name}", TOPICS[name].partitions + 1)
    with pytest.raises(topics.TopicsError, match=f"other.{name} has {TOPICS[name].partitions + 1} partitions"):
        topics.ensure(settings.model_copy(update={"topic_prefix": "other."}))


@pytest.mark.system
def test_an_installation_chooses_its_partitions_once(kafka: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, kafka=kafka, topic_prefix="wide.", store_partitions=3, data_dir=tmp_path)
    topics.ensure(settings)
    found = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics
    for topic in TOPICS.values():
        assert len(found[f"wide.{topic.name}"].partitions) == (1 if topic.event is None else 3)
    with pytest.raises(topics.TopicsError, match="has 3 partitions instead of 4: set AISLEFLOW_STORE_PARTITIONS"):
        topics.ensure(settings.model_copy(update={"store_partitions": 4}))


@pytest.mark.system
def test_a_misspelt_topic_is_an_error(kafka: str) -> None:
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": kafka, "message.timeout.ms": 3000})
    producer.produce("no-such-topic", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)
    assert errors
    assert errors[0] is not None
    assert "no-such-topic" not in AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics


@pytest.mark.system
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    port, controller = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "infra.kafka.broker", "--data-dir", str(tmp_path / "kafka"), "--heap-mb", "256"]
    command += ["--port", str(port), "--controller-port", str(controller)]

    def start() -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not broker.answers(address):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return child

    child = start()
    try:
        create(address, "t", 1)
        producer = Producer({"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
        for n in range(5000):
            producer.produce("t", str(n))
        assert producer.flush(30) == 0
        child.kill()
        child.wait()
        began = time.monotonic()
        child = start()
        assert time.monotonic() - began < 30
        producer.produce("t", b"5000")  # the same producer goes on
        assert producer.flush(30) == 0
        consumer = Consumer({"bootstrap.servers": address, "group.id": "g", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition("t", 0, 0)])
        found: list[bytes] = []
        deadline = time.monotonic() + 30
        while len(found) < 5001 and time.monotonic() < deadline:
            found += [message.value() or b"" for message in consumer.consume(1000, 1.0) if message.error() is None]
        consumer.close()
        assert found == [str(n).encode() for n in range(5001)]
    finally:
        child.terminate()
        child.wait(10)


@pytest.mark.system
def test_a_data_directory_is_found_again_on_other_ports(tmp_path: Path) -> None:
    with running_kafka(tmp_path / "kafka", free_port()) as address:
        create(address, "kept", 3)
    with running_kafka(tmp_path / "kafka", free_port()) as address:
        assert len(AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).topics["kept"].partitions) == 3


def test_topics_without_kafka_is_an_error(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, kafka=f"127.0.0.1:{free_port()}", data_dir=tmp_path)
    with pytest.raises(KafkaException):
        topics.ensure(settings, timeout_s=1)


@pytest.mark.system
def test_a_broker_is_secured_and_its_passwords_are_changed_later(tmp_path: Path) -> None:
    with running_kafka(tmp_path / "kafka", free_port()) as address:
        create(address, "kept", 1)
    assert not (tmp_path / "kafka" / "secured").exists()
    first, second = {"admin": "a" * 20, "broker": "b" * 20}, {"admin": "c" * 20, "broker": "d" * 20}
    for users, others in ((first, second), (second, first)):
        with running_kafka(tmp_path / "kafka", port := free_port(), users):
            own = Broker(tmp_path, port, 0, users=users)
            assert "kept" in AdminClient(own.client("admin")).list_topics(timeout=10).topics
            assert not broker.answers(replace(own, users=others).client("admin"), 3)
            assert not broker.answers(f"127.0.0.1:{port}", 3)
    with running_kafka(tmp_path / "kafka", free_port()) as address:
        assert "kept" in AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).topics
    assert not (tmp_path / "kafka" / "secured").exists(), "who ran it in the open may have changed its users"


@pytest.mark.system
async def test_your_own_kafka_with_tls_and_a_password(tmp_path: Path) -> None:
    """SASL_SSL with a certificate authority of one's own: by librdkafka, and by aiokafka as Faust makes it."""
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    openssl += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "ca.pem"]
    subprocess.run(openssl, cwd=tmp_path, check=True, capture_output=True)
    users = {"admin": "a" * 20, "broker": "b" * 20}
    own = Broker(tmp_path / "kafka", free_port(), free_port(), heap_mb=256, users=users)
    own.prepare()
    own.secure()
    (tmp_path / "both.pem").write_text((tmp_path / "key.pem").read_text() + (tmp_path / "ca.pem").read_text())
    tls = {
        "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLER:SASL_PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": tmp_path / "both.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": tmp_path / "ca.pem",
    }
    own.properties_file.write_text(own.properties() + "".join(f"{name}={value}\n" for name, value in tls.items()))
    chosen: dict[str, Any] = {"kafka_user": "admin", "kafka_password": "a" * 20, "kafka_ca_file": tmp_path / "ca.pem"}
    settings = Settings(_env_file=None, kafka=f"127.0.0.1:{own.port}", kafka_security_protocol="SASL_SSL", **chosen)
    config = kafka_config(settings)
    environment = {**os.environ, **own.environment()}
    with process(own.command(), tmp_path / "kafka.log", lambda: broker.answers(config), environment):
        assert not broker.answers({name: value for name, value in config.items() if name != "ssl.ca.location"}, 2)
        assert not broker.answers({**config, "sasl.password": "wrong"}, 2)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap, **credentials_to_aiokafka_auth(credentials(settings))
        )
        await consumer.start()
        assert await consumer.topics() == set()
        await consumer.stop()
