"""Rounds of faults over a running system: injected from a seed, timed, checked, counted."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random
from typing import Any
from urllib.error import HTTPError

from producers.simulator.shops import make_shops
from tests.faults.checker import Checker
from tests.faults.faults import Fault, KillSupervisor, Scene
from tests.faults.feed import Feed, days_from
from tests.faults.system import FaultySystem
from tests.system.running import Answers

RECOVERED_WITHIN_S = 300.0
FIRST_DAY = date(2026, 3, 2)


@dataclass
class Tally:
    """What happened."""

    by_kind: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from the end of each fault until all was ready, answered and derived."""
    wrong: list[str] = field(default_factory=list)
    rounds: int = 0
    requests_hit: int = 0


class Run:
    """A system, a feed, a checker, and rounds of faults over them.

    Args:
        folder: an empty one.
        seed: of shops, feed and proxies; the faults come as schedules.
        per_second: records sent over Kafka; a fifth more goes over HTTP.
        verbose: print each fault.
    """

    def __init__(
        self, folder: Path, seed: int, *, shops: int = 12, days: int = 60, per_second: float, verbose: bool
    ) -> None:
        # It tells of every answer that a proxy withholds.
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
        self.tally = Tally()
        self._verbose = verbose
        self._failures: list[str] = []
        self.began = time.monotonic()
        self.system = FaultySystem(folder, 2, Random(f"proxies {seed}"))
        try:
            shops_made = make_shops(shops, seed)
            self.feed = Feed(
                self.system.settings, self.system.url, shops_made, days_from(FIRST_DAY, days), seed, per_second
            )
            self.checker = Checker(self.system.settings, self.system.direct, self.feed)
            self.checker.start()
            # A shop with a layout, on Kafka, on its first day: visitors of that day can only become more.
            watched = next(shop for shop in shops_made[2:] if shop.has_layout)
            self.answers = Answers(self.system.url, f"/stores/{watched.store_id}/metrics?date={FIRST_DAY}")
            self.scene = Scene(self.system, self.feed)
        except BaseException:
            self.system.stop()
            raise

    def round(self, faults: Sequence[Fault]) -> None:
        """Inject these faults at their times, and return when the system has recovered from the last."""
        began = time.monotonic()
        threads: list[threading.Thread] = []
        lanes: dict[str, threading.Lock] = defaultdict(threading.Lock)
        for fault in faults:
            time.sleep(max(0.0, began + fault.at_s - time.monotonic()))
            if isinstance(fault, KillSupervisor):  # concerns every part, so it comes alone, and the rest later
                for thread in threads:
                    thread.join()
                alone = time.monotonic()
                self._suffer(fault, lanes[fault.lane])
                began += time.monotonic() - alone
                continue
            thread = threading.Thread(target=self._suffer, args=(fault, lanes[fault.lane]), name=fault.kind)
            threads.append(thread)
            thread.start()
        for thread in threads:
            thread.join()
        self.tally.rounds += 1

    def _suffer(self, fault: Fault, lane: threading.Lock) -> None:
        with lane:
            began = time.monotonic()
            try:
                fault.inject(self.scene)
                if (left := began + fault.lasts_s - time.monotonic()) > 0:
                    time.sleep(left)
            except Exception as error:
                self._failures.append(f"{fault} could not be injected: {error!r}")
            finally:
                fault.heal(self.scene)
        over = time.monotonic()
        derived = self.checker.recovery()
        try:
            self.system.wait_for(
                lambda: derived.is_set() and self.answers.last > over and self.system.is_ready(),
                RECOVERED_WITHIN_S,
                0.2,
            )
        except TimeoutError as error:
            self._failures.append(f"after {fault} the system did not recover: {error}")
        took = time.monotonic() - over
        self.tally.by_kind[fault.kind].append(took)
        if self._verbose:
            print(
                f"{began - self.began:8.1f} s  {fault.kind:<36} lasted {over - began:5.1f} s, recovered {took:5.1f} s later",
                flush=True,
            )

    def _is_healthy(self) -> bool:
        """Whether /health says that Kafka, ClickHouse and the workers are there."""
        try:
            parts = self.answers.get("/health")["parts"]
        except (OSError, ValueError):
            return False
        return "down" not in (part["status"] for part in parts.values())

    def check(self, *, go_on: bool = True) -> list[str]:
        """Pause the feed, let the workers catch up, compare everything, go on. What is wrong is in the tally too."""
        wrong = self._failures
        self._failures = []
        try:
            self.feed.pause()
            derived = self.checker.recovery()
            if not derived.wait(RECOVERED_WITHIN_S):
                wrong = [
                    *wrong,
                    f"the workers did not catch up within {RECOVERED_WITHIN_S:.0f} s\n{self.system.said()}",
                ]
            else:
                wrong = wrong + self.checker.compare(self._ask)
        finally:
            if go_on:
                self.feed.resume()
        if self.answers.wrong_zeros:
            wrong.append(f"{self.answers.wrong_zeros} answers said zero visitors where there had been some")
        self.tally.wrong += [one for one in wrong if one not in self.tally.wrong]
        return wrong

    def _ask(self, path: str) -> dict[str, Any]:
        try:
            return self.answers.get(path)
        except HTTPError as error:
            return {"status": error.code, "anomalies": []}

    def stop(self) -> None:
        """End everything."""
        try:
            self.answers.stop()
            self.feed.stop()
            self.checker.end()
        finally:
            self.tally.requests_hit = self.system.clickhouse_proxy.hit
            self.system.stop()

    def report(self) -> str:
        """The figures, as a table."""
        lines = [f"{'fault':<38}{'times':>6}{'recovered after, s (median, longest)':>40}"]
        for kind, took in sorted(self.tally.by_kind.items()):
            lines.append(f"{kind:<38}{len(took):>6}{sorted(took)[len(took) // 2]:>30.1f}{max(took):>10.1f}")
        everything = [took for times in self.tally.by_kind.values() for took in times]
        world = self.checker.world
        figures = {
            "faults injected": len(everything),
            "rounds": self.tally.rounds,
            "seconds": round(time.monotonic() - self.began),
            "records sent over Kafka": self.feed.sent,
            "records posted over HTTP": self.feed.posted,
            "not acknowledged": dict(self.feed.not_acknowledged),
            "events": len(world.event_ids),
            "duplicates among them": world.duplicates,
            "refused, each with its dead letter": world.refused,
            "requests to ClickHouse that went wrong": self.tally.requests_hit or self.system.clickhouse_proxy.hit,
            "samples of committed offsets": self.checker.samples,
            "samples hindered": dict(self.checker.hindrances),
            "records found below them": self.checker.promises_kept,
            "seconds without answers, in all": round(self.answers.without_s, 1),
            "seconds without answers, at most": round(self.answers.longest_s, 1),
            "longest recovery, s": round(max(everything, default=0.0), 1),
            "wrong": len(self.tally.wrong),
        }
        lines += [f"{name:<44}{value!s:>20}" for name, value in figures.items()]
        return "\n".join(lines)
