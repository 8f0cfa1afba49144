"""Back-pressure: a producer ten times too fast, and a ClickHouse ten times too slow.

``make back-pressure MINUTES=5`` or ``python -m tests.system.back_pressure --minutes 5`` runs both cases on real parts, one after
the other. First the highest rate is measured that one worker confirms. Then, for the minutes given, either the worker
gets a tenth of the time (stopped and continued by signals) while records arrive at that rate, so that the producer is ten
times too fast; or every answer of ClickHouse takes ten times as long, for the workers and the API alike, while records arrive
at half of that rate. Then all is as it was. Memory must stay within its bound, the API and the wall must say how far
behind the figures are, the workers must catch up, and every answer must equal the batch computation.

``test_back_pressure.py`` runs a short one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen
from zoneinfo import ZoneInfo

from confluent_kafka import KafkaError, Message
from pydantic import SecretStr

from aisleflow.clients import clickhouse_client, kafka_producer, produce, raise_on
from aisleflow.commands import migrate, topics
from aisleflow.demo import differences
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from producers.simulator.answers import World
from producers.simulator.faults import Faults
from producers.simulator.shops import Shop, layouts, make_shops
from producers.simulator.stream import stream
from schemas.topics import STORE_LAYOUTS, VISIT_EVENTS
from tests.conftest import (
    answers,
    free_port,
    process,
    running_chromium,
    running_clickhouse,
    running_kafka,
    wait_for_leaders,
)
from tests.system.truth import LAYOUTS_MADE, Record, group_lag

TOO_MUCH = 10
CAUGHT_UP_WITHIN_S = 1_800
# Above what a worker holds for its open visits: records fetched, gathered and under way, in their Python objects.
BUFFERS_MIB = 160
KIB_PER_VISIT = 4


class SlowProxy:
    """Passes HTTP on, and makes each answer take ``factor`` times as long as it took. Loopback only."""

    def __init__(self, host: str, port: int) -> None:
        self.factor = 1.0
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._open |= {client, server}
            for end in (client, server):  # else a small answer waits 40 ms for an acknowledgement that is delayed
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asked: list[float] = []
            for source, sink, questions in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass_on, args=(source, sink, asked, questions), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, asked: list[float], questions: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                now = time.monotonic()
                if questions:
                    asked[:] = [now]
                elif asked:
                    # The first bytes of an answer: all that it took until now, again and again.
                    time.sleep((now - asked.pop()) * (self.factor - 1))
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._open.discard(end)

    def close(self) -> None:
        """Cut everything."""
        self._listener.close()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Template:
    """One day of some shops, to be sent again as other days: the answers of every copy are those of the first.

    Only dates and ids are exchanged, and those keep their order. The shops' clocks do not change within the days, and their
    cameras are of our own make.
    """

    def __init__(self, shops: int, last: date, copies: int, seed: int = 1) -> None:
        self.first_day = last - timedelta(days=copies)
        self.copies = copies
        self.shops = _steady(make_shops(60, seed), self.first_day, last)[:shops]
        faults = Faults.parse("duplicates,changed,shuffled,late")
        sent = list(stream(self.shops, [self.first_day], seed, faults=faults))
        self.records = [self._marked(one.topic, one.key, one.value) for one in sent]
        self.world = World(int(time.time() * 1000))
        for _, layout in self.layouts():
            self.world.take(STORE_LAYOUTS.name, layout)
        for topic, _, value in self.copy(0):
            self.world.take(topic, value)
        self.transactions = sum(len(store.paid) for store in self.world.stores.values())

    def layouts(self) -> list[tuple[str, bytes]]:
        """The shops' layouts by id."""
        return list(layouts(self.shops, LAYOUTS_MADE))

    def _marked(self, topic: str, key: str, value: bytes) -> tuple[str, str, list[bytes | int]]:
        """The record cut where a copy differs: an int is days after the first day, -1 the number of the copy."""
        found = json.loads(value)
        name = str(found["event_id" if topic == VISIT_EVENTS.name else "transaction_id"]).encode()
        kept = name[:-8] if topic == VISIT_EVENTS.name else name + b"-"
        value = value.replace(b'"' + name + b'"', b'"' + kept + b'\x00"')
        pieces: list[bytes | int] = []
        at = 0
        for match in re.finditer(rb"\x00|\d{4}-\d\d-\d\d(?=T)", value):
            mark = match[0]
            pieces += [value[at : match.start()]]
            pieces += [-1 if mark == b"\x00" else (date.fromisoformat(mark.decode()) - self.first_day).days + 10]
            at = match.end()
        return topic, key, [*pieces, value[at:]]

    def copy(self, number: int) -> Iterator[Record]:
        """The records of a copy; number 0 is the template's own day."""
        texts = {days: (self.first_day + timedelta(days=number + days - 10)).isoformat().encode() for days in range(21)}
        texts[-1] = b"%08x" % number
        for topic, key, pieces in self.records:
            yield topic, key, b"".join([piece if isinstance(piece, bytes) else texts[piece] for piece in pieces])

    def expected(self, store_id: str) -> dict[str, dict[str, Any]]:
        """The three answers about a shop's day, the same for every copy."""
        days = list(self.world.days(store_id))
        assert len(days) == 1
        world = self.world
        return {
            "metrics": world.metrics(store_id, days[0]),
            "funnel": world.funnel(store_id, days[0]),
            "heatmap": world.heatmap(store_id, days[0]),
        }

    def day(self, store_id: str, number: int) -> date:
        """The business day of a shop in a copy."""
        return next(iter(self.world.days(store_id))) + timedelta(days=number)


