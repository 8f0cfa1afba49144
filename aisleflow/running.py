"""What runs on this machine: the settings and parts of a system that ``aisleflow up`` or ``aisleflow demo`` started."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from aisleflow import secrets
from aisleflow.settings import Settings, as_kafka_user


@dataclass(frozen=True)
class RunningPart:
    """One process of a supervisor, as ``DATA_DIR/run.json`` and the system tell."""

    name: str
    state: str
    """starting, ready, restarting or stopped as the supervisor said last; gone: its process has ended since."""
    pid: int | None
    uptime_s: float | None
    restarts: int


def settings_of(data_dir: Path | None) -> Settings:
    """The settings with which to reach a system: those of the environment, and of a system that was started on this machine
    its ports and passwords.

    Raises:
        SecretsError: see ``aisleflow.secrets``.
    """
    found = Settings() if data_dir is None else Settings(data_dir=data_dir)
    found.data_dir = found.data_dir.expanduser().resolve()
    known = _run(found.data_dir).get("parts", {})
    ports = {name: part.get("port") for name, part in known.items()}
    for part, setting in (("kafka", "kafka_port"), ("clickhouse", "clickhouse_port"), ("api", "api_port")):
        if ports.get(part):
            setattr(found, setting, ports[part])
    if not found.clickhouse_url and (made := secrets.load(found.data_dir)) is not None:
        found.clickhouse_url = SecretStr(made.clickhouse_url(found.clickhouse_port))
    return as_kafka_user(found, "cli")


def parts(data_dir: Path) -> list[RunningPart]:
    """The parts that a supervisor of this data directory started, in that order; none where there never was one."""
    found = []
    for name, part in _run(data_dir).get("parts", {}).items():
        uptime = None if part["pid"] is None or part["state"] == "stopped" else _uptime_s(part["pid"])
        state = "gone" if uptime is None and part["state"] != "stopped" else part["state"]
        found.append(RunningPart(name, state, part["pid"] if uptime is not None else None, uptime, part["restarts"]))
    return found


def supervisor(data_dir: Path) -> int | None:
    """The process id of the supervisor that uses a data directory now."""
    pid = _run(data_dir).get("supervisor")
    return pid if pid is not None and _uptime_s(pid) is not None else None


def _run(data_dir: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        known = json.loads((data_dir / "run.json").read_text())
        return known if isinstance(known, dict) else {}
    return {}


def _uptime_s(pid: int) -> float | None:
    """For how long a process has run; None if there is none (any more), 0 where the system does not tell."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    return 0.0
