"""The demo: everything up, invented shops that fill it with a past and then go on live, and a check of every answer.

``play`` runs the simulator against the parts that a ``Supervisor`` has started. With ``check_s`` it records every
record before it sends it, stops after that many seconds, waits until the workers have caught up, and compares every
answer of every shop with ``producers.simulator.answers``.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aisleflow.clients import group_offsets, kafka_config, kafka_producer, produce, raise_on
from aisleflow.settings import Settings
from producers.simulator.answers import COMPARED, World
from producers.simulator.catalogue import entries
from producers.simulator.faults import NO_FAULTS, Faults
from producers.simulator.faults import Message as Sent
from producers.simulator.shops import Shop, layouts, make_shops
from producers.simulator.stream import stream
from producers.simulator.traffic import Rush
from schemas.topics import PRODUCTS, STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS

# The same weekday a week ago, for what is usual at this hour, and yesterday; then as many days live as anybody watches.
PAST_DAYS, DAYS_AHEAD = (7, 1), 14
# A demo started again within this time goes on with the same shops, so that it is still daytime there.
SAME_SHOPS_FOR = timedelta(hours=6)
CATCH_UP_WITHIN_S = 180
SETTLE_WITHIN_S = 20
DAY_MS = 86_400_000
OVERRUN_FOR_MS, OVERRUN_FACTOR = 30 * 60_000, 8.0


@dataclass(frozen=True)
class Plan:
    """What to simulate. ``pace`` multiplies the arrivals from ``started`` on; the past runs at the ordinary pace."""

    shops: int = 20
    seed: int = 1
    pace: float = 4.0
    faults: bool = True
    check_s: float | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    first_number: int = 1001
    history_days: int = 28
    """For so long movements of stock are told."""

    @property
    def started_ms(self) -> int:
        """The instant at which the past ends and the live part begins."""
        return int(self.started.timestamp() * 1000)

    def make_shops(self) -> list[Shop]:
        """Shops in cities where it is opening time at the start."""
        return make_shops(self.shops, self.seed, open_at=self.started, first_number=self.first_number)

    def messages(self, shops: list[Shop]) -> Iterator[Sent]:
        """All that these shops send, in sending order: past days, today so far, and on."""
        ahead = 0 if self.check_s else DAYS_AHEAD
        # Making a whole day takes seconds; a check needs no more than what it may come to send.
        until = (
            None if self.check_s is None else self.started_ms + int((self.check_s + CATCH_UP_WITHIN_S) * 1000) + 120_000
        )
        faults = Faults() if self.faults else NO_FAULTS
        well_staffed = Rush(self.started_ms, self.pace, tills=self.pace)
        # In every fifth shop the crowd came a while ago and nobody opens a till: something to be alarmed at.
        overrun = Rush(self.started_ms - OVERRUN_FOR_MS, max(self.pace, OVERRUN_FACTOR))

        def of_shop(place: int, shop: Shop) -> Iterator[Sent]:
            rush = overrun if place % 5 == 2 else well_staffed
            today = self.started.astimezone(ZoneInfo(shop.time_zone)).date()
            days = [today - timedelta(days=back) for back in PAST_DAYS]
            days += [today + timedelta(days=on) for on in range(ahead + 1)]
            told = (today - timedelta(days=back) for back in range(1, self.history_days + 1))
            history = [day for day in told if day not in days]
            return stream(
                [shop], days, self.seed, faults=faults, rush=rush, until_ms=until, stock=True, history=history
            )

        return heapq.merge(*map(of_shop, range(len(shops)), shops))


def resume_or_begin(plan: Plan, data_dir: Path) -> Plan:
    """The plan of the demo that this data directory last held, if it can go on; else this plan with shops of new
    numbers.
    """
    known = data_dir / "demo.json"
    try:
        past = orjson.loads(known.read_bytes())
        began = datetime.fromisoformat(past["started"])
        number = int(past["first_number"])
    except (OSError, ValueError, KeyError, TypeError):
        past, began, number = {}, datetime.fromtimestamp(0, UTC), 1
    same = all(past.get(name) == getattr(plan, name) for name in ("shops", "seed", "pace", "faults"))
    if same and timedelta(0) <= plan.started - began < SAME_SHOPS_FOR:
        return replace(plan, started=began, first_number=number)
    # Other shops: what is already there was sent by another simulation.
    plan = replace(plan, first_number=number + 1000)
    data_dir.mkdir(parents=True, exist_ok=True)
    names = ("shops", "seed", "pace", "faults", "first_number")
    draft = known.with_suffix(".draft")
    draft.write_bytes(
        orjson.dumps({**{name: getattr(plan, name) for name in names}, "started": plan.started.isoformat()})
    )
    draft.replace(known)
    return plan


async def play(plan: Plan, settings: Settings, url: str, console: Console, record: Path | None = None) -> int:
    """Fill the system with the past, go on live, and with ``check_s`` check at the end.

    Args:
        settings: where Kafka is; ``url``: where the API is; ``record``: where to note every record before it is sent.

    Returns:
        The exit code: 0 if there was nothing to check or all answers were equal, else 1.

    Raises:
        KafkaException: Kafka lost a record.
    """
    shops = await asyncio.to_thread(plan.make_shops)
    feed = _Feed(plan, settings, shops, record)
    try:
        await _past(feed, settings, console)
        await _caught_up(settings, console)
        console.print(f"\n[bold green]{plan.shops} shops are live:[/] [bold]{url}/[/]", highlight=False)
        live = asyncio.create_task(asyncio.to_thread(feed.live))
        if plan.check_s is None:
            await live
            return 0
        await asyncio.wait({live}, timeout=plan.check_s)
        feed.stop.set()
        await live
        console.print(
            f"Sent {feed.sent:,} records ({feed.live_sent:,} of them live); checking every answer of every shop"
        )
        await _caught_up(settings, console)
    except asyncio.CancelledError:
        feed.cut_off.set()
        raise
    finally:
        feed.stop.set()
    assert record is not None
    return await asyncio.to_thread(check, record, shops, settings, url, console)


class _Feed:
    """Sends the simulated records: the past at once, the rest at its time."""

    def __init__(self, plan: Plan, settings: Settings, shops: list[Shop], record: Path | None) -> None:
        self.plan, self.settings, self.shops = plan, settings, shops
        self.stop = threading.Event()
        # Somebody ends the demo: do not wait for a Kafka that is going away as well.
        self.cut_off = threading.Event()
        self.sent = self.live_sent = 0
        self.at_ms = 0
        self._messages = plan.messages(shops)
        self._ahead: Sent | None = None
        self._record: IO[bytes] | None = None if record is None else record.open("wb")
        # A broker that is away for minutes must not cost a record.
        self._producer = kafka_producer(settings, **{"delivery.timeout.ms": 600_000, "log_level": 0})
        self._failure: KafkaError | None = None

    def past(self) -> None:
        """The catalogue, layouts, and all that was sent until now."""
        for sku, product in entries(self.plan.started - timedelta(days=30)):
            self._send(PRODUCTS.name, sku, product)
        for store_id, layout in layouts(self.shops, self.plan.started - timedelta(days=30)):
            self._send(STORE_LAYOUTS.name, store_id, layout)
        self._flush()
        for message in self._until(lambda: int(time.time() * 1000)):
            self._send(message.topic, message.key, message.value)
            self.at_ms = message.at_ms
            if self.stop.is_set():
                return
        self._flush()

    def live(self) -> None:
        """Go on at the pace of the clock until ``stop`` is set."""
        before = self.sent
        while not self.stop.is_set():
            for message in self._until(lambda: int(time.time() * 1000)):
                self._send(message.topic, message.key, message.value)
                self.live_sent = self.sent - before
                if self.stop.is_set():
                    break
            self._producer.poll(0)
            raise_on(self._failure)
            if self._ahead is None:
                break
            self.stop.wait(min(0.2, max(0.01, self._ahead.at_ms / 1000 - time.time())))
        self._flush()

    def _until(self, now_ms: Any) -> Iterator[Sent]:
        while True:
            if self._ahead is None:
                self._ahead = next(self._messages, None)
            if self._ahead is None or self._ahead.at_ms > now_ms():
                return
            message, self._ahead = self._ahead, None
            yield message

    def _send(self, topic: str, key: str, value: bytes) -> None:
        if self._record is not None:
            self._record.write(topic.encode() + b"\t" + value + b"\n")
        produce(self._producer, self.settings.topic_prefix + topic, value, key, on_delivery=self._delivered)
        self.sent += 1
        if self.sent % 1000 == 0:
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _flush(self) -> None:
        if self._record is not None:
            self._record.flush()
        while self._producer.flush(0.5) and not self.cut_off.is_set():
            pass
        raise_on(self._failure)


async def _past(feed: _Feed, settings: Settings, console: Console) -> None:
    """Send the past, telling how far it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[sent]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Simulating the past", total=1.0, sent="")
        work = asyncio.create_task(asyncio.to_thread(feed.past))
        began = time.monotonic()
        # Days that nothing is sent on take no time: the week in between counts as nothing.
        while not work.done():
            await asyncio.wait({work}, timeout=0.2)
            days_left = (feed.plan.started_ms - feed.at_ms) / DAY_MS if feed.at_ms else PAST_DAYS[0] + 1
            share = 1 - min(1.0, max(0.0, days_left - (4 if days_left > PAST_DAYS[1] + 2 else 0)) / 4)
            bar.update(task, completed=share, sent=f"{feed.sent:,} records")
        await work
    console.print(
        f"Simulated the past: {feed.sent:,} records of {len(feed.shops)} shops in {time.monotonic() - began:.1f} s",
        highlight=False,
    )