def _steady(shops: Sequence[Shop], first: date, last: date) -> list[Shop]:
    """Shops whose clocks do not change between two days, with cameras of our own make."""
    noon = datetime(first.year, first.month, first.day, 12, tzinfo=UTC)
    noons = [noon + timedelta(days=n) for n in range(-1, (last - first).days + 2)]
    return [
        shop
        for shop in shops
        if shop.has_layout and not shop.dialect and not shop.coarse_clock
        if len({noon.astimezone(ZoneInfo(shop.time_zone)).utcoffset() for noon in noons}) == 1
    ]


class Firehose:
    """Publishes copies of a template; Kafka's acknowledgement of every record is waited for at the end."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.topic_prefix
        self._producer = kafka_producer(settings, **{"log_level": 0, "delivery.timeout.ms": 600_000})
        self._error: KafkaError | None = None
        self.sent = 0

    def send(self, records: Iterator[Record], per_second: float = 0, until: float = float("inf")) -> None:
        """Publish at a pace (0: as fast as it can) until the records end or the clock (monotonic) says so."""
        began, first = time.monotonic(), self.sent
        for topic, key, value in records:
            produce(self._producer, self._prefix + topic, value, key, on_delivery=self._told)
            self.sent += 1
            if self.sent % 50 == 0:
                self._producer.poll(0)
                if time.monotonic() > until:
                    break
                if per_second:
                    time.sleep(max(0.0, (self.sent - first) / per_second - (time.monotonic() - began)))

    def _told(self, error: KafkaError | None, _: Message) -> None:
        self._error = self._error or error

    def flush(self) -> None:
        """Return when Kafka has acknowledged everything."""
        while self._producer.flush(1.0):
            pass
        raise_on(self._error)


@dataclass
class Watcher:
    """Looks at memory, lag and /health a few times a second."""

    pids: dict[str, int]
    api_url: str
    worker_metrics_port: int
    most_mib: dict[str, float] = field(default_factory=dict)
    most_visits: float = 0
    most_records: int = 0
    most_behind_s: int = 0
    trends: set[str] = field(default_factory=set)
    details: list[str] = field(default_factory=list)
    failures: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            for name, pid in self.pids.items():
                self.most_mib[name] = max(self.most_mib.get(name, 0.0), rss_mib(pid))
            try:
                self.most_visits = max(self.most_visits, gauge(self.worker_metrics_port, "aisleflow_open_visits"))
                with urlopen(f"{self.api_url}/health", timeout=30) as answer:
                    health = json.loads(answer.read())
            except HTTPError as error:  # 503: ClickHouse took too long; the body tells the rest
                health = json.loads(error.read())
            except OSError:
                self.failures += 1
                continue
            self.details.append(health["parts"]["workers"]["detail"])
            if (found := health["backlog"]) is not None:
                self.most_records = max(self.most_records, found["records"])
                self.most_behind_s = max(self.most_behind_s, found["behind_seconds"])
                self.trends.add(found["trend"])

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()


def rss_mib(pid: int) -> float:
    """Resident memory of a process now."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def gauge(port: int, name: str) -> float:
    """A metric without labels of the worker on this port; 0 while it does not answer in time."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@contextmanager
def a_tenth_of_the_time(pid: int, slice_s: float = 0.05) -> Iterator[None]:
    """Let a process run a tenth of the time only."""
    stop = threading.Event()

    def hold() -> None:
        while not stop.is_set():
            os.kill(pid, signal.SIGSTOP)
            stop.wait(slice_s * (TOO_MUCH - 1))
            os.kill(pid, signal.SIGCONT)
            stop.wait(slice_s)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def through(settings: Settings, proxy: SlowProxy) -> Settings:
    """The same settings with the proxy between us and ClickHouse."""
    assert settings.clickhouse_url is not None
    url = re.sub(r"@[^/]+/", f"@127.0.0.1:{proxy.port}/", settings.clickhouse_url.get_secret_value())
    return settings.model_copy(update={"clickhouse_url": SecretStr(url)})


def wrong_copies(template: Template, copies: range, api_url: str) -> list[str]:
    """Every answer of every shop and copy that differs from the template's."""
    found = []
    for store_id in sorted(template.world.stores):
        expected = template.expected(store_id)
        for number in copies:
            for name, answer in expected.items():
                path = f"/stores/{store_id}/{name}?date={template.day(store_id, number)}"
                with urlopen(api_url + path, timeout=60) as response:
                    told = json.loads(response.read())
                found += [f"{path} {what}" for what in differences(answer, told, name == "metrics")]
    return found


