"""Publishing from asynchronous code, on real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aisleflow.clients import Delivered
from aisleflow.settings import Settings
from api.publisher import Publisher, Record
from schemas.topics import VISIT_EVENTS
from tests.fatal import give_up


@pytest.mark.system
async def test_a_fatal_error_costs_no_more_than_what_was_on_its_way(
    make_world: Callable[..., Settings], kafka: str
) -> None:
    publisher = Publisher(make_world(kafka, None))
    records = [Record(VISIT_EVENTS.name, "S", b"{}")] * 50
    try:
        assert all(isinstance(outcome, Delivered) for outcome in await publisher.publish(records))
        on_its_way = asyncio.create_task(publisher.publish(records))
        await asyncio.sleep(0)
        give_up(publisher._producer)
        assert {type(outcome) for outcome in await asyncio.wait_for(on_its_way, 20)} <= {Delivered, type(None)}
        outcomes = await asyncio.wait_for(publisher.publish(records), 20)
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    finally:
        publisher.close()
