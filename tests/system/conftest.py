"""Real workers and the API for the system tests, in the world of each module."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from api.app import create_app
from tests.conftest import answers, free_port
from tests.system.truth import caught_up


class Workers:
    """Worker processes, each with its own log; all end with the test."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self._settings, self._logs = settings, logs
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        port = free_port()
        own = self._settings.model_copy(update={"metrics_port": port})
        with (self._logs / f"worker-{port}.log").open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "aisleflow", "worker"],
                env={**os.environ, **environment(own)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(worker)
        deadline = time.monotonic() + 60
        while not answers(port, "/metrics"):
            assert worker.poll() is None, self.said()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return worker

    def stop(self) -> None:
        for worker in self.running:
            worker.terminate()
        for worker in self.running:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def catch_up(self, timeout_s: float = 90) -> None:
        """Return when everything on the log is derived; if it never is, the workers' logs tell why."""
        try:
            caught_up(self._settings, timeout_s)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.said()}") from error

    def said(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self._logs.glob("*.log"))


@pytest.fixture(scope="module")
def workers(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """The workers of the module's world; none runs yet."""
    found = Workers(world, tmp_path_factory.mktemp("workers"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def api(world: Settings) -> Iterator[TestClient]:
    """The API of the module's world, in this process."""
    with TestClient(create_app(world, wall=False), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def ask(api: TestClient) -> Any:
    """From the path of an answer to its JSON."""
    return lambda path: api.get(path).json()
