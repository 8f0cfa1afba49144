"""No credential in a log, in what a program prints or in a process list: the whole product runs with passwords that are
marked, well and badly.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from aisleflow import secrets
from aisleflow.cli import app
from aisleflow.settings import Settings, settings
from aisleflow.supervisor import environment
from infra.kafka.broker import SUPER_USERS
from tests.conftest import free_port, process

pytestmark = pytest.mark.system
# With what breaks a URL that is taken apart carelessly.
MARK = "MARKED"
WRITER, ANALYST, KEY, KAFKA = f"{MARK}-writer-1", f"{MARK}-analyst-2", f"{MARK}-key-3", f"{MARK}-kafka-4"
EVENT = {
    "event_id": "550e8400-e29b-41d4-a716-446655440000", "store_id": "S", "camera_id": "C", "visitor_id": f"{MARK}-visitor",
    "event_type": "ENTRY", "timestamp": "2026-03-03T14:22:10Z", "confidence": 0.9,
}  # fmt: skip


def run(*arguments: str, timeout: float = 60, **variables: str) -> str:
    """What one of our programs prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AISLEFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "aisleflow", *arguments],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.stdout + done.stderr


class System:
    """``aisleflow up`` in a folder of its own, with marked passwords and a marked API key."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        secret = self.data / "secrets.json"
        known = secrets.Secrets(clickhouse_writer=WRITER, clickhouse_analyst=ANALYST, kafka=KAFKA)
        secret.write_text(known.model_dump_json())
        #: At the secured Kafka; a digest, so they hold no mark.
        self.kafka_passwords = [known.kafka_password(user) for user in (*SUPER_USERS, *secrets.KAFKA_PARTS)]
        secret.chmod(0o600)
        self.ports = {name: free_port() for name in ("api", "kafka", "kafka_controller", "clickhouse", "metrics")}
        self.variables = {f"AISLEFLOW_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        self.variables |= {"AISLEFLOW_DATA_DIR": str(self.data), "AISLEFLOW_API_KEYS": KEY}
        self.variables |= {"AISLEFLOW_LOG_LEVEL": "DEBUG", "AISLEFLOW_KAFKA_SECURE": "true"}

    def states(self) -> dict[str, Any]:
        try:
            parts: dict[str, Any] = json.loads((self.data / "run.json").read_text())["parts"]
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return parts

    def ready(self) -> bool:
        states = self.states()
        return "api" in states and all(part["state"] == "ready" for part in states.values())

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        request = Request(f"http://127.0.0.1:{self.ports['api']}{path}", body, headers)
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode() + str(answer.headers)
        except HTTPError as error:
            return error.code, error.read().decode() + str(error.headers)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("marked")
    found = System(folder)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AISLEFLOW_")}
    for name in set(os.environ) - set(inherited):
        os.environ.pop(name)
    with process([sys.executable, "-m", "aisleflow", "up"], folder / "up.log", found.ready, found.variables):
        yield found


def logs(system: System) -> str:
    files = [*system.data.parent.glob("*.log"), *(system.data / "logs").rglob("*")]
    return "\n".join(path.read_text(errors="replace") for path in files if path.is_file())


def command_lines() -> str:
    """Of every process on this machine, but for this one's."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_a_day_in_the_life(system: System) -> None:
    """All works: events come and are asked for, with good keys, wrong keys and keys in the wrong places."""
    body = json.dumps({"events": [EVENT, {**EVENT, "timestamp": f"{MARK}-not-a-time"}]}).encode()
    assert system.ask("/events/ingest?wait=processed&timeout_s=30", body, **{"X-API-Key": KEY})[0] in (200, 202)
    told = ""
    for path in (
        "/health",
        "/metrics",
        "/stores/S/metrics",
        "/openapi.json",
        "/",
        "/login",
        f"/stores/{MARK}x/metrics",
    ):
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"X-API-Key": f"{KEY}-wrong"}, {}):
            answer = system.ask(path, **headers)[1]
            told += answer if not path.startswith("/stores/M") else ""
    told += system.ask("/login", f"key={KEY}-wrong".encode())[1]
    told += system.ask("/login", f"key={KEY}".encode())[1]
    assert system.ask("/events/ingest", f'{{"events": [{MARK}'.encode(), **{"X-API-Key": KEY})[0] == 400
    assert KEY not in told and WRITER not in told and ANALYST not in told
    assert_secret(system)


