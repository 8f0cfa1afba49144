"""``aisleflow worker``."""

from typing import Annotated

import typer


def worker(index: Annotated[int, typer.Option(help="Number of this worker on this machine, from 0.")] = 0) -> None:
    """Derive visits, queues and conversion from the facts on Kafka."""
    from aisleflow.settings import settings
    from stream_processors import app

    app.run(settings(), index)