def stored_once(settings: Settings, template: Template, copies: int) -> list[str]:
    """What is wrong with the numbers of facts that ClickHouse holds."""
    wrong = []
    with clickhouse_client(settings) as client:
        for what, sql, expected in (
            ("events", "SELECT count() FROM events FINAL", len(template.world.event_ids)),
            ("distinct event ids", "SELECT uniqExact(event_id) FROM events", len(template.world.event_ids)),
            ("transactions", "SELECT count() FROM transactions FINAL", template.transactions),
        ):
            found = client.query(sql).result_rows[0][0]
            if found != expected * copies:
                wrong.append(f"{found:,} {what} instead of {expected * copies:,}")
    return wrong


@dataclass
class Stand:
    """A worker and the API, with ClickHouse behind the proxy."""

    settings: Settings
    proxy: SlowProxy
    worker: int
    api: int
    api_url: str
    logs: list[Path]

    def caught_up(self, within_s: float, meanwhile: Callable[[], None] = lambda: time.sleep(0.3)) -> float:
        """Seconds until the worker has confirmed everything; ``meanwhile`` is called again and again.

        Raises:
            AssertionError: it has not within this time; with the ends of the logs.
        """
        began = time.monotonic()
        while group_lag(self.settings) > 0:
            if time.monotonic() - began > within_s:
                said = "\n".join(log.read_text(errors="replace")[-2000:] for log in self.logs)
                raise AssertionError(f"not caught up within {within_s:.0f} s\n{said}")
            meanwhile()
        return time.monotonic() - began