def test_the_commands_find_their_way_into_a_secured_kafka(system: System, tmp_path: Path) -> None:
    receipts = tmp_path / "receipts.csv"
    receipts.write_text("store_id,transaction_id,timestamp,basket_value_inr\nS,T1,2026-03-03T14:30:00Z,5.00\n")
    for arguments, answer in (
        (("topics",), "every topic is there"),
        (("publish", "transactions", str(receipts)), "1"),
        (("dead-letters", "list"), "visit-events" if logs(system).count("dead_letters") else "no dead letters wait"),
        (("producers", "list"), "no producers"),
        (("status", "--json"), '"gate"'),
    ):
        said = run(*arguments, **system.variables)
        assert answer in said, arguments
        assert not re.search("(?i)authori[sz]|sasl|traceback", said), said
        assert MARK not in said
    status = json.loads(run("status", "--json", **system.variables).partition("\n%")[0])
    assert status["lag"] is not None, "Kafka tells"
    assert system.ask("/stores/S/metrics", **{"X-API-Key": KEY})[0] == 200


def test_a_bad_day(system: System) -> None:
    """ClickHouse dies and comes back under the eyes of all; the API and the worker complain in the meantime."""
    pid = system.states()["clickhouse"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        other = json.dumps([{**EVENT, "event_id": EVENT["event_id"].replace("5", "6")}]).encode()
        assert system.ask("/events/ingest", other, **{"X-API-Key": KEY})[0] == 503
        assert system.ask("/health")[0] == 503
    finally:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not system.ready() or system.states()["clickhouse"]["pid"] == pid:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # Both the refused statement and the row that it cites are somebody's data.
    request = Request(
        f"http://127.0.0.1:{system.ports['clickhouse']}/?query=INSERT+INTO+aisleflow.events+FORMAT+JSONCompactEachRow",
        f'["{MARK}-cited", "S"]'.encode(),
        {"X-ClickHouse-User": "aisleflow", "X-ClickHouse-Key": WRITER},
    )
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=30)
    assert f"{MARK}-cited" in refused.value.read().decode(), "who sent it is told; the log is not"
    wrong = Request(f"http://127.0.0.1:{system.ports['clickhouse']}/?query=SELECT+1&user=analyst&password={ANALYST}x")
    with pytest.raises(HTTPError):
        urlopen(wrong, timeout=30)
    assert_secret(system)


def assert_secret(system: System) -> None:
    said = logs(system)
    assert len(said) > 1000
    # What somebody asks for stands in the log line of the request, by its path; nothing else that is marked does.
    cited = [line for line in said.splitlines() if MARK in line and f'"endpoint": "/stores/{MARK}x' not in line]
    assert cited == []
    lines = command_lines()
    assert MARK not in lines
    files = (
        said
        + (system.data / "kafka" / "server.properties").read_text()
        + (system.data / "kafka" / "secured").read_text()
    )
    assert not [password for password in system.kafka_passwords if password in lines + files]
    assert (system.data / "secrets.json").stat().st_mode & 0o077 == 0
    assert system.data.stat().st_mode & 0o077 == 0