async def _caught_up(settings: Settings, console: Console) -> None:
    """Wait until the workers have confirmed all that is on the log; says so and goes on if they do not."""
    began = time.monotonic()
    consumer = Consumer({**kafka_config(settings), "group.id": settings.consumer_group, "log_level": 0})
    try:
        with console.status("Waiting for the workers") as status:
            while (behind := await asyncio.to_thread(_lag, consumer, settings)) != 0:
                told = "it is not known how many" if behind is None else f"{behind:,}"
                status.update(f"The workers have records to go: {told}")
                if time.monotonic() - began > CATCH_UP_WITHIN_S:
                    console.print(
                        f"[yellow]The workers are still behind[/] after {CATCH_UP_WITHIN_S} s; records: {told}"
                    )
                    return
                await asyncio.sleep(0.2)
    finally:
        consumer.close()
    console.print(f"The workers had caught up {time.monotonic() - began:.1f} s later", highlight=False)


def _lag(consumer: Consumer, settings: Settings) -> int | None:
    """Records on the fact topics that the workers' group has not confirmed; None while a busy broker does not say."""
    topics = [settings.topic_prefix + topic.name for topic in (VISIT_EVENTS, TRANSACTIONS)]
    try:
        known = consumer.list_topics(timeout=10).topics
        ends, confirmed = group_offsets(
            consumer, [(topic, number) for topic in topics if topic in known for number in known[topic].partitions]
        )
    except KafkaException:
        return None
    return sum(ends.values()) - sum(confirmed.values())


