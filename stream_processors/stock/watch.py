"""Stock-outs and impossible balances over time: opened once, kept current, closed; beside the cycles of a stock worker.

The rows and alerts are those of all anomalies (``stream_processors/anomaly_watch.py``). What may run out is not judged here but
read from ``stock_outlook``, which ``aisleflow restock`` keeps by way of the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from aisleflow.clients import LastingProducer, partition_of
from aisleflow.settings import Settings
from stream_processors.anomalies import STOCK_TYPES
from stream_processors.anomaly_watch import AlertBook, pause_s
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.stock.alerts import detect
from stream_processors.stock.history import StockHistory

#: What was touched before a crash is found when all shops are looked at: at the start, and from time to time.
ALL_EVERY_S = 600.0


class StockWatch:
    """Looks at the stores whose stock or outlook has changed."""

    def __init__(
        self,
        settings: Settings,
        sink: ClickHouseSink,
        history: StockHistory,
        producer: LastingProducer,
        touched: set[str],
    ) -> None:
        """``touched`` are the stores with something new, which this takes out."""
        self._sink = sink
        self._history = history
        self._book = AlertBook(settings, sink, history, producer, STOCK_TYPES)
        self._touched = touched
        self._partitions = settings.store_partitions

    async def run(self, partitions: Callable[[], set[int]]) -> None:
        """Look for ever. ``partitions`` tells which store partitions this worker holds."""
        held: set[int] = set()
        looked_at_all = 0.0
        took_s = 0.0
        while True:
            await asyncio.sleep(pause_s(took_s))
            began = time.monotonic()
            stores = set(self._touched)
            self._touched.difference_update(stores)
            mine = partitions()
            if mine - held or time.monotonic() - looked_at_all > ALL_EVERY_S:
                stores |= await self._sink.until_answered(self._history.stores_in_trouble)
                looked_at_all = time.monotonic()
            held = mine
            # A store that another worker has taken over is looked at there, and by nobody else.
            stores = {name for name in stores if partition_of(name, self._partitions) in mine}
            try:
                if stores:
                    await self._sink.until_answered(self.look, stores)
            except Exception:
                self._touched |= stores
                raise
            took_s = time.monotonic() - began

    def look(self, stores: Collection[str]) -> None:
        """Judge these stores as of their newest movement or outlook."""
        names = tuple(stores)
        moments = self._history.moments(names)
        calendars = self._history.calendars(moments)
        negative, at_risk = self._history.negative(names), self._history.at_risk(names)
        drifting = self._history.drifting(names)
        held = self._history.open_anomalies(names, STOCK_TYPES)
        self._book.settle(
            {
                name: (
                    at,
                    calendars[name],
                    detect(
                        calendars[name],
                        negative[name],
                        at_risk[name],
                        drifting[name],
                        [
                            (one.finding.subject, one.finding.severity)
                            for one in held.get(name, ())
                            if one.finding.type == "STOCKOUT_RISK" and one.closed_at is None
                        ],
                    ),
                )
                for name, at in moments.items()
            },
            STOCK_TYPES,
        )
