"""Gathering, deriving, acknowledging: nothing is acknowledged before it is derived, and memory stays bounded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream_processors.engine.liveness import EXIT_STUCK
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.worker import EXIT_FAILED, Cycles

EVENTS = TP("visit-events", 0)


class Told:
    """What happened, in order: ``derive 1 2``, ``ack 1``. ``gate`` holds every cycle until it is set."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.prepared: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def event(self, name: str, records: int = 1) -> Any:
        batch = RecordBatch(EVENTS, [SimpleNamespace(offset=name)] * records)
        return SimpleNamespace(value=batch, ack=lambda: self.log.append(f"ack {name}"))

    async def prepare(self, batches: Sequence[RecordBatch]) -> str:
        names = " ".join(batch.records[0].offset for batch in batches)
        self.prepared.append(names)
        return names

    async def derive(self, prepared: str) -> None:
        self.log.append(f"derive {prepared}")
        await self.gate.wait()

    def cycles(self, *, gather_s: float = 0.0, max_records: int = 100) -> Cycles[str]:
        return Cycles(self.prepare, self.derive, lambda _: self.log.append("beat"), gather_s, max_records)


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks work until it is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def settled() -> None:
    """Let the other tasks do all that they can do now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_acknowledges_when_derived_and_not_before() -> None:
    told = Told()
    told.gate.clear()
    cycles = told.cycles()
    running = asyncio.create_task(cycles.run())
    await cycles.offer(told.event("1"))
    await until(lambda: told.log == ["derive 1"])
    await cycles.offer(told.event("2"))
    await cycles.offer(told.event("3"))
    await settled()
    assert told.log == ["derive 1"]
    told.gate.set()
    await until(lambda: len(told.log) == 7)
    assert told.log == ["derive 1", "ack 1", "beat", "derive 2 3", "ack 2", "ack 3", "beat"]
    running.cancel()


async def test_gathers_for_a_moment() -> None:
    told = Told()
    cycles = told.cycles(gather_s=0.5)
    running = asyncio.create_task(cycles.run())
    await cycles.offer(told.event("1"))
    await until(lambda: "beat" in told.log)
    for name in "234":
        await cycles.offer(told.event(name))
        await asyncio.sleep(0.01)
    await until(lambda: told.log.count("beat") == 2)
    assert [line for line in told.log if line.startswith("derive")] == ["derive 1", "derive 2 3 4"]
    running.cancel()


async def test_a_full_cycle_makes_the_stream_wait_and_does_not_wait_itself() -> None:
    told = Told()
    told.gate.clear()
    cycles = told.cycles(gather_s=3600, max_records=10)
    running = asyncio.create_task(cycles.run())
    await cycles.offer(told.event("1", records=10))
    await until(lambda: told.log == ["derive 1"])
    await cycles.offer(told.event("2", records=9))
    await cycles.offer(told.event("3", records=9))
    await settled()
    assert told.prepared == ["1", "2 3"], "a full cycle does not wait for the moment to pass"
    await cycles.offer(told.event("4", records=10))
    waiting = asyncio.create_task(cycles.offer(told.event("5")))
    await settled()
    assert not waiting.done(), "10 records are gathered and 10 are a full cycle"
    told.gate.set()
    await until(waiting.done)
    assert "derive 2 3" in told.log, "a full cycle is not kept waiting for the moment to pass"
    running.cancel()


async def test_a_cycle_is_prepared_while_the_one_before_is_finished_and_finished_after_it() -> None:
    told = Told()
    told.gate.clear()
    cycles = told.cycles(max_records=1)
    running = asyncio.create_task(cycles.run())
    for name in "1234":
        offering = asyncio.create_task(cycles.offer(told.event(name)))
        await settled()
    assert told.prepared == ["1", "2"]
    assert told.log == ["derive 1"]
    assert not offering.done(), "one is finished, one prepared, one gathered: no more fits"
    told.gate.set()
    await until(lambda: "ack 4" in told.log)
    assert [line for line in told.log if line != "beat"] == [
        f"{what} {n}" for n in "1234" for what in ("derive", "ack")
    ]
    running.cancel()


async def test_what_is_prepared_is_let_go_of_by_a_drain() -> None:
    told = Told()
    told.gate.clear()
    cycles = told.cycles()
    running = asyncio.create_task(cycles.run())
    for name in "12":
        await cycles.offer(told.event(name))
        await settled()
    assert told.prepared == ["1", "2"]
    draining = asyncio.create_task(cycles.drain())
    await settled()
    told.gate.set()
    await draining
    await cycles.offer(told.event("3"))
    await until(lambda: "ack 3" in told.log)
    assert not {"derive 2", "ack 2"} & set(told.log)
    running.cancel()


async def test_drain_waits_for_the_cycle_under_way_and_lets_go_of_the_rest() -> None:
    told = Told()
    told.gate.clear()
    cycles = told.cycles(max_records=2)
    running = asyncio.create_task(cycles.run())
    await cycles.offer(told.event("1"))
    await until(lambda: told.log == ["derive 1"])
    await cycles.offer(told.event("2", records=2))
    blocked = asyncio.create_task(cycles.offer(told.event("3")))
    await settled()
    draining = asyncio.create_task(cycles.drain())
    await settled()
    assert blocked.done()
    assert not draining.done()
    told.gate.set()
    await until(draining.done)
    assert told.log[:2] == ["derive 1", "ack 1"]
    await cycles.offer(told.event("4"))
    await until(lambda: "ack 4" in told.log)
    assert not {"derive 2", "derive 3", "derive 2 3", "ack 2", "ack 3"} & set(told.log)
    running.cancel()


async def test_drain_of_nothing_returns_at_once() -> None:
    cycles = Told().cycles()
    running = asyncio.create_task(cycles.run())
    await settled()
    async with asyncio.timeout(10):
        await cycles.drain()
        await cycles.drain()
    running.cancel()


def program(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, timeout=60, check=False
    )


def test_cycles_that_take_long_come_less_often_unless_they_are_full() -> None:
    async def main() -> tuple[float, float]:
        told = Told()
        began: list[float] = []

        async def slow(prepared: str) -> None:
            began.append(time.monotonic())
            await asyncio.sleep(0.05)

        cycles = Cycles(told.prepare, slow, lambda _: None, 0.0, 10, 0.5)
        running = asyncio.create_task(cycles.run())
        await cycles.offer(told.event("1"))
        await until(lambda: "ack 1" in told.log)
        for name, records in (("2", 1), ("3", 1), ("4", 10)):
            await cycles.offer(told.event(name, records))
            await until(lambda name=name: f"ack {name}" in told.log)
        running.cancel()
        return began[2] - began[1], began[3] - began[2]

    # The one after the second comes 0.05 s / BUSY_SHARE after it began; the next is full.
    waited, full = asyncio.run(main())
    assert 0.2 < waited < 0.8
    assert full < 0.2


@pytest.mark.parametrize("raised", ["ValueError('no')", "KeyboardInterrupt()", "SystemExit(0)"])
@pytest.mark.parametrize("where", ["prepare", "finish"])
def test_whatever_a_cycle_raises_ends_the_process_unacknowledged(raised: str, where: str) -> None:
    prepare = f"raise {raised}" if where == "prepare" else "return batches"
    done = program(f"""
        import asyncio
        from types import SimpleNamespace
        from stream_processors.engine.worker import Cycles, _or_leave

        async def prepare(batches):
            {prepare}

        async def finish(prepared):
            raise {raised}

        async def main():
            cycles = Cycles(prepare, finish, lambda _: print("IT-BEAT", flush=True), 0, 10)
            await cycles.offer(SimpleNamespace(value=SimpleNamespace(records=[1]), ack=lambda: print("IT-ACKED", flush=True)))
            await _or_leave(cycles.run())

        asyncio.run(main())
    """)
    assert done.returncode == EXIT_FAILED, done.stderr
    assert "worker_stops" in done.stdout + done.stderr
    assert "IT-ACKED" not in done.stdout
    assert "IT-BEAT" not in done.stdout


def test_a_worker_whose_kafka_client_does_not_close_leaves_all_the_same(tmp_path: Path) -> None:
    done = program(f"""
        import asyncio
        from pathlib import Path
        from aisleflow.settings import Settings
        from stream_processors.engine import worker

        worker.STOP_PATIENCE_S = 0.2

        async def nothing(of):
            await asyncio.Event().wait()

        async def main():
            settings = Settings(data_dir=Path({str(tmp_path)!r}))
            ignored = lambda *_: None
            app = worker.create_app(settings, ["visit-events"], 0.5, nothing, nothing, ignored, nothing, ignored, ignored)
            await app.on_before_shutdown.send()
            await asyncio.sleep(60)
            print("STILL-HERE")

        asyncio.run(main())
    """)
    assert done.returncode == EXIT_FAILED, done.stderr
    assert "worker_left" in done.stdout + done.stderr
    assert "STILL-HERE" not in done.stdout


LIVENESS = """
    import time
    from confluent_kafka import KafkaException
    from stream_processors.engine.liveness import Liveness

    def lag():
        {lag}

    liveness = Liveness(lag, stuck_after_s=0.3, every_s=0.05)
    liveness.start()
    for _ in range({tenths}):
        time.sleep(0.1)
        {meanwhile}
"""


def test_behind_without_a_beat_is_stuck() -> None:
    done = program(LIVENESS.format(lag="return 5", tenths=300, meanwhile="pass"))
    assert done.returncode == EXIT_STUCK
    assert "worker_is_stuck" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("why", "lag", "meanwhile"),
    [
        ("nothing to do", "return 0", "pass"),
        ("it works", "return 5", "liveness.beat()"),
        ("Kafka is away", "raise KafkaException('away')", "pass"),
    ],
)
def test_is_not_stuck(why: str, lag: str, meanwhile: str) -> None:
    done = program(LIVENESS.format(lag=lag, tenths=15, meanwhile=meanwhile))
    assert done.returncode == 0, why