FOREIGN = f"http://{MARK}-user:{MARK}-password@127.0.0.1"
BROKEN_URLS = [
    f"{FOREIGN}:1/x",  # nobody listens
    f"http://u:{MARK}/pass@127.0.0.1:1/x",  # characters that end the host, or the port
    f"http://u:{MARK}#pass@127.0.0.1:1/x",
    f"http://u:{MARK}?pass@127.0.0.1:1/x",
    f"http://u:{MARK}[pass@127.0.0.1:1/x",
    f"http://u:{MARK}@pass:{MARK}@127.0.0.1:1/x",
    f"{FOREIGN}:99999/x",
    f"{FOREIGN}:{MARK}/x",
    f"ftp://u:{MARK}@127.0.0.1/x",
    f"{MARK}",
    f"http://u:{MARK}\n@127.0.0.1:1/x",
]


@pytest.mark.parametrize("url", BROKEN_URLS)
def test_an_address_that_does_not_work_is_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISLEFLOW_CLICKHOUSE_URL", url)
    settings.cache_clear()
    try:
        done = CliRunner().invoke(app, ["migrate"])
    finally:
        settings.cache_clear()
    assert done.exit_code == 1
    assert "migrate: " in done.output
    assert MARK not in done.output


@pytest.mark.parametrize("arguments", [("up", "--help"), ("doctor",), ("rederive",)])
def test_programs_that_cannot_work_tell_no_password(arguments: tuple[str, ...], tmp_path: Path) -> None:
    said = run(
        *arguments,
        AISLEFLOW_CLICKHOUSE_URL=f"{FOREIGN}:{free_port()}/x",
        AISLEFLOW_KAFKA=f"127.0.0.1:{free_port()}",
        AISLEFLOW_API_KEYS=KEY,
        AISLEFLOW_DATA_DIR=str(tmp_path),
    )
    assert said
    assert MARK not in said


def test_a_worker_that_waits_for_its_parts_tells_no_password(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    environment = {
        "AISLEFLOW_CLICKHOUSE_URL": f"{FOREIGN}:{free_port()}/x",
        "AISLEFLOW_KAFKA": f"127.0.0.1:{free_port()}",
        "AISLEFLOW_METRICS_PORT": str(free_port()),
        "AISLEFLOW_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "aisleflow", "worker"]
    with process(command, log, lambda: "waiting_for_part" in log.read_text(), environment):
        pass
    assert MARK not in log.read_text()


@pytest.mark.parametrize("name", ["CLICKHOUSE_URL", "API_KEYS"])
def test_settings_that_are_wrong_are_named_and_not_shown(name: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"AISLEFLOW_{name}={MARK}\nAISLEFLOW_WORKERS=many\n")
    done = subprocess.run(
        [sys.executable, "-m", "aisleflow", "doctor"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "workers" in done.stderr
    assert MARK not in done.stdout + done.stderr


def test_what_a_damaged_secrets_file_held_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(f'{{"clickhouse_writer": "{MARK}"')
    said = run("up", AISLEFLOW_DATA_DIR=str(tmp_path))
    assert "secrets.json cannot be read" in said
    assert MARK not in said


def test_a_traceback_shows_no_variables(make_world: Callable[..., Settings], clickhouse: str, tmp_path: Path) -> None:
    """A worker whose tables are gone ends with a traceback, and with ClickHouse's words, but without its password."""
    from aisleflow.clients import clickhouse_client

    world = make_world(None, clickhouse)
    assert world.clickhouse_url is not None
    url = world.clickhouse_url.get_secret_value()
    password = re.findall(r":(\w+)@", url)[0]
    with clickhouse_client(world) as client:
        client.command("DROP TABLE events")
    code = """
import asyncio, os
from aisleflow import log
from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.engine.worker import _or_leave
settings = Settings(_env_file=None)
log.configure("DEBUG")
sink = ClickHouseSink(clickhouse_client(settings))
asyncio.run(_or_leave(sink.insert("events", ["event_id"], [["MARKED-row"]], "token")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment(world)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "worker_stops" in done.stderr and "CannotWrite" in done.stderr
    assert password not in done.stderr and MARK not in done.stderr
