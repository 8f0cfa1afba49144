"""How old an answer is: ``make bench-freshness`` (about nine minutes; ``--help`` for less).

``aisleflow up`` with its real parts takes a steady load that does not wait for it (open loop). Beside it, probes: shops of their own
whose visitors come one by one, and whose ``GET /stores/ID/metrics`` is asked all the time. A probe is seen when an answer counts its
visitor. Its freshness is the time from Kafka's timestamp to the arrival of that answer; half of the looking interval is in it.

Measured at the rates given, at the highest sustained rate (found by a search: the highest at which the workers' lag does not grow), and
while a second worker joins and, half a minute later, leaves in order.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from confluent_kafka import KafkaError, Message
from prometheus_client.parser import text_string_to_metric_families

from aisleflow.clients import kafka_producer
from aisleflow.settings import Settings
from benchmarks._load import Load, Sender
from benchmarks._parts import ASSIGNED, Log, Part
from benchmarks._report import quantile, report
from schemas.topics import VISIT_EVENTS
from tests.conftest import free_port
from tests.system.running import System

DAY_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
WARM_UP_S = 6.0
SEEN_WITHIN_S = 60.0
CAUGHT_UP_WITHIN_S = 180.0
REBALANCE_S = 15.0
# A rate is sustained if the lag's trend is below this share of it and the lag itself below so many seconds of it.
GROWTH_SHARE, LAG_S = 0.02, 3.0
GIVE_UP_RATE = 200_000.0


@dataclass
class Probe:
    """A shop whose visitors are told apart by how many there are."""

    store_id: str
    sent_at: list[float] = field(default_factory=list)
    """Kafka's timestamps, in the order of the log (seconds since 1970)."""
    seen_at: list[float] = field(default_factory=list)

    def count(self, visitors: int, now: float) -> None:
        """An answer that arrived now counts so many visitors."""
        self.seen_at += [now] * (visitors - len(self.seen_at))


class Probes:
    """Sends visitors to some shops and asks the API for these shops until told to stop."""

    def __init__(
        self, settings: Settings, api_port: int, stores: int, per_second: float, looks_per_second: float
    ) -> None:
        name = uuid.uuid4().hex[:6]
        self._probes = [Probe(f"PROBE_{name}_{number}") for number in range(stores)]
        self._settings, self._api_port = settings, api_port
        self._producer = kafka_producer(settings)
        self._per_second, self._look_every_s = per_second, stores / looks_per_second
        self._sent_all, self._seen_all = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._send)]
        self._threads += [threading.Thread(target=self._look, args=(probe,)) for probe in self._probes]
        self.answer_s: list[float] = []
        self.no_answers = 0

    def __enter__(self) -> Probes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more; return when all have been seen or the patience is over."""
        self._sent_all.set()
        self._threads[0].join()
        deadline = time.monotonic() + SEEN_WITHIN_S
        while self.unseen() and time.monotonic() < deadline:
            time.sleep(0.1)
        self._seen_all.set()
        for thread in self._threads:
            thread.join()

    def unseen(self) -> int:
        """Probes on the log that no answer has shown."""
        return sum(len(probe.sent_at) - len(probe.seen_at) for probe in self._probes)

    def freshness_s(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Freshness of the probes whose timestamp lies between two times, in order of size."""
        return sorted(
            seen - sent
            for probe in self._probes
            for sent, seen in zip(probe.sent_at, probe.seen_at, strict=False)
            if since <= sent < until
        )

    def _send(self) -> None:
        began = time.monotonic()
        number = 0
        while not self._sent_all.is_set():
            probe = self._probes[number % len(self._probes)]
            event = {
                "event_id": str(uuid.uuid4()),
                "store_id": probe.store_id,
                "camera_id": "DOOR",
                "visitor_id": f"V{number}",
                "event_type": "ENTRY",
                # Event time is of no matter here, but must fit into one day for one answer to count all.
                "timestamp": datetime.fromtimestamp((DAY_MS + number) / 1000, UTC).isoformat(),
                "confidence": 0.9,
            }
            self._producer.produce(
                self._settings.topic_prefix + VISIT_EVENTS.name,
                json.dumps(event).encode(),
                probe.store_id.encode(),
                on_delivery=partial(self._delivered, probe),
            )
            self._producer.poll(0)
            number += 1
            self._sent_all.wait(max(0.0, began + number / self._per_second - time.monotonic()))
        self._producer.flush(30)

    @staticmethod
    def _delivered(probe: Probe, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise RuntimeError(f"a probe was not delivered: {error}")
        probe.sent_at.append(message.timestamp()[1] / 1000)

    def _look(self, probe: Probe) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._api_port, timeout=30)
        path = f"/stores/{probe.store_id}/metrics?date=2026-03-02"
        while not self._seen_all.is_set():
            began = time.monotonic()
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self.no_answers += 1
                continue
            now = time.time()
            if answer.status == 200:
                self.answer_s.append(time.monotonic() - began)
                probe.count(json.loads(text)["unique_visitors"], now)
            elif answer.status != 404:  # not known before its first visitor
                self.no_answers += 1
            self._seen_all.wait(max(0.0, self._look_every_s - (time.monotonic() - began)))


