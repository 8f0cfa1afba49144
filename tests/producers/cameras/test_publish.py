"""A camera's events on real Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, TopicPartition

from aisleflow.clients import partition_of
from aisleflow.settings import Settings
from producers.cameras import CameraError
from producers.cameras.publish import Publisher
from schemas.events import CameraHealth, dump
from schemas.topics import CAMERA_HEALTH
from tests.fatal import give_up

pytestmark = pytest.mark.system


def health(minute: int) -> CameraHealth:
    at = datetime(2026, 3, 3, 12, minute, tzinfo=UTC)
    return CameraHealth(event_id=str(uuid.uuid4()), store_id="S", camera_id="C", timestamp=at, state="ONLINE")


def test_a_live_camera_sends_again_what_a_fatal_error_has_cost(make_world: Callable[..., Settings], kafka: str) -> None:
    settings = make_world(kafka, None)
    publisher = Publisher(settings, lasting=True)
    told = [health(minute) for minute in range(30)]
    for number, event in enumerate(told):
        publisher.send(CAMERA_HEALTH, event)
        if number in (5, 20):
            give_up(publisher._producer)
    publisher.close()
    reader = Consumer({"bootstrap.servers": kafka, "group.id": settings.consumer_group})
    name = settings.topic_prefix + CAMERA_HEALTH.name
    reader.assign([TopicPartition(name, partition_of("S", settings.store_partitions), 0)])
    try:
        found = reader.consume(len(told), 20)
    finally:
        reader.close()
    assert {message.value() for message in found} == {dump(event) for event in told}


def test_a_recording_is_to_be_run_again(make_world: Callable[..., Settings], kafka: str) -> None:
    publisher = Publisher(make_world(kafka, None))
    publisher.send(CAMERA_HEALTH, health(0))
    give_up(publisher._producer)
    with pytest.raises(CameraError, match="run it again, nothing doubles"):
        publisher.close()