# --- the check
# ---------------------------------------------------------------------------------------------------------


@dataclass
class _Verdict:
    """One shop: how many answers were compared, and what differs."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)


def check(record: Path, shops: list[Shop], settings: Settings, url: str, console: Console) -> int:
    """Compare every answer of every shop with a computation of its own from the record; 0 if all are equal, else 1."""
    began = time.monotonic()
    world = World(int(time.time() * 1000) + settings.max_future_minutes * 60_000)
    with record.open("rb") as file:
        for line in file:
            topic, _, value = line.rstrip(b"\n").partition(b"\t")
            world.take(topic.decode(), value)
    console.print(
        f"Computed from the record: {len(world.event_ids):,} events, {world.duplicates:,} duplicates, "
        f"{world.refused:,} unreadable, in {time.monotonic() - began:.1f} s",
        highlight=False,
    )
    api = _Api(url, settings)
    verdicts = {shop.store_id: _Verdict() for shop in shops}
    # Anomalies are judged a moment after the facts are stored: what differs is asked again for a while.
    deadline = time.monotonic() + SETTLE_WITHIN_S
    asked = list(shops)
    while asked:
        for shop in asked:
            verdicts[shop.store_id] = _judge(world, shop.store_id, api)
        asked = [shop for shop in asked if verdicts[shop.store_id].differences]
        if time.monotonic() > deadline:
            break
        if asked:
            time.sleep(1)
    console.print(_table(world, shops, verdicts))
    for shop in shops:
        for difference in verdicts[shop.store_id].differences:
            console.print(f"[red]{shop.store_id}[/] {difference}", highlight=False)
    wrong = sum(bool(verdict.differences) for verdict in verdicts.values())
    compared = sum(verdict.compared for verdict in verdicts.values())
    if wrong:
        console.print(
            f"[bold red]{wrong} of {len(shops)} shops differ[/] ({compared:,} answers compared)", highlight=False
        )
        return 1
    console.print(f"[bold green]All {compared:,} answers of {len(shops)} shops are equal[/]", highlight=False)
    return 0


def _judge(world: World, store_id: str, api: _Api) -> _Verdict:
    """Compare all answers of one shop."""
    verdict = _Verdict()
    newest = world.newest_day(store_id)
    for day in world.days(store_id):
        # The newest day is also what is answered when nobody asks for a day.
        for query in [f"?date={day}", *([""] if day == newest else [])]:
            for name, expected in _expected(world, store_id, day).items():
                verdict.compared += 1
                found = api.get(f"/stores/{store_id}/{name}{query}")
                verdict.differences += [
                    f"{name}{query} {what}" for what in differences(expected, found, name == "metrics")
                ]
    verdict.compared += 1
    found = api.get(f"/stores/{store_id}/anomalies")
    # What is over stays open for a calm while, and what only history can tell is not in the second computation.
    reported = {
        f"{one['type']} {one['subject']}".strip(): one
        for one in found.get("anomalies", [])
        if one["type"] in COMPARED and one.get("calm_since") is None
    }
    expected = {f"{one['type']} {one['subject']}".strip(): one for one in world.anomalies(store_id)}
    verdict.differences += [
        f"anomalies {name}: expected to be {'open' if name in expected else 'closed'}"
        for name in sorted(expected.keys() ^ reported.keys())
    ]
    for name in expected.keys() & reported.keys():
        verdict.differences += [
            f"anomalies {name} {what}" for what in differences(expected[name], reported[name], True)
        ]
    return verdict


def _expected(world: World, store_id: str, day: date) -> dict[str, dict[str, Any]]:
    return {
        "metrics": world.metrics(store_id, day),
        "funnel": world.funnel(store_id, day),
        "heatmap": world.heatmap(store_id, day),
    }


def differences(expected: dict[str, Any], found: dict[str, Any], may_have_more: bool) -> list[str]:
    """What is not as expected. Numbers are compared as numbers; ``found`` may have further fields if it is told so."""
    names = expected.keys() if may_have_more else expected.keys() | found.keys()
    return [
        f"{name}: expected {expected.get(name)}, found {found.get(name)}"
        for name in sorted(names)
        if not _equal(expected.get(name), found.get(name))
    ]


def _equal(expected: Any, found: Any) -> bool:
    if isinstance(expected, dict) and isinstance(found, dict):
        return not differences(expected, found, True)
    if isinstance(expected, str) or expected is None or found is None:
        return bool(expected == found)
    if isinstance(found, str):
        return False
    # Anomalies carry unrounded figures through floating point; all others differ by 0.0001 or more if they differ.
    return math.isclose(float(expected), float(found), rel_tol=1e-9, abs_tol=1e-6)


class _Api:
    """Asks our own API."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._headers = {"X-API-Key": next(iter(settings.api_key_set))} if settings.api_key_set else {}

    def get(self, path: str) -> dict[str, Any]:
        """The answer's JSON, whatever its status."""
        try:
            with urlopen(Request(self._url + path, headers=self._headers), timeout=30) as answer:  # noqa: S310
                body: dict[str, Any] = orjson.loads(answer.read())
        except HTTPError as error:
            return {"status": error.code}
        return body


def _table(world: World, shops: list[Shop], verdicts: dict[str, _Verdict]) -> Table:
    table = Table("shop", "name", box=None, padding=(0, 2, 0, 0))
    for heading in ("visitors", "conversion", "transactions", "queue", "anomalies", "answers", "differences"):
        table.add_column(heading, justify="right")
    for shop in shops:
        day = world.newest_day(shop.store_id)
        figures = world.metrics(shop.store_id, day) if day else {}
        verdict = verdicts[shop.store_id]
        wrong = len(verdict.differences)
        table.add_row(
            *(shop.store_id, shop.name),
            *(str(figures.get(name)) for name in ("unique_visitors", "conversion_rate", "transactions")),
            *(str(figures.get("queue_depth_current")), str(len(world.anomalies(shop.store_id)))),
            *(str(verdict.compared), f"[red]{wrong}[/]" if wrong else "[green]none[/]"),
        )
    return table


__all__ = ["KafkaException", "Plan", "check", "play", "resume_or_begin"]
