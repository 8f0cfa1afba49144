"""The faults, each a small class, and the schedule that a seed makes of them."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from tests.faults.feed import Clock, Feed, ahead
from tests.faults.proxies import HttpTrouble, TcpTrouble
from tests.faults.system import SILENT_FOR_S, FaultySystem

SESSION_TIMEOUT_S = 10.0
DAY_MS = 24 * 3600 * 1000


@dataclass
class Scene:
    """What faults may lay hands on."""

    system: FaultySystem
    feed: Feed


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        at_s: when it begins, seconds after the round's beginning.
        lasts_s: how long until it is put right.
    """

    at_s: float = 0.0
    lasts_s: float = 0.0

    @property
    def lane(self) -> str:
        """Faults of one lane never overlap."""
        return type(self).__name__

    @property
    def kind(self) -> str:
        """Under what it is counted."""
        return type(self).__name__

    @property
    def holds_s(self) -> float:
        """For how long its lane is taken."""
        return self.lasts_s + 0.2

    def inject(self, scene: Scene) -> None:
        """Make it happen."""
        raise NotImplementedError

    def heal(self, scene: Scene) -> None:
        """Put it right, where something must be."""


@dataclass(frozen=True, kw_only=True)
class Kill(Fault):
    """``kill -9`` of a part; the supervisor starts it again."""

    part: str

    @property
    def lane(self) -> str:
        return f"process {self.part}"

    @property
    def kind(self) -> str:
        return f"kill -9 {self.part.split('-')[0]}"

    def inject(self, scene: Scene) -> None:
        """Kill, and return when the supervisor has seen it."""
        before = scene.system.parts()[self.part]
        scene.system.signal(self.part, signal.SIGKILL)
        scene.system.wait_for(lambda: scene.system.parts()[self.part]["pid"] != before["pid"], 60)


@dataclass(frozen=True, kw_only=True)
class Freeze(Kill):
    """SIGSTOP of a part, and SIGCONT when it is over."""

    @property
    def kind(self) -> str:
        long = self.lasts_s > SESSION_TIMEOUT_S
        return f"freeze {self.part.split('-')[0]}{' beyond the session' if long else ''}"

    def inject(self, scene: Scene) -> None:
        """Stop it."""
        scene.system.signal(self.part, signal.SIGSTOP)

    def heal(self, scene: Scene) -> None:
        """Let it go on."""
        scene.system.signal(self.part, signal.SIGCONT)


@dataclass(frozen=True, kw_only=True)
class FreezeForEver(Kill):
    """SIGSTOP of a part; nobody lets it go on, so the supervisor must notice."""

    @property
    def kind(self) -> str:
        return f"freeze {self.part.split('-')[0]} for ever"

    @property
    def holds_s(self) -> float:
        return 3 * SILENT_FOR_S

    def inject(self, scene: Scene) -> None:
        """Stop it, and return when another process is in its place."""
        before = scene.system.parts()[self.part]
        scene.system.signal(self.part, signal.SIGSTOP)
        scene.system.wait_for(lambda: scene.system.parts()[self.part]["pid"] != before["pid"], 3 * SILENT_FOR_S + 60)


@dataclass(frozen=True, kw_only=True)
class KillSupervisor(Fault):
    """``kill -9`` of the supervisor: every part ends with it, and somebody starts it again."""

    @property
    def lane(self) -> str:
        return "everything"

    @property
    def kind(self) -> str:
        return "kill -9 supervisor"

    def inject(self, scene: Scene) -> None:
        """Kill it, start it again, and return when all is ready."""
        scene.system.kill_supervisor()
        scene.system.start()


@dataclass(frozen=True, kw_only=True)
class FullDisk(Fault):
    """No room for the data of Kafka or of ClickHouse."""

    part: str

    @property
    def lane(self) -> str:
        return f"disk {self.part}"

    @property
    def kind(self) -> str:
        return f"full disk {self.part}"

    def inject(self, scene: Scene) -> None:
        """Fill it."""
        scene.system.disks[self.part].fill()

    def heal(self, scene: Scene) -> None:
        """Make room."""
        scene.system.disks[self.part].free()


@dataclass(frozen=True, kw_only=True)
class ClickHouseTrouble(Fault):
    """What the HTTP proxy does to a share of the requests; see ``HttpTrouble``."""

    how: HttpTrouble
    share: float = 0.5
    inserts_only: bool = False

    @property
    def lane(self) -> str:
        return "way to clickhouse"

    @property
    def kind(self) -> str:
        return f"clickhouse: {self.how}"

    def inject(self, scene: Scene) -> None:
        """Begin."""
        scene.system.clickhouse_proxy.make(self.how, self.share, inserts_only=self.inserts_only)

    def heal(self, scene: Scene) -> None:
        """End."""
        scene.system.clickhouse_proxy.make("")


@dataclass(frozen=True, kw_only=True)
class KafkaTrouble(Fault):
    """What the TCP proxy does to every connection; see ``TcpTrouble``."""

    how: TcpTrouble

    @property
    def lane(self) -> str:
        return "way to kafka"

    @property
    def kind(self) -> str:
        return f"kafka connections: {self.how}"

    def inject(self, scene: Scene) -> None:
        """Begin."""
        scene.system.kafka_proxy.make(self.how)

    def heal(self, scene: Scene) -> None:
        """End."""
        scene.system.kafka_proxy.make("")


@dataclass(frozen=True, kw_only=True)
class Rebalances(Fault):
    """A worker joins and, a few seconds later, leaves, in order or killed; and again."""

    every_s: float = 3.0
    rudely: bool = False

    @property
    def kind(self) -> str:
        return f"rebalances, members {'killed' if self.rudely else 'leaving'}"

    def inject(self, scene: Scene) -> None:
        """Come and go until the time is up."""
        until = time.monotonic() + self.lasts_s
        while True:
            worker = scene.system.add_worker()
            time.sleep(self.every_s)
            (worker.kill if self.rudely else worker.terminate)()
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            if time.monotonic() > until:
                return


