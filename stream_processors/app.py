"""The stream workers as programs: derivations on the engine."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Literal

import faust
from clickhouse_connect.driver.exceptions import OperationalError
from prometheus_client import start_http_server

from aisleflow import log, tracing
from aisleflow.clients import clickhouse_client, kafka_producer
from aisleflow.settings import Settings
from schemas.topics import DERIVED_TOPICS, STOCK_TOPICS
from stream_processors.anomaly_watch import AnomalyWatch
from stream_processors.derivation import Derivation
from stream_processors.engine.dead_letters import DeadLetterBox
from stream_processors.engine.health import HealthReport, worker_name
from stream_processors.engine.liveness import GroupLag, Liveness
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.engine.waiting import until_there, wait_for_topics
from stream_processors.engine.worker import create_app
from stream_processors.history import History
from stream_processors.stock.derivation import StockDerivation
from stream_processors.stock.history import StockHistory
from stream_processors.stock.watch import StockWatch

Derives = Literal["visits", "stock"]

# Collections of the young only: the state, millions of objects, has no cycles, and passes over it would cost more than
# deriving. What cycles there are come from a request or a task, and die young.
GC_THRESHOLDS = (500_000, 50, 1_000_000)

# How old an answer may get for that cycles come less often on a busy machine. Who watches visitors sees them move; how full a
# shelf is changes in minutes, and every cycle costs ClickHouse the same statements.
VISITS_GATHER_S = 0.5
STOCK_GATHER_S = 1.0

logger = log.get(__name__)


def build(settings: Settings, index: int, derives: Derives = "visits") -> faust.App:
    """Wire a worker: Faust, derivation, ClickHouse, the dead letters and what it tells of itself."""
    if derives == "stock":
        settings = settings.model_copy(update={"consumer_group": settings.stock_group})
    client = until_there("ClickHouse", lambda: clickhouse_client(settings), (OperationalError,))
    producer = kafka_producer(settings)
    group_lag = GroupLag(settings)
    liveness = Liveness(lambda: group_lag.of(app.consumer.assignment()))
    sink = ClickHouseSink(client, liveness.beat)
    letters = DeadLetterBox(producer)
    health = HealthReport(settings, worker_name(index, derives), lambda: app.consumer.assignment(), group_lag)

    def beat(seconds: float) -> None:
        liveness.beat()
        health.cycle(seconds)

    def start() -> None:
        liveness.start()
        health.start()

    if derives == "stock":
        stock_history = StockHistory(client)
        stock = StockDerivation(settings, sink, stock_history, letters)
        stock_watch = StockWatch(settings, ClickHouseSink(client), stock_history, producer, stock.touched_stores)
        app = create_app(
            settings,
            STOCK_TOPICS,
            STOCK_GATHER_S,
            prepare=stock.prepare,
            finish=stock.finish,
            on_rebalance=stock.forget,
            watch=stock_watch.run,
            beat=beat,
            on_start=start,
        )
        return app
    history = History(client)
    derivation = Derivation(settings, sink, history, letters)
    # Its own sink: that the watch gets answers does not say that the cycles go on.
    watch = AnomalyWatch(
        settings, ClickHouseSink(client), history, producer, derivation.touched_stores, lambda: group_lag.read_until
    )
    app = create_app(
        settings,
        DERIVED_TOPICS,
        VISITS_GATHER_S,
        prepare=derivation.prepare,
        finish=derivation.finish,
        on_rebalance=derivation.forget,
        watch=watch.run,
        beat=beat,
        on_start=start,
    )
    return app


def run(settings: Settings, index: int, derives: Derives = "visits") -> None:
    """Run a worker until it is told to stop. It waits for Kafka, its topics and ClickHouse, five minutes for each.

    Args:
        settings: as for every program.
        index: 0 for the first worker on this machine; its metrics answer on ``metrics_port + index``.
        derives: what it derives; workers of one kind share the partitions.
    """
    log.configure(settings.log_level)
    for chatty in ("faust", "mode", "aiokafka"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    tracing.configure(settings, "aisleflow-worker")
    gc.set_threshold(*GC_THRESHOLDS)
    start_http_server(settings.metrics_port + index, addr=settings.metrics_host)
    wait_for_topics(settings, STOCK_TOPICS if derives == "stock" else DERIVED_TOPICS)
    app = build(settings, index, derives)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = faust.Worker(app, loop=loop, loglevel=None, redirect_stdouts=False, override_logging=False, quiet=True)
    worker.execute_from_commandline()
