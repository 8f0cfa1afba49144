"""``aisleflow worker``."""

from enum import StrEnum
from typing import Annotated

import typer


class Derives(StrEnum):
    """What a worker derives."""

    VISITS = "visits"
    STOCK = "stock"


def worker(
    index: Annotated[int, typer.Option(help="Number of this worker on this machine, from 0.")] = 0,
    derives: Annotated[
        Derives, typer.Option(help="visits: visits, queues, conversion, anomalies; stock: the ledger of stock.")
    ] = Derives.VISITS,
) -> None:
    """Derive what follows from the facts on Kafka."""
    from aisleflow.settings import settings
    from stream_processors import app

    app.run(settings(), index, derives.value)
