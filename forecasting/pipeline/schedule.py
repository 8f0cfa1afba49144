"""Training by the clock: one run at a time, each in a process of its own, and a run that fails does not end the schedule."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from aisleflow import log

_log = log.get(__name__)


class BusyError(Exception):
    """Another training run is under way on this machine."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The only training run with this data folder, until the block ends or the process does.

    Raises:
        BusyError: there is one already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "training.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another training run is under way ({lock.name} is held): let it end") from None
        yield


def upcoming(cron: str, after: datetime) -> datetime:
    """The next moment after another at which a run is due.

    Raises:
        ValueError: that is no cron expression of five fields.
    """
    from croniter import croniter

    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise ValueError(
            f"{cron!r} is no schedule: write five fields as cron does, such as '0 3 * * *' for 3 o'clock each day"
        )
    found: datetime = croniter(cron, after).get_next(datetime)
    return found


def keep_running(
    cron: str,
    command: Sequence[str],
    zone: ZoneInfo,
    stop: threading.Event,
    told: Callable[[str], None] = lambda line: None,
    now: Callable[[ZoneInfo], datetime] = datetime.now,
) -> None:
    """Run a command at each moment of a schedule until ``stop`` is set.

    Moments that pass while a run is under way are left out. A run takes its memory with it when it ends, whatever ends it.
    """
    while not stop.is_set():
        due = upcoming(cron, now(zone))
        told(f"next run: {due:%Y-%m-%d %H:%M %Z}")
        if stop.wait(max(0.0, (due - now(zone)).total_seconds())):
            return
        code = _ran(command, stop)
        if code and not stop.is_set():
            _log.error("training run failed", exit_code=code, next=str(upcoming(cron, now(zone))))


def _ran(command: Sequence[str], stop: threading.Event) -> int:
    with subprocess.Popen([sys.executable, "-m", "aisleflow", *command]) as child:  # noqa: S603 - our own command line
        while True:
            try:
                return child.wait(1)
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    child.terminate()
