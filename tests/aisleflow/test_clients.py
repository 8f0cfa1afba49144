"""The clients of Kafka and ClickHouse that rooms share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from tests.conftest import free_port, running_kafka

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
