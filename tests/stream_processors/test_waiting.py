"""A worker waits for what it needs: looked for with a clock of the test's own, and with a real Kafka that comes late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aisleflow.commands import topics
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from schemas.topics import DERIVED_TOPICS
from stream_processors.engine import waiting
from tests.conftest import answers, running_kafka, wait_for_leaders


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(waiting, "time", found)
    return found


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    lines: list[tuple[str, dict[str, Any]]] = []

    class Logger:
        def warning(self, event: str, **more: Any) -> None:
            lines.append((event, more))

        error = warning

    monkeypatch.setattr(waiting, "logger", Logger())
    return lines


def test_what_is_there_is_not_waited_for(clock: Clock, said: list[Any]) -> None:
    assert waiting.until_there("it", lambda: 7, (OSError,)) == 7
    assert clock.now == 0 and said == []


def test_what_comes_is_waited_for_and_said_every_ten_seconds(clock: Clock, said: list[Any]) -> None:
    def look() -> str:
        if clock.now < 25:
            raise OSError("nobody there")
        return "there"

    assert waiting.until_there("it", look, (OSError,)) == "there"
    assert [(event, more["for_s"]) for event, more in said] == [("waiting_for_part", s) for s in (0, 10, 20)]
    assert said[0][1] == {"what": "it", "for_s": 0, "error": "nobody there", "gives_up_after_s": 300}


def test_another_reason_is_said_at_once(clock: Clock, said: list[Any]) -> None:
    def look() -> None:
        if clock.now < 9:
            raise OSError("no answer" if clock.now < 3 else "no topic")

    waiting.until_there("it", look, (OSError,))
    assert [(more["error"], more["for_s"]) for _, more in said] == [("no answer", 0), ("no topic", 3)]


def test_what_stays_away_ends_the_worker_after_the_stated_time(clock: Clock, said: list[Any]) -> None:
    def look() -> None:
        raise OSError("nobody there")

    with pytest.raises(SystemExit) as ended:
        waiting.until_there("it", look, (OSError,))
    assert ended.value.code == waiting.EXIT_AWAY
    assert clock.now == pytest.approx(waiting.PATIENCE_S, abs=waiting.TRY_EVERY_S)
    assert said[-1][0] == "gave_up_waiting"


def test_another_error_is_not_waited_out(clock: Clock) -> None:
    def look() -> None:
        raise PermissionError("wrong password")

    with pytest.raises(PermissionError):
        waiting.until_there("it", look, (ConnectionError,))


@pytest.mark.system
def test_a_worker_started_before_kafka_and_its_topics_waits_for_both_and_then_works(
    clickhouse: str, make_world: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_world(None, clickhouse)  # at a port that nobody listens on yet
    port = int(settings.kafka_bootstrap.rpartition(":")[2])
    with (tmp_path / "worker.log").open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "aisleflow", "worker"],
            env={**os.environ, **environment(settings)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def until(event: str, words: str = "") -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while True:
            for line in (tmp_path / "worker.log").read_text().splitlines():
                if line.startswith("{") and (told := json.loads(line))["event"] == event and words in line:
                    return dict(told)
            assert worker.poll() is None and time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-2000:]
            time.sleep(0.1)

    try:
        assert until("waiting_for_part")["what"] == f"Kafka at 127.0.0.1:{port}"
        assert answers(settings.metrics_port, "/metrics"), "who waits is alive"
        with running_kafka(tmp_path / "kafka", port):
            until("waiting_for_part", f"there is no topic {settings.topic_prefix}{min(DERIVED_TOPICS)}")
            topics.ensure(settings)
            wait_for_leaders(settings)
            until("partitions_assigned")
            worker.terminate()
            assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()