@dataclass
class Phase:
    """What was measured at one rate."""

    name: str
    per_second: float
    freshness_s: list[float]
    unseen: int
    answer_s: list[float]
    no_answers: int
    lag: list[tuple[float, int]]
    """(time, records)"""
    sender_behind_s: float
    sent_per_second: float

    @property
    def growth(self) -> float:
        """By how many records a second the lag grew."""
        return float(np.polyfit([at for at, _ in self.lag], [lag for _, lag in self.lag], 1)[0])

    @property
    def is_sustained(self) -> bool:
        """Whether the workers kept up."""
        tail = sorted(lag for _, lag in self.lag[len(self.lag) // 2 :])
        keeps_up = self.growth < GROWTH_SHARE * self.per_second and quantile(tail, 0.5) < LAG_S * self.per_second
        return keeps_up and self.sent_per_second > 0.97 * self.per_second

    def row(self) -> tuple[Any, ...]:
        """The figures to report."""
        shares = [round(quantile(self.freshness_s, share), 3) for share in (0.5, 0.99, 0.999)]
        return (
            *(self.name, round(self.per_second), *shares, round(self.freshness_s[-1], 3), len(self.freshness_s)),
            *(self.unseen, round(1000 * quantile(sorted(self.answer_s), 0.5), 1), round(self.growth)),
            "yes" if self.is_sustained else "NO",
        )


COLUMNS = (
    *("what", "records/s", "p50 s", "p99 s", "p99.9 s", "worst s", "probes", "unseen"),
    *("an answer takes ms (p50)", "lag grows, records/s", "sustained"),
)


class Bench:
    """Phases over one running system."""

    def __init__(self, system: System, chosen: argparse.Namespace) -> None:
        self._system, self._chosen = system, chosen
        self._log = Log(system.settings)
        self._api_port = system.ports["api"]
        self._seed = 0

    def caught_up(self) -> None:
        """Return when the workers have confirmed everything.

        Raises:
            TimeoutError: not in time.
        """
        deadline = time.monotonic() + CAUGHT_UP_WITHIN_S
        while lag := self._log.lag():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workers are still {lag} records behind")
            time.sleep(0.2)

    def phase(self, name: str, per_second: float, seconds: float, *, rebalance: bool = False) -> Phase:
        """Measure at one rate; with ``rebalance`` a second worker joins and leaves meanwhile, and only the probes from its start to a
        while after its end count.
        """
        self.caught_up()
        self._seed += 1
        chosen = self._chosen
        probes = Probes(
            self._system.settings, self._api_port, chosen.probe_stores, chosen.probes, chosen.looks_per_second
        )
        load = Load(per_second - chosen.probes, chosen.shops, WARM_UP_S + seconds + 600, seed=self._seed)
        with Sender(self._system.settings, load) as sender, probes:
            time.sleep(WARM_UP_S)
            since = time.time()
            if rebalance:
                with Part(self._second_worker(), "worker") as second:
                    lag = self._watch(REBALANCE_S + REBALANCE_S)
                    second.check()
                    if ASSIGNED not in second.said():
                        raise RuntimeError(f"the second worker was given nothing: {second.said()[-2000:]}")
                lag += self._watch(REBALANCE_S)
            else:
                lag = self._watch(seconds)
            until = time.time()
            sent = sender.stop()
        found = probes.freshness_s(since, until)
        if not found:
            raise RuntimeError(f"no probe was seen: {self._system.said()}")
        phase = Phase(
            *(name, per_second, found, probes.unseen(), probes.answer_s, probes.no_answers, lag, sent.worst_behind_s),
            (sent.records / sent.seconds) + chosen.probes,
        )
        print(*phase.row(), flush=True)
        return phase

    def _second_worker(self) -> Settings:
        own = self._system.settings
        return own.model_copy(update={"metrics_port": free_port(), "data_dir": own.data_dir / "second"})

    def _watch(self, seconds: float) -> list[tuple[float, int]]:
        deadline = time.monotonic() + seconds
        seen = []
        while time.monotonic() < deadline:
            seen.append((time.monotonic(), self._log.lag()))
            time.sleep(0.5)
        return seen

    def highest(self, start: float, seconds: float) -> float:
        """The highest rate that is sustained for so long: up by halves from ``start``, then twice halving what is between."""

        def sustained(rate: float) -> bool:
            return self.phase("search", rate, seconds).is_sustained

        good, bad = 0.0, start
        while bad < GIVE_UP_RATE and sustained(bad):
            good, bad = bad, bad * 1.5
        if not good:
            while not sustained(start := start / 2):
                if start < 2 * self._chosen.probes:
                    raise RuntimeError("no rate is sustained on this machine")
            good, bad = start, start * 2
        for _ in range(2):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if sustained(middle) else (good, middle)
        return good

    def measure(self) -> tuple[list[Phase], float]:
        """All phases, and the highest sustained rate (0 if it was not looked for)."""
        chosen = self._chosen
        phases: list[Phase] = []
        for rate in chosen.rates:
            phases.append(self.phase("steady", rate, chosen.seconds))
            if phases[-1].is_sustained:
                phases.append(self.phase("a second worker joins and leaves", rate, 0, rebalance=True))
        if not chosen.search_seconds:
            return phases, 0.0
        rate = self.highest(chosen.search_from or 2 * max(chosen.rates), chosen.search_seconds)
        while not (found := self.phase("the highest sustained rate", rate, chosen.seconds)).is_sustained:
            rate *= 0.9  # it held for the search's shorter time only
        return [*phases, found], rate


def steps(system: System) -> dict[str, float]:
    """Mean milliseconds of each step of the workers' cycles, from their metrics."""
    totals: dict[str, list[float]] = {}
    for name, part in system.parts().items():
        if name.startswith("worker"):
            with urlopen(f"http://127.0.0.1:{part['port']}/metrics") as answer:
                families = text_string_to_metric_families(answer.read().decode())
            for family in families:
                for sample in family.samples:
                    if sample.name in ("aisleflow_cycle_seconds_sum", "aisleflow_cycle_seconds_count"):
                        totals.setdefault(sample.labels["step"], [0.0, 0.0])[sample.name.endswith("count")] += (
                            sample.value
                        )
    return {step: round(1000 * total / count, 1) for step, (total, count) in sorted(totals.items()) if count}


def rates(text: str) -> tuple[float, ...]:
    """``1000,10000`` as numbers."""
    return tuple(float(part) for part in text.replace("_", "").split(","))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=rates, default=(1_000.0, 10_000.0), help="records a second, with commas")
    parser.add_argument("--seconds", type=float, default=60, help="at each rate")
    parser.add_argument("--search-seconds", type=float, default=30, help="at each rate of the search; 0: no search")
    parser.add_argument(
        "--search-from", type=float, default=0, help="its first rate; else twice the highest of --rates"
    )
    parser.add_argument("--shops", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--probes", type=float, default=100, help="probes a second, part of the rate")
    parser.add_argument("--probe-stores", type=int, default=2)
    parser.add_argument("--looks-per-second", type=float, default=40, help="how often the API is asked")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aisleflow-freshness-") as folder:
        system = System(Path(folder), chosen.workers)
        try:
            phases, highest = Bench(system, chosen).measure()
            cycle = steps(system)
        finally:
            system.stop()
    report(
        "freshness",
        ("faust-streaming", "aiokafka", "confluent-kafka", "chdb-core", "clickhouse-connect", "fastapi"),
        COLUMNS,
        [phase.row() for phase in phases],
        command=f"python -m benchmarks.freshness --rates {','.join(f'{rate:g}' for rate in chosen.rates)} "
        f"--seconds {chosen.seconds:g} --search-seconds {chosen.search_seconds:g} --workers {chosen.workers}",
        workers=chosen.workers,
        shops=chosen.shops,
        highest_sustained_records_per_second=round(highest),
        looking_adds_s=f"0 to {chosen.probe_stores / chosen.looks_per_second:g}",
        answers_that_failed=sum(phase.no_answers for phase in phases),
        sender_behind_at_worst_s=round(max(phase.sender_behind_s for phase in phases), 2),
        cycle_steps_ms=cycle,
    )


if __name__ == "__main__":
    main()
