"""Kafka as ``docker-compose.yml`` starts it, without a container engine: its variables become properties by the image's own
launch code (``kafka.docker.KafkaDockerWrapper``, which the broker's jar holds), and our jars start with those.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from aisleflow.commands import producers, topics
from aisleflow.settings import Settings
from infra.kafka.broker import answers, jars_dir
from tests.conftest import free_port, process
from tests.security.test_kafka_access import REFUSED, read, written

pytestmark = pytest.mark.system
COMPOSE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
# The image brings one like it, and its launch code wants every part of it.
LOGGING = """
Configuration:
  Properties: {Property: []}
  Appenders: {Console: {name: STDOUT}, RollingFile: []}
  Loggers: {Root: {level: WARN, AppenderRef: [{ref: STDOUT}]}, Logger: []}
"""
JAVA = ["java", "-Xmx256m", "-cp", f"{jars_dir()}/*"]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of the listener for containers and of that for the world."""
    folder = tmp_path_factory.mktemp("compose")
    internal, external, controller = free_port(), free_port(), free_port()
    ports = {"19092": internal, "9092": external, "9093": controller}
    variables = {"CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw"}
    for name, value in COMPOSE["services"]["kafka"]["environment"].items():
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        text = re.sub(r"//(?:kafka|localhost)?:", "//127.0.0.1:", text).replace("localhost", "127.0.0.1")
        text = re.sub(r":(\d{4,5})\b", lambda port: f":{ports.get(port[1], port[1])}", text)
        variables[name] = text
    variables["KAFKA_LOG_DIRS"] = str(folder / "data")
    for name in ("defaults", "mounted", "final"):
        (folder / name).mkdir()
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (folder / "defaults" / name).write_text(LOGGING if name.endswith("yaml") else "")
    places = [
        f"--{kind}-configs-dir={folder / place}"
        for kind, place in (("default", "defaults"), ("mounted", "mounted"), ("final", "final"))
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    done = subprocess.run(
        [*JAVA, "kafka.docker.KafkaDockerWrapper", "setup", *(word for place in places for word in place.split("="))],
        env={**inherited, **variables}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    start = [*JAVA, "kafka.Kafka", str(folder / "final" / "server.properties")]
    with process(start, folder / "kafka.log", lambda: answers(f"127.0.0.1:{internal}")):
        yield f"127.0.0.1:{internal}", f"127.0.0.1:{external}"


def test_from_outside_nobody_comes_in_without_a_password(kafka: tuple[str, str]) -> None:
    _, external = kafka
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": external, "log_level": 0}).list_topics(timeout=2)


def test_a_till_made_inside_writes_from_outside_and_reads_nothing(kafka: tuple[str, str], tmp_path: Path) -> None:
    internal, external = kafka
    inside = Settings(_env_file=None, kafka=internal, data_dir=tmp_path)
    topics.ensure(inside)
    made = producers.create(inside, "till", ["ST1"], ["transactions"])
    config = {"bootstrap.servers": external, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}
    config |= {"sasl.username": "till", "sasl.password": made["password"]}
    assert written(config, "transactions.from.ST1", b"{}") is None
    assert read({"bootstrap.servers": internal}, "transactions.from.ST1", "look") == [b"{}"]
    for topic in ("transactions", "visit-events"):
        assert written(config, topic, b"{}") == REFUSED
        assert isinstance(read(config, topic, "till"), int)
    assert isinstance(read(config, "transactions.from.ST1", "till"), int)
    producers.delete(inside, "till")
    assert written(config, "transactions.from.ST1", b"{}") is not None