@dataclass(frozen=True, kw_only=True)
class WrongClock(Fault):
    """The sender's clock jumps: the times in its records, and those that it tells Kafka."""

    name: str
    clock: Callable[[], Clock] = field(repr=False)

    @property
    def kind(self) -> str:
        return f"clock: {self.name}"

    def inject(self, scene: Scene) -> None:
        """Jump."""
        scene.feed.clock = self.clock()

    def heal(self, scene: Scene) -> None:
        """Be right again."""
        scene.feed.clock = Clock()


@dataclass(frozen=True, kw_only=True)
class Repeats(Fault):
    """Records are delivered again, all at once and in another order."""

    count: int

    def inject(self, scene: Scene) -> None:
        """Send them."""
        scene.feed.repeat(self.count)


@dataclass(frozen=True, kw_only=True)
class Poison(Fault):
    """Records that nobody can read, beside those that come all the time."""

    count: int

    def inject(self, scene: Scene) -> None:
        """Send them."""
        scene.feed.poison(self.count)


CLOCKS: dict[str, Callable[[], Clock]] = {
    "5 h ahead": lambda: Clock(timedelta(hours=5)),
    "30 h behind": lambda: Clock(timedelta(hours=-30)),
    "3 days in the future": lambda: Clock(around=ahead(days=3)),
    "1970": lambda: Clock(around=ahead().replace(year=1970), kafka_ms=1),
    "1970 for Kafka alone": lambda: Clock(kafka_ms=1),
    "40 days behind for Kafka alone": lambda: Clock(kafka_ms=int(ahead(days=-40).timestamp() * 1000)),
    "2 days ahead for Kafka alone": lambda: Clock(kafka_ms=int(ahead(days=2).timestamp() * 1000)),
}
HTTP_TROUBLES: tuple[HttpTrouble, ...] = ("error", "hang", "half", "unanswered", "half answer", "late", "twice")
TCP_TROUBLES: tuple[TcpTrouble, ...] = ("cuts", "torn", "hole", "refused")
PARTS = ("kafka", "clickhouse", "api", "worker-0", "worker-1")


def deck(rng: Random, stretch: float, *, short: bool) -> list[Fault]:
    """Every kind of fault once, in a random order, not yet with a time.

    Args:
        rng: decides on everything.
        stretch: length of a typical fault, seconds.
        short: without restarting everything, and with one of the workers instead of both.
    """

    def seconds(low: float, high: float) -> float:
        return round(rng.uniform(low, high) * stretch, 2)

    worker, other = rng.sample(("worker-0", "worker-1"), 2)
    parts = ["kafka", "clickhouse", "api", worker] + ([] if short else [other])
    long = round(SESSION_TIMEOUT_S + rng.uniform(1.5, 3), 2)
    assert long < SILENT_FOR_S
    faults: list[Fault] = [
        *(Kill(part=part) for part in parts),
        *(Freeze(part=part, lasts_s=seconds(0.3, 1)) for part in parts),
        Freeze(part=other, lasts_s=long),
        FreezeForEver(part=rng.choice(parts)),
        *(FullDisk(part=part, lasts_s=seconds(0.5, 2)) for part in ("kafka", "clickhouse")),
        *(
            ClickHouseTrouble(
                how=how, lasts_s=seconds(0.5, 1.5), inserts_only=rng.random() < 0.5, share=rng.choice((0.4, 1.0))
            )
            for how in HTTP_TROUBLES
        ),
        *(KafkaTrouble(how=how, lasts_s=seconds(0.5, 1.5)) for how in TCP_TROUBLES),
        Rebalances(lasts_s=seconds(1, 3), every_s=round(rng.uniform(1, 4), 2), rudely=rng.random() < 0.5),
        *(WrongClock(name=name, clock=clock, lasts_s=seconds(0.3, 1)) for name, clock in CLOCKS.items()),
        Repeats(count=rng.randrange(100, 1_000)),
        Poison(count=rng.randrange(50, 500)),
    ]
    if not short:
        faults += [KillSupervisor(), Freeze(part=rng.choice(("kafka", "clickhouse")), lasts_s=long)]
    rng.shuffle(faults)
    if short:  # what takes long begins early, and what ends Kafka comes last, since nothing else matters without it
        faults.sort(key=lambda fault: (fault.kind in ("kill -9 kafka", "full disk kafka"), -(fault.holds_s // 10)))
    return faults


def schedule(rng: Random, *, gap_s: float, stretch: float, short: bool = False, only: str = "") -> list[Fault]:
    """One round: every kind of fault once (those whose kind contains ``only``), on average ``gap_s`` apart. Faults of
    different lanes overlap.
    """
    free_at: dict[str, float] = {}
    now = 0.0
    found = []
    for fault in deck(rng, stretch, short=short):
        now += rng.expovariate(1 / gap_s)
        if only in fault.kind:
            at_s = round(max(now, free_at.get(fault.lane, 0.0)), 2)
            free_at[fault.lane] = at_s + fault.holds_s
            found.append(replace(fault, at_s=at_s))
    return sorted(found, key=lambda fault: fault.at_s)


def seeded(seed: int) -> Random:
    """What decides on the schedules of a run."""
    return Random(f"faults {seed}")


def short_schedule(rng: Random, only: str = "") -> list[Fault]:
    """One round in about a minute, for the tests."""
    return schedule(rng, gap_s=1.4, stretch=1.0, short=True, only=only)