@contextmanager
def stand(settings: Settings, folder: Path) -> Iterator[Stand]:
    """Start a worker and the API on these Kafka and ClickHouse."""
    assert settings.clickhouse_url is not None
    target = urlsplit(settings.clickhouse_url.get_secret_value())
    proxy = SlowProxy(str(target.hostname), int(target.port or 0))
    slowed = through(settings, proxy)
    program = [sys.executable, "-m", "aisleflow"]
    logs = [folder / "worker.log", folder / "api.log"]
    with ExitStack() as stack:
        stack.callback(proxy.close)
        variables = environment(slowed)
        up = partial(answers, settings.metrics_port, "/metrics")
        worker = stack.enter_context(process([*program, "worker"], logs[0], up, variables))
        up = partial(answers, settings.api_port, "/login")
        api = stack.enter_context(process([*program, "api"], logs[1], up, variables))
        yield Stand(settings, proxy, worker.pid, api.pid, f"http://127.0.0.1:{settings.api_port}", logs)


@contextmanager
def open_wall(url: str) -> Iterator[Any]:
    """The wall in Chromium."""
    with running_chromium() as browser:
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.goto(url)
        page.wait_for_selector(".kpi", timeout=60_000)
        yield page


@dataclass
class Pressed:
    """What was seen while the pressure was on and until it was worked off."""

    sent: int
    copies: range
    pressure_s: float
    catch_up_s: float
    base_mib: dict[str, float]
    watcher: Watcher
    wall_said: list[str]

    @property
    def worker_bound_mib(self) -> float:
        """What the worker may hold: what it had, buffers, and the visits of the days that it has open."""
        return self.base_mib["worker"] + BUFFERS_MIB + KIB_PER_VISIT * self.watcher.most_visits / 1024


def press(
    stand: Stand,
    template: Template,
    first_copy: int,
    page: Any,
    *,
    seconds: float,
    per_second: float,
    factor: float,
    starve: bool = False,
    most_copies: int = 10_000,
) -> Pressed:
    """Put the pressure on for so many seconds, take it away, and wait until all is worked off.

    Args:
        stand, template, page: what to press, with which records (from ``first_copy`` on), and the wall to read meanwhile.
        per_second: the producer's pace; 0: as fast as it can.
        factor: how many times longer ClickHouse takes to answer.
        starve: give the worker a tenth of the time.
        most_copies: send no more than this.
    """
    pids = {"worker": stand.worker, "api": stand.api}
    base = {name: rss_mib(pid) for name, pid in pids.items()}
    watcher = Watcher(pids, stand.api_url, stand.settings.metrics_port)
    hose = Firehose(stand.settings)
    began = time.monotonic()
    sent_copies: list[int] = []

    def send() -> None:
        for number in range(first_copy, min(first_copy + most_copies, template.copies)):
            if time.monotonic() - began > seconds:
                break
            hose.send(template.copy(number), per_second)
            sent_copies.append(number)

    said: list[str] = []

    def read_wall() -> None:
        page.wait_for_timeout(500)
        said.extend(words for words in page.locator(".banner").all_inner_texts() if words not in said[-1:])

    sender = threading.Thread(target=send)
    with ExitStack() as stack:
        if starve:
            stack.enter_context(a_tenth_of_the_time(stand.worker))
        stand.proxy.factor = factor
        sender.start()
        while sender.is_alive() or time.monotonic() - began < seconds:
            read_wall()
        stand.proxy.factor = 1.0
    hose.flush()
    pressed_s = time.monotonic() - began
    catch_up_s = stand.caught_up(CAUGHT_UP_WITHIN_S, read_wall)
    watcher.stop()
    copies = range(first_copy, first_copy + len(sent_copies))
    return Pressed(hose.sent, copies, pressed_s, catch_up_s, base, watcher, said)


def capacity(stand: Stand, template: Template, copies: range) -> float:
    """Records a second that the worker confirms of what waits for it."""
    hose = Firehose(stand.settings)
    os.kill(stand.worker, signal.SIGSTOP)
    try:
        for number in copies:
            hose.send(template.copy(number))
        hose.flush()
    finally:
        os.kill(stand.worker, signal.SIGCONT)
    return hose.sent / stand.caught_up(CAUGHT_UP_WITHIN_S)


