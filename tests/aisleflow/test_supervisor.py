"""The supervisor with small stand-in programs; the real parts are in ``test_supervisor_system.py``."""

import asyncio
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aisleflow import supervisor
from aisleflow.settings import Settings
from aisleflow.supervisor import Part, Supervisor, answers_http, environment
from tests.conftest import free_port

SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(600)"


class Standins(Supervisor):
    """A supervisor of the given parts alone."""

    def __init__(self, data_dir: Path, *parts: Part, **settings: Any) -> None:
        self.told = io.StringIO()
        super().__init__(
            Settings(_env_file=None, data_dir=data_dir, kafka="127.0.0.1:1", **settings),
            console=Console(file=self.told, width=300),
        )
        self.parts = list(parts)

    def servers(self) -> list[Part]:
        return []

    def programs(self) -> list[Part]:
        return self.parts

    def prepare(self) -> None:
        pass


def python(name: str, code: str, **details: Any) -> Part:
    return Part(name, [sys.executable, "-c", textwrap.dedent(code)], **details)


def state(data_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((data_dir / "run.json").read_text())["parts"]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_body_runs_when_all_is_ready_and_decides_the_exit_code(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    slow = python(
        "slow", f"import time; time.sleep(0.5); open({str(flag)!r}, 'w'); time.sleep(600)", is_ready=flag.exists
    )
    system = Standins(tmp_path / "data", slow, python("quick", SLEEPER))

    async def body() -> int:
        assert flag.exists()
        assert {name: part["state"] for name, part in state(system.data_dir).items()} == {
            "slow": "ready",
            "quick": "ready",
        }
        return 7

    assert await system.run(body) == 7
    for part in state(system.data_dir).values():
        assert part["state"] == "stopped"
        assert not alive(part["pid"])


async def test_a_part_that_dies_comes_back_and_it_is_said(tmp_path: Path) -> None:
    system = Standins(tmp_path, python("part", SLEEPER))

    async def body() -> int:
        first = state(tmp_path)["part"]["pid"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: state(tmp_path)["part"]["restarts"] == 1 and state(tmp_path)["part"]["state"] == "ready")
        assert state(tmp_path)["part"]["pid"] != first
        return 0

    assert await system.run(body) == 0
    assert "part was killed by SIGKILL; starting it again in 0.5 s" in system.told.getvalue()
    assert "part is back" in system.told.getvalue()


async def test_a_part_comes_back_whatever_cannot_be_written_meanwhile(tmp_path: Path) -> None:
    """On a full disk parts die, and that is when somebody must start them again."""
    system = Standins(tmp_path, python("part", SLEEPER))
    log = tmp_path / "logs/part.log"

    def said(words: str) -> bool:
        return words in system.told.getvalue()

    async def body() -> int:
        first = state(tmp_path)["part"]["pid"]
        (tmp_path / "run.json.draft").mkdir()  # neither what runs can be told
        log.unlink()
        log.mkdir()  # nor a log be opened
        os.kill(first, signal.SIGKILL)
        await until(lambda: said("part cannot be started ([Errno 21] Is a directory"))
        log.rmdir()
        await until(lambda: said("part is back"))
        assert state(tmp_path)["part"]["pid"] == first, "nobody could tell"
        (tmp_path / "run.json.draft").rmdir()
        return 0

    assert await system.run(body) == 0
    told = state(tmp_path)["part"]
    assert told["state"] == "stopped" and told["restarts"] >= 2
    assert not alive(told["pid"])


async def test_a_part_that_runs_and_does_not_answer_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_EVERY_S", 0.05)
    port = free_port()
    server = python(
        "server",
        f"import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()",
        is_ready=lambda: answers_http(f"http://127.0.0.1:{port}"),
        is_alive=lambda: answers_http(f"http://127.0.0.1:{port}", 0.2),
        silent_for_s=0.9,
    )
    system = Standins(tmp_path, server)

    async def body() -> int:
        first = state(tmp_path)["server"]["pid"]
        os.kill(first, signal.SIGSTOP)
        await asyncio.sleep(0.4)
        os.kill(first, signal.SIGCONT)
        await asyncio.sleep(1.2)
        assert state(tmp_path)["server"] | {"pid": first, "restarts": 0} == state(tmp_path)["server"], "it had answered"
        os.kill(first, signal.SIGSTOP)  # and never SIGCONT
        await until(
            lambda: state(tmp_path)["server"]["restarts"] == 1 and state(tmp_path)["server"]["state"] == "ready"
        )
        assert not alive(first)
        return 0

    assert await system.run(body) == 0
    assert "server did not answer for 0.9 s; starting it again" in system.told.getvalue()


async def test_a_log_is_rotated_while_its_part_writes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MAX_LOG_BYTES", 10_000)
    monkeypatch.setattr(supervisor, "_LOOK_AT_LOGS_EVERY_S", 0.05)
    count = (
        "import itertools, time\nfor number in itertools.count():\n    print(number, flush=True); time.sleep(0.0001)"
    )
    system = Standins(tmp_path, python("part", count))
    log = tmp_path / "logs" / "part.log"

    async def body() -> int:
        await until(log.with_suffix(".log.1").exists)
        size = log.stat().st_size
        await until(lambda: log.stat().st_size > size)
        return 0

    assert await system.run(body) == 0
    assert log.with_suffix(".log.1").read_text().startswith("0\n1\n2\n")
    assert "\0" not in log.read_text(), "the writer did not append"


async def test_the_pause_grows_while_a_part_keeps_dying(tmp_path: Path) -> None:
    system = Standins(tmp_path, python("part", "import time; time.sleep(0.2); raise SystemExit(3)"))

    async def body() -> int:
        await until(lambda: state(tmp_path)["part"]["restarts"] >= 3)
        return 0

    await system.run(body)
    told = system.told.getvalue()
    pauses = [told.index(f"ended with exit code 3; starting it again in {pause} s") for pause in ("0.5", "1", "2")]
    assert pauses == sorted(pauses)


async def test_a_part_that_cannot_start_ends_the_start_and_shows_its_log(tmp_path: Path) -> None:
    system = Standins(
        tmp_path,
        python("good", SLEEPER),
        python("bad", "print('no [key] given'); raise SystemExit(2)", is_ready=lambda: False),
    )
    assert await system.run() == 1
    assert "bad ended with exit code 2" in system.told.getvalue()
    assert "no [key] given" in system.told.getvalue()
    assert not alive(state(tmp_path)["good"]["pid"])
    missing = Standins(tmp_path, Part("missing", ["/no/such/program"]))
    assert await missing.run() == 1
    assert "missing cannot be started" in missing.told.getvalue()


async def test_a_part_that_is_never_ready_ends_the_start(tmp_path: Path) -> None:
    system = Standins(tmp_path, python("part", SLEEPER, is_ready=lambda: False, ready_within_s=0.5))
    assert await system.run() == 1
    assert "part was not ready within" in system.told.getvalue()
    assert not alive(state(tmp_path)["part"]["pid"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_everything_even_what_does_not_listen(tmp_path: Path, number: int) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    up = tmp_path / "logs" / "deaf.log"
    system = Standins(
        tmp_path, python("deaf", deaf, is_ready=lambda: up.read_text() == "up\n"), python("part", SLEEPER)
    )
    run = asyncio.create_task(system.run())
    await until(lambda: "Aisleflow is ready" in system.told.getvalue())
    pids = [part["pid"] for part in state(tmp_path).values()]
    began = time.monotonic()
    os.kill(os.getpid(), number)
    assert await run == 0
    assert time.monotonic() - began < 8
    assert not any(map(alive, pids))


async def test_a_signal_during_the_start_stops_it(tmp_path: Path) -> None:
    system = Standins(tmp_path, python("part", SLEEPER, is_ready=lambda: False))
    run = asyncio.create_task(system.run())
    await until(lambda: (tmp_path / "run.json").exists())
    os.kill(os.getpid(), signal.SIGINT)
    assert await run == 0
    assert not alive(state(tmp_path)["part"]["pid"])


async def test_one_supervisor_a_data_directory(tmp_path: Path) -> None:
    first, second = Standins(tmp_path), Standins(tmp_path)

    async def body() -> int:
        return await second.run()

    assert await first.run(body) == 1
    assert f"(pid {os.getpid()}) uses {tmp_path}" in second.told.getvalue()


async def test_a_taken_port_is_named_with_its_setting_and_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        system = Standins(tmp_path, python("api", SLEEPER, port=port, port_setting="AISLEFLOW_API_PORT"))
        assert await system.run() == 1
    assert f"port {port} is taken by" in system.told.getvalue()
    assert f"(pid {os.getpid()}): stop that program, or set AISLEFLOW_API_PORT" in system.told.getvalue()
    assert not (tmp_path / "run.json").exists(), "something was started"
    twice = Standins(
        tmp_path, *(python(name, SLEEPER, port=free, port_setting="X") for name in "ab" for free in [port])
    )
    assert await twice.run() == 1
    assert f"port {port} is wanted by two parts" in twice.told.getvalue()


async def test_secrets_go_by_environment_and_nowhere_else(tmp_path: Path) -> None:
    show = "import os, time; print(len(os.environ['AISLEFLOW_CLICKHOUSE_URL']), flush=True); time.sleep(600)"
    system = Standins(tmp_path, python("part", show))
    secrets = json.loads((tmp_path / "secrets.json").read_text())
    assert len(set(secrets.values())) == 4
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600

    async def body() -> int:
        pid = state(tmp_path)["part"]["pid"]
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        assert f"AISLEFLOW_CLICKHOUSE_URL={system._secrets.clickhouse_url(8123)}" in variables
        assert "AISLEFLOW_KAFKA=127.0.0.1:1" in variables
        # Only the server itself is told the analyst's password, and only the API the reader's besides.
        assert secrets["clickhouse_analyst"] not in "".join(variables)
        assert secrets["clickhouse_reader"] not in "".join(variables)
        written = "".join(
            file.read_text() for file in tmp_path.rglob("*") if file.is_file() and file.name != "secrets.json"
        )
        everything = written + system.told.getvalue() + Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(secret in everything for secret in secrets.values())
        return 0

    assert await system.run(body) == 0
    # The next run on this directory finds them again.
    assert Standins(tmp_path)._secrets == system._secrets


async def test_the_log_of_the_last_run_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "part.log"
    for text in ("first", "second"):
        part = python(
            "part", f"import time; print({text!r}, flush=True); time.sleep(600)", is_ready=lambda: log.read_text() != ""
        )

        async def body() -> int:
            return 0

        assert await Standins(tmp_path, part).run(body) == 0
    assert log.read_text() == "second\n"
    assert log.with_suffix(".log.1").read_text() == "first\n"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = f"""
        import asyncio, os, signal
        from pathlib import Path
        from tests.aisleflow.test_supervisor import SLEEPER, Standins, python

        async def body():
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(Standins(Path({str(tmp_path)!r}), python("part", SLEEPER)).run(body))
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    pid = state(tmp_path)["part"]["pid"]
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert state(tmp_path)["part"]["state"] == "ready"  # nobody was left to write anything else

    async def body() -> int:
        return 5

    # The lock died with its holder, and the next one starts.
    assert asyncio.run(Standins(tmp_path, python("part", SLEEPER)).run(body)) == 5


def test_settings_reach_a_child_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings(
        _env_file=None, data_dir=tmp_path, api_keys="a,b", workers=3, api_port=free_port(), topic_prefix="x."
    )
    for name in [name for name in os.environ if name.startswith("AISLEFLOW_")]:
        monkeypatch.delenv(name)
    for name, value in environment(chosen).items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == chosen
