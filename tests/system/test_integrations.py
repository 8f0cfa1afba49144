"""Every example of docs/integrations.md, run in order as it stands, against a real Kafka and a real API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from schemas.topics import STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS
from tests.conftest import answers, process

DOCUMENT = Path(__file__).parents[2] / "docs/integrations.md"
EXAMPLES = re.findall(r"^```(bash|python)\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def records(settings: Settings, topic: str) -> int:
    """How many records a topic holds."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "count"})
    try:
        places = [TopicPartition(topic, n) for n in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
        return sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    finally:
        consumer.close()


@pytest.mark.system
def test_every_example_runs(kafka: str, clickhouse: str, make_world: Callable[..., Settings], tmp_path: Path) -> None:
    # The examples name topics as they are, without a prefix; nobody else in this session does.
    settings = make_world(kafka, clickhouse, topic_prefix="")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, **environment(settings), "PATH": path}
    assert len(EXAMPLES) >= 8
    api = [sys.executable, "-m", "aisleflow", "api"]
    with process(api, tmp_path / "api.log", lambda: answers(settings.api_port, "/openapi.json"), environment(settings)):
        for language, text in EXAMPLES:
            here = text.replace("127.0.0.1:8000", f"127.0.0.1:{settings.api_port}").replace("127.0.0.1:9092", kafka)
            here = here.replace("examples/", f"{DOCUMENT.parents[1]}/examples/")
            command = ["bash", "-euo", "pipefail", "-c", here] if language == "bash" else [sys.executable, "-c", here]
            done = subprocess.run(
                command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    counts = [records(settings, topic.name) for topic in (STORE_LAYOUTS, VISIT_EVENTS, TRANSACTIONS)]
    assert counts == [2, 2 + 1 + 3, 1 + 1 + 2 + 2]
