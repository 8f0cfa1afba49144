"""The Faust worker: gathers batches, runs a cycle over them, acknowledges what the cycle has confirmed.

Deriving knows nothing of Faust, and Faust nothing of deriving: between them stands ``Cycles``, which hands a list of
``RecordBatch`` to two callables and acknowledges the messages that brought them once the second returns. If one raises,
nothing is acknowledged and the process ends: whoever runs it starts it again, and Kafka delivers the records anew.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import faust
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from faust.types import TP, EventT, StreamT

from aisleflow import log
from aisleflow.settings import Settings
from stream_processors.engine.scheduler import BareRecords, BatchingConsumer, BatchingScheduler, RecordBatch
from stream_processors.engine.traces import traced

logger = log.get(__name__)

T = TypeVar("T")
Prepare = Callable[[Sequence[RecordBatch]], Awaitable[T]]
"""What can be done of a cycle while the one before it is written."""
Finish = Callable[[T], Awaitable[None]]
"""The rest; on return all that follows from its records is confirmed."""

# Messages waiting in the stream; each holds up to a fetch of one partition, so a handful bounds memory.
STREAM_BUFFER_MESSAGES = 16
FETCH_BYTES_PER_PARTITION = 1_048_576
EXIT_FAILED = 76
STOP_PATIENCE_S = 10.0
BUSY_SHARE = 0.2
"""Of the time that cycles may take while they are not full. Each costs ClickHouse the same few statements and parts, however
few its rows are: where they take long, they come less often, and the machine has time for others."""


class Cycles(Generic[T]):
    """Gathers messages for a moment, derives them together, acknowledges them together.

    They come every ``gather_s`` while records do, and less often where they take long (``BUSY_SHARE``), up to ``longest_gather_s``.

    A cycle is prepared while the one before it is finished, since that one mostly waits for ClickHouse; cycles finish
    in their order, one at a time.

    Back-pressure: ``offer`` waits while a full cycle is gathered, Faust's stream buffer fills behind it, and Faust
    stops fetching. At most three cycles are in memory.

    Two workers must never derive the same partition at once: each would write what follows from the facts it knows. So
    ``drain`` comes before a partition is handed on.
    """

    def __init__(
        self,
        prepare: Prepare[T],
        finish: Finish[T],
        beat: Callable[[float], None],
        gather_s: float,
        max_records: int,
        longest_gather_s: float = 0.0,
    ) -> None:
        self._prepare = prepare
        self._finish = finish
        self._beat = beat
        self._gather_s = gather_s
        self._longest_gather_s = longest_gather_s
        self._max_records = max_records
        self._gathered: list[EventT] = []
        self._records = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._full = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._drains = 0
        self._took_s = 0.0

    async def offer(self, event: EventT) -> None:
        """Take a message; waits while a full cycle is gathered already, and lets go of it if a ``drain`` comes
        meanwhile.
        """
        drains = self._drains
        await self._room.wait()
        if drains != self._drains:
            return
        self._gathered.append(event)
        self._records += len(event.value.records)
        if self._records >= self._max_records:
            self._room.clear()
            self._full.set()
        self._arrived.set()

    async def drain(self) -> None:
        """Let go of what is gathered or prepared, which Kafka delivers anew, and wait until the cycle that is being
        finished has ended.
        """
        self._drains += 1
        self._take()
        await self._idle.wait()

    def _take(self) -> list[EventT]:
        events, self._gathered, self._records = self._gathered, [], 0
        self._full.clear()
        self._room.set()
        return events

    async def run(self) -> None:
        """Run cycles for ever; whatever a cycle raises ends the process unacknowledged."""
        finishing: asyncio.Task[None] | None = None
        try:
            while True:
                while not self._gathered:
                    self._arrived.clear()
                    await self._arrived.wait()
                started, drains = time.monotonic(), self._drains
                events = self._take()
                prepared = await self._prepare([event.value for event in events])
                await self._idle.wait()
                if drains != self._drains:
                    continue
                self._idle.clear()
                finishing = asyncio.create_task(_or_leave(self._end(prepared, events, started)))
                # A steady pace keeps inserts few and large; a worker that is behind has its next cycle full already.
                gather_s = max(self._gather_s, min(self._took_s / BUSY_SHARE, self._longest_gather_s))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), gather_s - (time.monotonic() - started))
        finally:
            if finishing is not None:
                finishing.cancel()

    async def _end(self, prepared: T, events: Sequence[EventT], started: float) -> None:
        await self._finish(prepared)
        for event in events:
            event.ack()
        self._idle.set()
        self._took_s = time.monotonic() - started
        self._beat(self._took_s)


def create_app(
    settings: Settings,
    topics: Sequence[str],
    longest_gather_s: float,
    prepare: Prepare[T],
    finish: Finish[T],
    on_rebalance: Callable[[], None],
    watch: Callable[[Callable[[], set[int]]], Awaitable[None]],
    beat: Callable[[float], None],
    on_start: Callable[[], None],
) -> faust.App:
    """The Faust application of one worker.

    Args:
        settings: broker, consumer group, pace.
        topics: the topics it reads, all with the same key and number of partitions.
        longest_gather_s: how far apart cycles may come on a busy machine, unless ``cycle_ms`` asks for more.
        prepare: begins to derive a cycle's batches; see ``Cycles``.
        finish: derives what is prepared.
        on_rebalance: called when partitions are taken from or given to this worker.
        watch: runs beside the cycles for as long as the worker; it is given a function that tells the partitions held.
        beat: called after every cycle with the seconds it took, from its first record taken to all confirmed.
        on_start: called once the worker runs.
    """
    data_dir = settings.data_dir / "faust"
    data_dir.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        settings.consumer_group,
        broker=f"kafka://{settings.kafka_bootstrap.replace(',', ';')}",
        broker_credentials=credentials(settings),
        ConsumerScheduler=BatchingScheduler,
        datadir=str(data_dir),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES_PER_PARTITION,
        stream_buffer_maxsize=STREAM_BUFFER_MESSAGES,
        stream_recovery_delay=0.0,
        broker_commit_interval=0.2,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_max_poll_interval=600.0,
        broker_max_poll_records=settings.max_batch_records,
    )
    app.transport.Consumer = BatchingConsumer
    BareRecords.install()
    cycles = Cycles(
        *traced(prepare, finish), beat, settings.cycle_ms / 1000, settings.max_batch_records, longest_gather_s
    )

    @app.agent(app.topic(*(settings.topic_prefix + topic for topic in topics)), name="derive", concurrency=1)
    async def agent(stream: StreamT[RecordBatch]) -> None:
        async for event in stream.noack().events():
            await cycles.offer(event)

    @app.task
    async def run_cycles() -> None:
        on_start()
        await _or_leave(cycles.run())

    @app.task
    async def run_watch() -> None:
        await _or_leave(watch(lambda: {tp.partition for tp in app.consumer.assignment()}))

    @app.on_partitions_revoked.connect
    async def revoked(_app: Any, revoked: set[TP], **_: Any) -> None:
        # The next holder cannot be assigned before this returns.
        await cycles.drain()
        await app.consumer.commit()
        on_rebalance()

    @app.on_before_shutdown.connect
    async def stopping(_app: Any, **_: Any) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(cycles.drain(), STOP_PATIENCE_S)
        # While it closes, aiokafka no longer looks for the group's coordinator and yet waits for it to take a commit: if
        # their connection is cut at that moment it waits for ever.
        anyway = threading.Timer(STOP_PATIENCE_S, _leave)
        anyway.daemon = True
        anyway.start()

    @app.on_partitions_assigned.connect
    async def assigned(_app: Any, assigned: set[TP], **_: Any) -> None:
        on_rebalance()
        logger.info("partitions_assigned", partitions=len(assigned))

    return app


def credentials(settings: Settings) -> Credentials | None:
    """How aiokafka proves who it is, by the same settings as ``aisleflow.clients.kafka_config``; None in the open."""
    protocol, password = settings.kafka_security_protocol, settings.kafka_password
    if protocol == "PLAINTEXT":
        return None
    context = ssl.create_default_context(cafile=settings.kafka_ca_file) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return SSLCredentials(context)
    return SASLCredentials(
        username=settings.kafka_user or "",
        password=password.get_secret_value() if password else "",
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=context,
    )


def _leave() -> None:
    logger.warning(
        "worker_left", reason="Kafka's client did not close in time; what it had not confirmed is delivered anew"
    )
    os._exit(EXIT_FAILED)


async def _or_leave(work: Awaitable[None]) -> None:
    """Do the work; if it fails, end the process. Faust would acknowledge and go on, where records must be delivered
    anew.
    """
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        logger.error("worker_stops", error=f"{type(error).__name__}: {error}", exc_info=error)
        os._exit(EXIT_FAILED)
