"""Training by the clock: when, one at a time, and on after a failure."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aisleflow.commands.train import without_schedule
from forecasting.pipeline import schedule
from forecasting.pipeline.schedule import BusyError, alone, keep_running, upcoming

BERLIN = ZoneInfo("Europe/Berlin")


def test_the_next_run_is_by_the_shops_clock_through_a_change_of_clocks() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    night = upcoming("0 3 * * *", before)
    assert night.astimezone(UTC) == datetime(2026, 3, 29, 1, tzinfo=UTC)  # 03:00 in summer time, 11 hours later
    assert upcoming("0 3 * * 1", night).astimezone(BERLIN).strftime("%a %H:%M") == "Mon 03:00"


@pytest.mark.parametrize("cron", ["", "daily", "0 3 * *", "61 3 * * *", "0 3 * * * *"])
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="write five fields as cron does"):
        upcoming(cron, datetime.now(UTC))


def test_only_one_run_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom forecasting.pipeline.schedule import alone\n"
        f"with alone(Path({str(tmp_path)!r})):\n    print('in', flush=True)\n    input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with pytest.raises(BusyError, match="another training run is under way"), alone(tmp_path):
            pass
        other.kill()
    with alone(tmp_path):
        pass


def test_a_run_that_fails_does_not_end_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    ran, stop = [], threading.Event()
    clock = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(1000))

    def fail(command: list[str], stop_: threading.Event) -> int:
        ran.append(command)
        if len(ran) == 3:
            stop.set()
        return 1

    monkeypatch.setattr(schedule, "_ran", fail)
    monkeypatch.setattr(stop, "wait", lambda seconds: stop.is_set())
    keep_running("*/5 * * * *", ["train"], ZoneInfo("UTC"), stop, now=lambda zone: next(clock))
    assert ran == [["train"]] * 3


def test_the_command_waits_for_its_time_and_ends_when_asked(tmp_path: Path) -> None:
    environment = {**os.environ, "AISLEFLOW_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "aisleflow", "train", "--from", "none.csv", "--schedule", "0 3 1 1 *"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as child:
        assert child.stderr is not None
        assert child.stderr.readline().startswith(f"next run: {datetime.now(UTC).year + 1}-01-01 03:00")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0 and time.monotonic() - began < 20


def test_a_run_has_the_same_options_but_no_schedule() -> None:
    given = ["train", "--from", "x.csv", "--schedule", "0 3 * * *", "--steps", "5", "--schedule=0 4 * * *"]
    assert without_schedule(given) == ["train", "--from", "x.csv", "--steps", "5"]
