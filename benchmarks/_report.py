"""How every benchmark reports: the machine, the versions, a table on the terminal, and ``benchmarks/results/NAME.json``."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was with other things."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "load_1m_5m": [round(load, 2) for load in os.getloadavg()[:2]],
    }


def report(
    name: str, packages: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]], **more: Any
) -> None:
    """Print a benchmark's figures and keep them.

    Args:
        name: of the benchmark, and of its file.
        packages: whose versions matter.
        columns: headings, with units.
        rows: the figures.
        more: further facts about the run (settings, goals).
    """
    about = {"machine": machine(), "versions": {package: version(package) for package in packages}}
    versions = ", ".join(f"{package} {found}" for package, found in about["versions"].items())
    show({"versions": versions, **more}, columns, rows)
    keep(name, {**about, **more, "columns": columns, "rows": rows})


def show(about: Mapping[str, Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print the machine, what else is to be known about a run, and its figures as a table."""
    console = Console(width=120)
    told = machine()
    console.print(
        f"{told['cpu']}, {told['cores']} cores, {told['memory_gib']} GiB, load {told['load_1m_5m']}, Python {told['python']}"
    )
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False)
    table = Table(*columns[:1], box=None, padding=(0, 2, 0, 0))
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            *(
                f"{cell:,.3f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell
                for cell in row
            )
        )
    console.print(table)


def keep(name: str, content: Any) -> None:
    """Write ``benchmarks/results/NAME.json``; an object also gets the time of measuring."""
    RESULTS.mkdir(exist_ok=True)
    if isinstance(content, dict):
        content = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), **content}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2, default=str) + "\n")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values (sorted) does not exceed."""
    return values[min(len(values) - 1, int(share * len(values)))]
