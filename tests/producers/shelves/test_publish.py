"""``aisleflow shelf --publish`` with the real model, through a real Kafka, as the stock workers read it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from aisleflow import settings as settings_module
from aisleflow.cli import app
from aisleflow.clients import kafka_config, partition_of
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from producers.simulator.shelves import photo, shelves
from schemas.reading import Refusal, read_shelf_scan
from schemas.topics import SHELF_SCANS
from tests.conftest import free_port
from tests.producers.shelves.test_scan import MODEL

pytestmark = pytest.mark.vision


@pytest.fixture
def shelf(
    vision: None, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, str]]]:
    """The command over two photos of the shop ST-1."""
    import cv2

    photos = [str(tmp_path / f"{number}.png") for number in (1, 2)]
    for number, path in enumerate(photos, 1):
        cv2.imwrite(path, photo(shelves(number)))

    def run(settings: Settings) -> tuple[int, str]:
        for name, value in environment(settings).items():
            monkeypatch.setenv(name, value)
        settings_module.settings.cache_clear()
        options = ["--model", str(material / MODEL), "--store", "ST-1", "--publish", "--json"]
        result = CliRunner().invoke(app, ["shelf", *photos, *options, "--at", "2026-11-21T10:00:00Z"])
        return result.exit_code, result.stdout if result.exit_code == 0 else result.stderr

    yield run
    settings_module.settings.cache_clear()


def test_scans_reach_kafka_as_they_are_printed(
    shelf: Callable[[Settings], tuple[int, str]], kafka: str, make_world: Callable[..., Settings]
) -> None:
    world = make_world(kafka, None, clickhouse_url=None)
    code, first = shelf(world)
    assert code == 0, first
    assert shelf(world) == (0, first), "the same photo again is the same scan"
    topic = world.topic_prefix + SHELF_SCANS.name
    consumer = Consumer({**kafka_config(world), "group.id": "test"})
    consumer.assign([TopicPartition(topic, partition_of("ST-1", SHELF_SCANS.partitions), 0)])
    messages = [consumer.poll(20) for _ in range(4)]
    consumer.close()
    assert [message.key() for message in messages] == [b"ST-1"] * 4
    assert [message.value().decode() for message in messages] == first.splitlines() * 2
    found = [read_shelf_scan(message.value(), int(time.time() * 1000)) for message in messages]
    assert not [one for one in found if isinstance(one, Refusal)]
    assert len({one.event_id for one in found}) == 2  # type: ignore[union-attr]
    assert all(len(one.products) > 20 and one.rows for one in found)  # type: ignore[union-attr]


def test_without_kafka_it_says_so_and_looks_at_nothing(
    shelf: Callable[[Settings], tuple[int, str]], tmp_path: Path
) -> None:
    code, told = shelf(Settings(_env_file=None, kafka=f"127.0.0.1:{free_port()}", data_dir=tmp_path))
    assert code == 1
    assert "Kafka does not answer" in told
