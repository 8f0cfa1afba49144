"""The clients of Kafka and ClickHouse that rooms share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import KafkaError, KafkaException

from aisleflow.clients import kafka_producer, produce
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from schemas.topics import VISIT_EVENTS
from tests.conftest import free_port, running_kafka
from tests.fatal import give_up
from tests.faults.proxies import TcpProxy

ASK = """
from aisleflow.clients import group_reader
from aisleflow.settings import Settings
from confluent_kafka import TopicPartition

reader = group_reader(Settings(_env_file=None), "nobody")
print(*(place.offset for place in reader.committed([TopicPartition("visit-events", n) for n in range(2)], timeout=30)))
reader.close()
"""


@pytest.mark.system
def test_a_broker_that_has_just_started_is_asked_for_a_group(tmp_path: Path) -> None:
    """It coordinates no group yet. The admin client's way to ask ends the process then, two times of three."""
    with running_kafka(tmp_path / "kafka", free_port()) as address:
        settings = Settings(_env_file=None, kafka=address)  # type: ignore[call-arg]
        asked = subprocess.run(
            [sys.executable, "-c", ASK],
            env={**os.environ, **environment(settings)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (asked.returncode, asked.stdout.split()) == (0, ["-1001", "-1001"]), asked.stderr


ASK_AGAIN_AND_AGAIN = """
import sys
import time
from aisleflow.clients import group_members, kafka_config
from aisleflow.settings import Settings
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

admin = AdminClient({**kafka_config(Settings(_env_file=None)), "log_level": 0, "reconnect.backoff.max.ms": 100})
until = time.monotonic() + float(sys.argv[1])
told, failed = set(), 0
while time.monotonic() < until:
    try:
        told.add(group_members(admin, "nobody", 2))
    except KafkaException:
        failed += 1
print(*told, failed > 0)
"""


@pytest.mark.system
def test_who_asks_for_the_members_of_a_group_outlives_connections_that_are_cut(tmp_path: Path) -> None:
    """The admin client's newer way to ask aborted the process, in three of five runs of 40 seconds."""
    inner = free_port()
    proxy = TcpProxy(inner, Random(1))
    try:
        with running_kafka(tmp_path / "kafka", inner, advertised_port=proxy.port):
            proxy.make("cuts")
            settings = Settings(_env_file=None, kafka=f"127.0.0.1:{proxy.port}")  # type: ignore[call-arg]
            asked = subprocess.run(
                [sys.executable, "-c", ASK_AGAIN_AND_AGAIN, "15"],
                env={**os.environ, **environment(settings)},
                capture_output=True,
                text=True,
                timeout=60,
            )
    finally:
        proxy.stop()
    assert (asked.returncode, asked.stdout.split()) == (0, ["0", "True"]), asked.stderr


@pytest.mark.system
def test_a_producer_outlives_fatal_errors(make_world: Callable[..., Settings], kafka: str) -> None:
    settings = make_world(kafka, None)
    # So that records still wait when it ends.
    producer = kafka_producer(settings, **{"linger.ms": 1_000, "log_level": 0})
    reports: dict[bytes, KafkaError | None] = {}

    def send(value: bytes) -> None:
        produce(
            *(producer, settings.topic_prefix + VISIT_EVENTS.name, value, "S"),
            on_delivery=lambda error, _: reports.update({value: error}),
        )

    send(b"before")
    assert producer.flush(30) == 0
    for ended in (b"first", b"second"):
        send(ended)
        give_up(producer)
        send(ended + b", again")
        assert producer.flush(30) == 0
    told = {value: error if error is None else error.name() for value, error in reports.items()}
    assert told == {
        b"before": None,
        b"first": "_PURGE_QUEUE",
        b"first, again": None,
        b"second": "_PURGE_QUEUE",
        b"second, again": None,
    }


@pytest.mark.system
def test_whoever_serves_reports_outlives_them_too(make_world: Callable[..., Settings], kafka: str) -> None:
    producer = kafka_producer(make_world(kafka, None), log_level=0)
    for serve in (producer.poll, producer.flush):
        give_up(producer)
        assert serve(1) == 0
    with pytest.raises(KafkaException, match="too large"):
        producer.produce("a", b"." * 2_000_000, b"S")
