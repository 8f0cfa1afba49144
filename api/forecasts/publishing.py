"""A forecast onto the log, from where the workers bring it to ClickHouse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from api.events.ingest import Ingest
from api.forecasts.asked import PredictRequest
from schemas import topics
from schemas.events import dump

if TYPE_CHECKING:
    from forecasting.service import Answer


async def publish(ingest: Ingest, wanted: PredictRequest, answer: Answer) -> str:
    """Publish the answer as the shop's forecast of the product; its event_id.

    Raises:
        UnavailableError: Kafka did not acknowledge it.
    """
    from forecasting.publishing import event_of

    assert wanted.store_id is not None  # the request was checked
    event = event_of(answer, wanted.store_id, wanted.product_id, datetime.now(UTC))
    await ingest.publish_one(topics.FORECASTS.name, wanted.store_id, dump(event))
    return event.event_id
