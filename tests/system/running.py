"""The whole product running in a folder of its own, as ``aisleflow up`` starts it: for tests and benchmarks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aisleflow import secrets
from aisleflow.settings import Settings
from aisleflow.supervisor import aisleflow_command
from tests.conftest import free_port

READY_WITHIN_S = 120.0


class System:
    """``aisleflow up`` in a folder of its own, on free ports.

    ``variables`` are further ``AISLEFLOW_*`` settings, by their short names.
    """

    def __init__(self, folder: Path, workers: int, **variables: str) -> None:
        # Further workers' metrics answer on the ports after the first's.
        self.ports = {name: free_port() for name in ("api", "kafka", "kafka_controller", "clickhouse", "metrics")}
        chosen = {f"{name}_port": str(port) for name, port in self.ports.items()}
        chosen |= {"data_dir": str(folder / "data"), "workers": str(workers), **variables}
        self._variables = {f"AISLEFLOW_{name.upper()}": value for name, value in chosen.items()}
        self.folder = folder
        self.data_dir = folder / "data"
        self.workers = workers
        self.url = f"http://127.0.0.1:{self.ports['api']}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        known = secrets.load(self.data_dir)
        assert known is not None
        self.settings = Settings(
            _env_file=None,
            data_dir=self.data_dir,
            kafka_port=self.ports["kafka"],
            clickhouse_url=known.clickhouse_url(self.ports["clickhouse"]),
        )

    def command(self) -> Sequence[str]:
        """What is started."""
        return aisleflow_command("up")

    def start(self) -> None:
        """Start, and return when every part is ready."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AISLEFLOW_")}
        (self.data_dir / "run.json").unlink(missing_ok=True)
        with (self.folder / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env={**inherited, **self._variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.wait_for(self.is_ready, READY_WITHIN_S)
        except BaseException:
            self.stop()
            raise

    def parts(self) -> dict[str, dict[str, Any]]:
        """What the supervisor says of its parts."""
        try:
            found: dict[str, dict[str, Any]] = json.loads((self.data_dir / "run.json").read_text())["parts"]
        except FileNotFoundError:
            return {}
        return found

    def states(self) -> dict[str, str]:
        """The state of each part."""
        return {name: part["state"] for name, part in self.parts().items()}

    def is_ready(self) -> bool:
        """Whether every part is."""
        states = self.states()
        return set(states.values()) == {"ready"} and len(states) >= 3 + self.workers

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a part, if it runs."""
        pid = self.parts().get(name, {}).get("pid")
        if pid is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return

    def kill_supervisor(self) -> None:
        """``kill -9``: its parts end with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End everything in order, or by force after a minute."""
        if self._process is None or self._process.poll() is not None:
            return
        for name in self.parts():  # one that is stopped would not hear
            self.signal(name, signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """The end of every log."""
        logs = [self.folder / "up.log", *sorted((self.data_dir / "logs").glob("*.log"))]
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-1500:]}" for log in logs if log.exists())

    def wait_for(self, condition: Callable[[], bool], within_s: float, every_s: float = 0.05) -> float:
        """Seconds until it is so.

        Raises:
            TimeoutError: with the logs, when it is not within this time.
        """
        began = time.monotonic()
        while not condition():
            if self._process is not None and self._process.poll() is not None:
                raise TimeoutError(f"the supervisor has ended\n{self.said()}")
            if time.monotonic() - began > within_s:
                raise TimeoutError(f"not within {within_s} s\n{self.said()}")
            time.sleep(every_s)
        return time.monotonic() - began


class Answers:
    """Asks the API all the time; tells for how long there was no answer, and whether one was a wrong zero.

    ``path`` must have the field ``unique_visitors``, which can never be zero again once it was more.
    """

    EVERY_S = 0.1

    def __init__(self, url: str, path: str) -> None:
        self.url, self.path = url, path
        self.asked = self.wrong_zeros = 0
        self.longest_s = self.without_s = 0.0
        self.last = time.monotonic()
        self._seen = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name="answers", daemon=True)
        self._thread.start()

    def get(self, path: str, timeout_s: float = 30) -> dict[str, Any]:
        """An answer.

        Raises:
            OSError, ValueError: there is none, or it is an error.
        """
        with urlopen(self.url + path, timeout=timeout_s) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def _ask_on(self) -> None:
        while not self._stop.wait(self.EVERY_S):
            self.asked += 1
            try:
                visitors = self.get(self.path, 5)["unique_visitors"]
            except (OSError, ValueError):
                continue
            self.wrong_zeros += self._seen and not visitors
            self._seen = self._seen or bool(visitors)
            now = time.monotonic()
            gap = now - self.last
            self.longest_s = max(self.longest_s, gap)
            self.without_s += gap if gap > 1 else 0
            self.last = now

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join()
