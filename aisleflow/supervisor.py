"""Run every part of Aisleflow as one: start in order, wait until each is ready, restart what dies or falls silent, stop
all cleanly.

The parts are processes of their own. Secrets reach them by the environment, never by arguments or logs. If the
supervisor itself is killed, the kernel ends its children (Linux: ``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import functools
import json
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aisleflow import ports, secrets
from aisleflow.settings import Settings

State = Literal["starting", "ready", "restarting", "stopped"]
STOP_WITHIN_S = 8.0
#: A part that has not answered its probe for so long hangs: it is killed and started again.
SILENT_FOR_S = 30.0
PROBE_EVERY_S, PROBE_WITHIN_S = 5.0, 2.0
#: A log that has grown beyond this is copied to ``NAME.log.1`` and begun anew.
MAX_LOG_BYTES = 50 * 1024 * 1024
#: glibc gives each thread an area of memory of its own and returns little of it. With two for all, a worker holds a tenth less,
#: and hours of changing load leave fewer holes; it costs no measurable time.
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}
_LOOK_AT_LOGS_EVERY_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_STEADY_AFTER_S = 60.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class SupervisorError(RuntimeError):
    """The system cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Part:
    """One process to keep running.

    Attributes:
        name: short name; its log is ``DATA_DIR/logs/NAME.log``.
        command: argument list, without secrets.
        environment: variables for this part only, over those that every part gets.
        is_ready: blocking probe, called from a thread until it says yes; None: ready as soon as it runs.
        ready_within_s: after this the start has failed.
        is_alive: blocking probe, called from a thread every ``PROBE_EVERY_S`` while it runs; it must return within
            some ``PROBE_WITHIN_S`` and depend on no other part. None: it is alive as long as it runs.
        silent_for_s: killed and started again when the probe has failed for so long.
        port: where it listens, checked to be free before the start, and the setting that moves it.
        address: where a person finds it.
        orphan_signal: what it gets when the supervisor dies. Servers close their data; the rest may be cut off
            anywhere.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] | None = None
    ready_within_s: float = 60.0
    is_alive: Callable[[], bool] | None = None
    silent_for_s: float = SILENT_FOR_S
    port: int | None = None
    port_setting: str = ""
    host: str = "127.0.0.1"
    address: str = ""
    orphan_signal: int = signal.SIGKILL


@dataclass
class _Child:
    part: Part
    log: Path
    first_start: asyncio.Future[None]
    process: asyncio.subprocess.Process | None = None
    state: State = "starting"
    restarts: int = 0
    keeper: asyncio.Task[None] | None = None


def answers_http(url: str, timeout_s: float = 1.0) -> bool:
    """Whether something answers HTTP at the address, whatever the status."""
    try:
        urllib.request.urlopen(url, timeout=timeout_s).close()  # noqa: S310 - our own loopback addresses
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def rotate(log: Path, most_bytes: int) -> None:
    """Copy a log that has grown beyond this to ``NAME.log.1`` and cut it to nothing; its writer goes on appending.

    Lines written between the two steps are lost. When the copy fails, as on a full disk, the log stays as it is.
    """
    with suppress(OSError):
        if log.stat().st_size > most_bytes:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def environment(settings: Settings) -> dict[str, str]:
    """The settings as ``AISLEFLOW_*`` variables, for a child process to read back."""
    variables = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            variables[f"AISLEFLOW_{name.upper()}"] = text
    return variables


def aisleflow_command(*arguments: str) -> list[str]:
    """The command line of one of our own programs."""
    return [sys.executable, "-m", "aisleflow", *arguments]


def has_webhooks(settings: Settings) -> bool:
    """Whether anybody has registered a webhook.

    Raises:
        SupervisorError: the file of registrations cannot be used.
    """
    from connectors.pulling import ConnectError
    from connectors.webhooks import file_of, load

    try:
        return bool(load(file_of(settings)))
    except ConnectError as error:
        raise SupervisorError(str(error)) from None


class Supervisor:
    """Starts the parts, keeps them running, and stops them.

    Args:
        settings: whose ``kafka`` and ``clickhouse_url``, when set, name the user's own servers.
        extra: further parts, started when everything else is ready (the demo's simulator).
        console: where to tell people what happens.
        servers_only: start Kafka and ClickHouse, as they are, and nothing else: for a backup.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        extra: Sequence[Part] = (),
        console: Console | None = None,
        servers_only: bool = False,
    ) -> None:
        self.data_dir = settings.data_dir.expanduser().resolve()
        self.console = console or Console(stderr=True)
        self._extra = extra
        self._servers_only = servers_only
        self._own_kafka = bool(settings.kafka)
        self._own_clickhouse = bool(settings.clickhouse_url)
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._secrets = secrets.load_or_create(self.data_dir)
        #: The settings that every part gets, complete with the addresses of Kafka and ClickHouse.
        self.settings = settings.model_copy(
            update={
                "data_dir": self.data_dir,
                "kafka": settings.kafka_bootstrap,
                "clickhouse_url": settings.clickhouse_url
                or SecretStr(self._secrets.clickhouse_url(settings.clickhouse_port)),
            }
        )
        self._children: dict[str, _Child] = {}
        self._stop = asyncio.Event()

    # --- what runs -------------------------------------------------------------------------------------------------

    def servers(self) -> list[Part]:
        """Kafka and ClickHouse, unless they are the user's own."""
        from aisleflow.clients import kafka_config
        from infra.kafka.broker import SUPER_USERS, USERS_VARIABLE, answers, responds

        found = []
        settings = self.settings
        if not self._own_kafka:
            users = {user: self._secrets.kafka_password(user) for user in (*SUPER_USERS, *secrets.KAFKA_PARTS)}
            probe = kafka_config(self.kafka_as("admin")) | {"bootstrap.servers": f"127.0.0.1:{settings.kafka_port}"}
            arguments = ["--data-dir", str(self.data_dir / "kafka"), "--port", str(settings.kafka_port)]
            arguments += ["--controller-port", str(settings.kafka_controller_port)]
            found.append(
                Part(
                    "kafka",
                    [sys.executable, "-m", "infra.kafka.broker", *arguments],
                    environment={USERS_VARIABLE: json.dumps(users)} if settings.kafka_secure else {},
                    is_ready=lambda: answers(probe),
                    is_alive=lambda: responds(settings.kafka_port, PROBE_WITHIN_S),
                    port=settings.kafka_port,
                    port_setting="AISLEFLOW_KAFKA_PORT",
                    address=settings.kafka_bootstrap,
                    orphan_signal=signal.SIGTERM,
                )
            )
        if not self._own_clickhouse:
            port = settings.clickhouse_port
            ping = f"http://127.0.0.1:{port}/ping"
            arguments = ["--data-dir", str(self.data_dir / "clickhouse"), "--port", str(port)]
            found.append(
                Part(
                    "clickhouse",
                    [sys.executable, "-m", "infra.clickhouse.server", *arguments],
                    environment={
                        "AISLEFLOW_CLICKHOUSE_WRITER_PASSWORD": self._secrets.clickhouse_writer,
                        "AISLEFLOW_CLICKHOUSE_READER_PASSWORD": self._secrets.clickhouse_reader,
                        "AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD": self._secrets.clickhouse_analyst,
                    },
                    is_ready=lambda: answers_http(ping),
                    is_alive=lambda: answers_http(ping, PROBE_WITHIN_S),
                    port=port,
                    port_setting="AISLEFLOW_CLICKHOUSE_PORT",
                    address=f"http://127.0.0.1:{port}",
                    orphan_signal=signal.SIGTERM,
                )
            )
        return found

    def kafka_as(self, user: str) -> Settings:
        """The settings of a part that is this user at a secured Kafka of ours."""
        if self._own_kafka or not self.settings.kafka_secure:
            return self.settings
        return self.settings.model_copy(update=self._secrets.kafka_login(user))

    def _reading(self, user: str) -> Settings:
        """The settings of a part that is this user at Kafka and only reads at ClickHouse; on your own server it is whoever the URL
        names.
        """
        found = self.kafka_as(user)
        if self._own_clickhouse:
            return found
        url = SecretStr(self._secrets.clickhouse_reader_url(self.settings.clickhouse_port))
        return found.model_copy(update={"clickhouse_url": url})

    def programs(self) -> list[Part]:
        """The workers, what forecasts and what works out what to restock, the API, the gate where Kafka is secured, and the webhooks
        where any is registered.
        """
        settings = self.settings
        found = [self._worker(index) for index in range(settings.workers)]
        found.append(self._worker(settings.workers, "stock"))
        found.append(Part("restock", aisleflow_command("restock"), environment(self._reading("restock"))))
        if settings.kafka_secure:
            found.append(Part("gate", aisleflow_command("gate"), environment(self.kafka_as("gate"))))
        found.append(
            Part("forecasts", aisleflow_command("forecast", "--follow"), environment(self._reading("forecasts")))
        )
        if has_webhooks(settings):
            found.append(Part("webhooks", aisleflow_command("webhooks", "run"), environment(self.kafka_as("webhooks"))))
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - compared
        url = f"http://{host}:{settings.api_port}"
        found.append(
            Part(
                "api",
                aisleflow_command("api"),
                environment=environment(self._reading("api")),
                # Not /health, which waits for Kafka and ClickHouse: an API that starts while they are away is ready too.
                is_ready=lambda: answers_http(f"{url}/metrics"),
                is_alive=lambda: answers_http(f"{url}/metrics", PROBE_WITHIN_S),
                port=settings.api_port,
                port_setting="AISLEFLOW_API_PORT",
                host=settings.host,
                address=url,
            )
        )
        return found

    def _worker(self, index: int, derives: str = "visits") -> Part:
        port = self.settings.metrics_port + index
        url = f"http://127.0.0.1:{port}/metrics"
        return Part(
            f"worker-{index}" if derives == "visits" else f"{derives}-worker",
            aisleflow_command("worker", "--index", str(index), "--derives", derives),
            environment(self.kafka_as("worker")),
            is_ready=lambda: answers_http(url),
            is_alive=lambda: answers_http(url, PROBE_WITHIN_S),
            port=port,
            port_setting="AISLEFLOW_METRICS_PORT",
            address=url,
        )

    def prepare(self) -> None:
        """Create the tables and topics; blocking.

        Raises:
            SupervisorError: one of the two servers refused.
        """
        from clickhouse_connect.driver.exceptions import ClickHouseError
        from confluent_kafka import KafkaException

        from aisleflow import access
        from aisleflow.commands import migrate, topics
        from schemas.migrations import MigrationError

        try:
            migrate.apply(self.settings)
        except (ClickHouseError, MigrationError, ValueError) as error:
            raise SupervisorError(f"ClickHouse's tables could not be prepared: {error}") from error
        try:
            topics.ensure(self.kafka_as("admin"))
            if self.settings.kafka_secure and not self._own_kafka:
                access.allow(self.kafka_as("admin"), access.parts_grants(self.settings))
        except (KafkaException, topics.TopicsError) as error:
            raise SupervisorError(
                f"Kafka's topics could not be prepared at {self.settings.kafka_bootstrap}: {error}"
            ) from error

    # --- running ---------------------------------------------------------------------------------------------------

    async def run(self, body: Callable[[], Awaitable[int]] | None = None) -> int:
        """Start everything and keep it running until a signal comes or ``body``, called when all is ready, returns.

        Returns:
            The exit code: that of ``body``, 0 after a signal, 1 when the system could not start.
        """
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self._stop.set)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            with self._only_one():
                work = asyncio.create_task(self._work(body))
                try:
                    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
                    if work.done():
                        return work.result()
                    return 0
                finally:
                    work.cancel()
                    await self._stop_all()
        except (SupervisorError, secrets.SecretsError) as error:
            self.console.print(f"[bold red]aisleflow:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            return 1
        finally:
            stopped.cancel()
            for number in signals:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Ask :meth:`run` to end."""
        self._stop.set()

    async def _work(self, body: Callable[[], Awaitable[int]] | None) -> int:
        began = time.monotonic()
        servers, programs = self.servers(), [] if self._servers_only else self.programs()
        await self._check_ports([*servers, *programs, *self._extra])
        if not self._own_kafka:
            await self._fetch_kafka()
        with self.console.status("Starting Kafka and ClickHouse"):
            await self._start(servers)
        if self._servers_only:
            return 0 if body is None else await body()
        with self.console.status("Preparing tables and topics"):
            await asyncio.to_thread(self.prepare)
        with self.console.status("Starting workers and the API"):
            await self._start(programs)
        if self._extra:
            with self.console.status(f"Starting {', '.join(part.name for part in self._extra)}"):
                await self._start(self._extra)
        self._tell_addresses(time.monotonic() - began)
        rotating = asyncio.create_task(self._rotate_logs())
        try:
            if body is not None:
                return await body()
            await asyncio.Event().wait()
        finally:
            rotating.cancel()
        return 0

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AT_LOGS_EVERY_S)
            for child in self._children.values():
                await asyncio.to_thread(rotate, child.log, MAX_LOG_BYTES)

    async def _fetch_kafka(self) -> None:
        from infra.kafka.broker import BrokerError, fetch_jars, jars_dir

        if not jars_dir().is_dir():
            with self.console.status("Fetching Apache Kafka (43 MB, this once)"):
                try:
                    await asyncio.to_thread(fetch_jars)
                except BrokerError as error:
                    raise SupervisorError(str(error)) from error

    async def _check_ports(self, parts: Sequence[Part]) -> None:
        wanted = [(part.port, part.host, part.port_setting) for part in parts if part.port is not None]
        if any(part.name == "kafka" for part in parts):
            wanted.append((self.settings.kafka_controller_port, "127.0.0.1", "AISLEFLOW_KAFKA_CONTROLLER_PORT"))
        numbers = [port for port, _, _ in wanted]
        for port, host, setting in wanted:
            if numbers.count(port) > 1:
                raise SupervisorError(f"port {port} is wanted by two parts: change {setting}")
            # After a supervisor was killed, its servers may need a moment to close.
            patience = time.monotonic() + (10 if self._was_cut_off() else 0)
            while not ports.is_free(port, host):
                if time.monotonic() >= patience:
                    raise SupervisorError(ports.taken_message(port, setting))
                await asyncio.sleep(0.1)

    async def _start(self, parts: Sequence[Part]) -> None:
        """Start the parts at once and return when all are ready."""
        logs = self.data_dir / "logs"
        logs.mkdir(exist_ok=True)
        fresh = []
        for part in parts:
            log = logs / f"{part.name}.log"
            if log.exists():
                log.replace(log.with_suffix(".log.1"))
            child = _Child(part, log, asyncio.get_running_loop().create_future())
            self._children[part.name] = child
            child.keeper = asyncio.create_task(self._keep(child))
            child.keeper.add_done_callback(functools.partial(_tell_failure, child))
            fresh.append(child)
        await asyncio.gather(*(child.first_start for child in fresh))

    async def _keep(self, child: _Child) -> None:
        """Run one part for ever; the first start must succeed, later ones are tried again and again."""
        pause = _FIRST_PAUSE_S
        part = child.part
        while True:
            began = time.monotonic()
            try:
                child.process = await self._spawn(part, child.log)
            except OSError as error:  # no room for its log, no memory for a process
                why = f"cannot be started ({error})"
            else:
                why = await self._until_gone(child, child.process)
            if not child.first_start.done():
                said = tail(child.log)
                more = f". The end of {child.log}:\n{said}" if said else ""
                child.first_start.set_exception(SupervisorError(f"{part.name} {why}{more}"))
                return
            if time.monotonic() - began > _STEADY_AFTER_S:
                pause = _FIRST_PAUSE_S
            child.restarts += 1
            self._set_state(child, "restarting")
            self._say(f"[yellow]{part.name}[/] {escape(why)}; starting it again in {pause:g} s  [dim]{child.log}[/]")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _until_gone(self, child: _Child, process: asyncio.subprocess.Process) -> str:
        """Tell when a part that was started is ready, kill it when it never is or no longer answers; why it is gone."""
        part, began = child.part, time.monotonic()
        self._set_state(child, "starting" if not child.restarts else "restarting")
        gone = asyncio.create_task(process.wait())
        ready = asyncio.create_task(self._until_ready(part))
        await asyncio.wait({gone, ready}, return_when=asyncio.FIRST_COMPLETED)
        why = ""
        if not gone.done() and ready.result():
            self._set_state(child, "ready")
            took = time.monotonic() - began
            again = "is back" if child.restarts else "is ready"
            self._say(f"[green]{part.name}[/] {again} after {took:.1f} s  [dim]{part.address}[/]")
            if not child.first_start.done():
                child.first_start.set_result(None)
            silent = asyncio.create_task(self._until_silent(part))
            await asyncio.wait({gone, silent}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                silent.result()
                why = f"did not answer for {part.silent_for_s:g} s"
                _signal(child, signal.SIGKILL)
            silent.cancel()
        elif not gone.done():
            why = f"was not ready within {part.ready_within_s:.0f} s"
            _signal(child, signal.SIGKILL)
        ready.cancel()
        code = await gone
        return why or (f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}")

    async def _spawn(self, part: Part, log: Path) -> asyncio.subprocess.Process:
        supervisor = os.getpid()

        def die_with_the_supervisor() -> None:
            if _libc is not None:
                _libc.prctl(_PR_SET_PDEATHSIG, part.orphan_signal)
                if os.getppid() != supervisor:  # it died before the line above
                    os._exit(1)

        foreign = ("AISLEFLOW_CLICKHOUSE_", "AISLEFLOW_KAFKA_")
        own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *part.command,
                env={**own, **FEW_ARENAS, "PYTHONUNBUFFERED": "1", **environment(self.settings), **part.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the parts in order
                preexec_fn=die_with_the_supervisor,
            )

    async def _until_ready(self, part: Part) -> bool:
        deadline = time.monotonic() + part.ready_within_s
        while part.is_ready is not None and not await asyncio.to_thread(part.is_ready):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)
        return True

    async def _until_silent(self, part: Part) -> None:
        """Return when the part has not answered for its time."""
        if part.is_alive is None:
            await asyncio.Event().wait()
            return
        silent_s = 0.0
        while silent_s < part.silent_for_s:
            await asyncio.sleep(PROBE_EVERY_S)
            began = time.monotonic()
            if await asyncio.to_thread(part.is_alive):
                silent_s = 0.0
            else:
                # Counted by probes, not by the clock: time that this process was held up says nothing about the part.
                silent_s += PROBE_EVERY_S + min(time.monotonic() - began, PROBE_WITHIN_S)

    async def _stop_all(self) -> None:
        """End every part: what was started last goes first, the servers last."""
        for child in self._children.values():
            if child.keeper is not None:
                child.keeper.cancel()
            if child.first_start.done() and not child.first_start.cancelled():
                child.first_start.exception()  # seen, so that asyncio does not complain
        servers = {"kafka", "clickhouse"}
        running = [child for child in self._children.values() if child.process and child.process.returncode is None]
        for group in (
            [child for child in running if child.part.name not in servers],
            [child for child in running if child.part.name in servers],
        ):
            for child in group:
                _signal(child, signal.SIGTERM)
            waits = [asyncio.create_task(child.process.wait()) for child in group if child.process]
            if waits:
                _, late = await asyncio.wait(waits, timeout=STOP_WITHIN_S / 2)
                for child in group if late else ():
                    _signal(child, signal.SIGKILL)
                await asyncio.gather(*waits)
        for child in self._children.values():
            self._set_state(child, "stopped")
        if self._children:
            self._say("stopped; the data stays in " + str(self.data_dir))

    # --- telling ---------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        with suppress(OSError):  # who read it is gone, or it goes to a file on a full disk
            self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}", highlight=False, soft_wrap=True)

    def _tell_addresses(self, took_s: float) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        api = self._children["api"].part.address if "api" in self._children else ""
        if api:
            table.add_row("[bold]Wall[/]", f"[bold]{api}/[/]")
            table.add_row("API", f"{api}/openapi.json")
        secured = ", secured: `aisleflow producers add`" if self.settings.kafka_secure and not self._own_kafka else ""
        table.add_row("Kafka", self.settings.kafka_bootstrap + secured)
        if not self._own_clickhouse:
            where = f"http://127.0.0.1:{self.settings.clickhouse_port}"
            table.add_row("ClickHouse", f"{where} user analyst, password in {self.data_dir / 'secrets.json'}")
        elif self.settings.clickhouse_url is not None:
            own = urlsplit(self.settings.clickhouse_url.get_secret_value())
            table.add_row("ClickHouse", f"{own.scheme}://{own.hostname}:{own.port or ''} (yours)")
        table.add_row("Data, logs", f"{self.data_dir}, {self.data_dir / 'logs'}")
        self.console.print(f"\n[bold green]Aisleflow is ready[/] after {took_s:.1f} s. Ctrl-C stops everything.")
        self.console.print(table)

    # --- files in the data directory -------------------------------------------------------------------------------

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Hold the data directory for this supervisor alone; the lock ends with the process, however it ends."""
        with (self.data_dir / "up.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise SupervisorError(
                    f"another `aisleflow up` (pid {lock.read().strip() or '?'}) uses {self.data_dir}: "
                    "stop it, or choose another --data-dir"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def _was_cut_off(self) -> bool:
        """Whether the last supervisor of this data directory ended without stopping its parts."""
        with suppress(OSError, ValueError, AttributeError):
            known = json.loads((self.data_dir / "run.json").read_text())
            return any(part["state"] != "stopped" for part in known["parts"].values())
        return False

    def _set_state(self, child: _Child, state: State) -> None:
        child.state = state
        known = {
            "supervisor": os.getpid(),
            "parts": {
                name: {
                    "pid": other.process.pid if other.process else None,
                    "port": other.part.port,
                    "state": other.state,
                    "restarts": other.restarts,
                    "log": str(other.log),
                }
                for name, other in self._children.items()
            },
        }
        draft = self.data_dir / "run.json.draft"
        # It informs `aisleflow status`. A full disk must not end who starts the parts again that died of it.
        with suppress(OSError):
            draft.write_text(json.dumps(known, indent=2))
            draft.replace(self.data_dir / "run.json")


def _tell_failure(child: _Child, keeper: asyncio.Task[None]) -> None:
    """A keeper that fails itself (a probe raised) must not leave the start waiting for ever."""
    if not keeper.cancelled() and (error := keeper.exception()) is not None and not child.first_start.done():
        child.first_start.set_exception(error)


def _signal(child: _Child, number: int) -> None:
    """Signal a part and whatever it started: each part leads a process group of its own."""
    if child.process is not None:
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    with suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""
