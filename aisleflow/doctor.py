"""What this machine must have to run Aisleflow, each checked, each with what to do about it."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from aisleflow import ports
from aisleflow.settings import Settings

Verdict = Literal["ok", "warn", "fail"]
GIB = 1024**3
#: What the embedded parts need: Kafka 0.5 GiB, ClickHouse 1 GiB and more under load, a worker and the API 0.5 GiB each.
MEMORY_GIB = (2.0, 4.0)
DISK_GIB = (1.0, 10.0)
PACKAGES = (
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "clickhouse-connect",
    "chdb-core",
    "fastapi",
    "nicegui",
    "pydantic",
)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    verdict: Verdict
    what: str
    found: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Check everything ``aisleflow up`` needs under these settings."""
    yield _python()
    yield from _packages()
    if not settings.kafka:
        yield from _kafka()
    yield from _ports(settings)
    yield _writable(settings.data_dir.expanduser())
    yield _disk(settings.data_dir.expanduser())
    yield _memory()


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding("ok" if good else "fail", "Python", found, "" if good else "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if found:
        yield Finding("ok", "Packages", ", ".join(found))
    if missing:
        yield Finding("fail", "Packages", f"missing: {', '.join(missing)}", "run `make install`")


def _kafka() -> Iterator[Finding]:
    from infra.kafka.broker import MINIMUM_JAVA, BrokerError, jars_dir, java_version

    try:
        java = java_version()
        old = java < MINIMUM_JAVA
        advice = f"install Java {MINIMUM_JAVA} or newer" if old else ""
        yield Finding("fail" if old else "ok", "Java", str(java), advice)
    except BrokerError as error:
        yield Finding("fail", "Java", "none", str(error))
    jars = jars_dir()
    if jars.is_dir():
        yield Finding("ok", "Kafka", f"{len(list(jars.glob('*.jar')))} jars in {jars}")
    elif shutil.which("mvn"):
        yield Finding("warn", "Kafka", "not fetched yet", "`aisleflow up` fetches it once with Maven (43 MB)")
    else:
        yield Finding(
            "fail",
            "Maven",
            "none, and Kafka is not fetched yet",
            "install Maven (Debian: maven), or use your own Kafka: AISLEFLOW_KAFKA=HOST:PORT",
        )


def _ports(settings: Settings) -> Iterator[Finding]:
    wanted = [("API", settings.api_port, "AISLEFLOW_API_PORT")]
    wanted += [
        ("Worker metrics", settings.metrics_port + n, "AISLEFLOW_METRICS_PORT") for n in range(settings.workers + 1)
    ]
    if not settings.kafka:
        wanted.append(("Kafka", settings.kafka_port, "AISLEFLOW_KAFKA_PORT"))
        wanted.append(("Kafka controller", settings.kafka_controller_port, "AISLEFLOW_KAFKA_CONTROLLER_PORT"))
    if not settings.clickhouse_url:
        wanted.append(("ClickHouse", settings.clickhouse_port, "AISLEFLOW_CLICKHOUSE_PORT"))
    numbers = [port for _, port, _ in wanted]
    for what, port, setting in wanted:
        if numbers.count(port) > 1:
            yield Finding("fail", f"Port {port}", what, f"two parts want it: change {setting}")
        elif ports.is_free(port, settings.host if what == "API" else "127.0.0.1"):
            yield Finding("ok", f"Port {port}", what)
        else:
            # Not a failure: Aisleflow itself may be what runs there.
            yield Finding("warn", f"Port {port}", what, ports.taken_message(port, setting))


def _writable(data_dir: Path) -> Finding:
    place = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Finding("ok", "Data directory", str(data_dir))
    return Finding("fail", "Data directory", f"{place} is not writable", "choose another with AISLEFLOW_DATA_DIR")


def _disk(data_dir: Path) -> Finding:
    place = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    return _enough("Disk", shutil.disk_usage(place).free / GIB, DISK_GIB, "free some, or move AISLEFLOW_DATA_DIR")


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 / GIB for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return Finding("warn", "Memory", "this system does not tell", f"{MEMORY_GIB[1]:g} GiB should be free")
    return _enough("Memory", free, MEMORY_GIB, "stop other programs, or use fewer workers (AISLEFLOW_WORKERS)")


def _enough(what: str, gib: float, bounds: tuple[float, float], advice: str) -> Finding:
    least, better = bounds
    verdict: Verdict = "fail" if gib < least else "warn" if gib < better else "ok"
    advice = "" if verdict == "ok" else f"{better:g} GiB or more are better ({least:g} at the least): {advice}"
    return Finding(verdict, what, f"{gib:.1f} GiB free", advice)