def main() -> int:
    """Run both cases; 0 if everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--case", choices=("producer", "clickhouse", "both"), default="both")
    parser.add_argument("--shops", type=int, default=10)
    chosen = parser.parse_args()
    cases = ("producer", "clickhouse") if chosen.case == "both" else (chosen.case,)
    return max(run(case, chosen.minutes, chosen.shops) for case in cases)


def run(case: str, minutes: float, shops: int) -> int:
    """One case in parts of its own; 0 if everything held."""
    last = datetime.now(UTC).date() - timedelta(days=2)
    template = Template(shops, last, copies=170)
    warm = 3
    with tempfile.TemporaryDirectory(prefix="aisleflow-pressure-") as name, ExitStack() as stack:
        folder = Path(name)
        kafka = stack.enter_context(running_kafka(folder / "kafka", free_port()))
        clickhouse = stack.enter_context(running_clickhouse(folder / "clickhouse", free_port(), secrets.token_hex(16)))
        settings = Settings(
            _env_file=None,
            kafka=kafka,
            clickhouse_url=f"{clickhouse}/aisleflow",  # type: ignore[arg-type]
            data_dir=folder / "data",
            api_port=free_port(),
            metrics_port=free_port(),
        )
        migrate.apply(settings)
        topics.ensure(settings)
        wait_for_leaders(settings)
        parts = stack.enter_context(stand(settings, folder))
        hose = Firehose(settings)
        hose.send((STORE_LAYOUTS.name, store_id, layout) for store_id, layout in template.layouts())
        hose.flush()
        parts.caught_up(60)
        page = stack.enter_context(open_wall(parts.api_url))
        highest = capacity(parts, template, range(warm))
        starve = case == "producer"
        rate = highest if starve else highest / 2
        print(
            f"{case}: {len(template.records):,} records a copy; the worker confirms {highest:,.0f} a second", flush=True
        )
        found = press(
            parts,
            template,
            warm,
            page,
            seconds=minutes * 60,
            per_second=rate,
            factor=1.0 if starve else TOO_MUCH,
            starve=starve,
        )
        page.wait_for_selector(".state.live", timeout=60_000)
        seen = found.watcher
        copies = warm + len(found.copies)
        wrong = stored_once(settings, template, copies) + wrong_copies(template, range(copies), parts.api_url)
        behind = [words for words in found.wall_said if "Behind by" in words]
        faults = {
            "the worker's memory left its bound": seen.most_mib["worker"] > found.worker_bound_mib,
            "the API's memory left its bound": seen.most_mib["api"] > found.base_mib["api"] + 96,
            "the wall did not say that it was behind": not behind,
            "it was never behind: no pressure": seen.most_behind_s < 30,
            f"{len(wrong)} answers are wrong, such as {wrong[:3]}": bool(wrong),
        }
        print(
            f"  load {os.getloadavg()[0]:.1f}; {found.sent:,} records in {found.pressure_s:.0f} s"
            f" ({found.sent / found.pressure_s:,.0f}/s), caught up {found.catch_up_s:.0f} s later\n"
            f"  at most {seen.most_records:,} records and {seen.most_behind_s} s behind; trends {sorted(seen.trends)}\n"
            f"  worker {found.base_mib['worker']:.0f} MiB before, {seen.most_mib['worker']:.0f} at most, bound"
            f" {found.worker_bound_mib:.0f} ({seen.most_visits:,.0f} visits open at most);"
            f" API {found.base_mib['api']:.0f} and {seen.most_mib['api']:.0f}\n"
            f"  {3 * copies * len(template.world.stores):,} answers compared, {len(wrong)} wrong;"
            f" /health unanswered {seen.failures} times\n  the wall: {behind[-1] if behind else found.wall_said[-1:]}",
            flush=True,
        )
        for fault in (words for words, holds in faults.items() if holds):
            print(f"  BROKEN: {fault}", flush=True)
        return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main())
