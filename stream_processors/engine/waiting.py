"""Waiting for what a worker needs before it starts, so that the order in which parts start does not matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from aisleflow import log
from aisleflow.clients import kafka_config
from aisleflow.settings import Settings

logger = log.get(__name__)
T = TypeVar("T")

PATIENCE_S = 300.0
SAY_EVERY_S = 10.0
TRY_EVERY_S = 0.5
EXIT_AWAY = 69


class Away(Exception):
    """What a worker needs is not there yet; the message says what."""


def until_there(
    what: str, look: Callable[[], T], away: tuple[type[Exception], ...], *, patience_s: float = PATIENCE_S
) -> T:
    """Return what ``look`` returns, looking again as long as it raises one of ``away``, and say so every 10 seconds and
    whenever the reason is another one.

    Raises:
        SystemExit: with ``EXIT_AWAY``, when it is still away after ``patience_s``; whoever runs the worker starts it again.
    """
    began = time.monotonic()
    said, reason = 0.0, ""
    while True:
        try:
            return look()
        except away as error:
            waited = time.monotonic() - began
            changed, reason = reason != (now := str(error)[:300]), now
            told = {"what": what, "for_s": round(waited), "error": reason}
            if waited >= patience_s:
                logger.error("gave_up_waiting", **told)
                raise SystemExit(EXIT_AWAY) from None
            if changed or waited - said >= SAY_EVERY_S:
                said = waited
                logger.warning("waiting_for_part", **told, gives_up_after_s=round(patience_s))
        time.sleep(TRY_EVERY_S)


def wait_for_topics(settings: Settings, names: Iterable[str], *, patience_s: float = PATIENCE_S) -> None:
    """Return when Kafka answers and has these topics (names of the registry).

    Raises:
        SystemExit: see :func:`until_there`.
    """
    # What it would say of each attempt is said above, now and then.
    admin = AdminClient({**kafka_config(settings), "log_level": 0})
    wanted = {settings.topic_prefix + name for name in names}

    def look() -> None:
        there = admin.list_topics(timeout=5).topics
        if missing := sorted(wanted - there.keys()):
            raise Away(f"there is no topic {', '.join(missing)}, or not for this user: run `aisleflow topics`")

    until_there(f"Kafka at {settings.kafka_bootstrap}", look, (KafkaException, Away), patience_s=patience_s)
