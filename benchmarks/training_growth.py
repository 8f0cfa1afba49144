"""Training as series grow: time and memory of ``aisleflow train``'s steps for 100, 1,000 and 10,000 series, and 100,000 by the slope.

Each size is a year of made-up sales in a CSV file, read by Spark on this machine in a process of its own. Memory is what
the driver, Java and Spark's Python processes hold together at most (proportional set size, looked at twice a second).

    python -m benchmarks.training_growth [--sizes 100,1000,10000] [--steps 300] [--out results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

DAYS = 365
BEYOND = 100_000
STEPS = ("read", "learn", "judge", "keep", "all")


def sales(series: int, path: Path) -> int:
    """A file of sales with weekly seasons and promotions; how many rows it has."""
    import polars

    random = np.random.default_rng(series)
    level = random.lognormal(0.5, 1.0, series)
    week = 1 + 0.4 * np.sin(np.arange(7) + random.random((series, 1)) * 6)
    promoted = random.random((series, DAYS)) < 0.05
    expected = level[:, None] * week[:, np.arange(DAYS) % 7] * np.where(promoted, 2.0, 1.0)
    sold = random.poisson(expected)
    which, day = np.nonzero(sold)
    first = date(2025, 1, 1)
    frame = polars.DataFrame(
        {
            "store_id": [f"S{number % 20}" for number in range(series)],
            "sku": [f"P{number}" for number in range(series)],
        }
    )[which]
    dates = np.array([first + timedelta(days=number) for number in range(DAYS)], "datetime64[D]")
    frame = frame.with_columns(
        polars.Series("date", dates[day]),
        polars.Series("quantity", sold[which, day]),
        polars.Series("promotion", promoted[which, day].astype(int)),
    )
    frame.write_csv(path)
    return len(frame)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            below.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(one := waiting.pop())
        waiting += below.get(one, [])
    return found


def held(pids: list[int]) -> int:
    """Bytes that processes hold together; what they share counts once."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


def worked(pid: int) -> float:
    """Seconds of CPU that a process has taken so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one(path: Path, steps: int, most: int) -> dict[str, Any]:
    """A whole run on a file, in this process."""
    from aisleflow.settings import Settings
    from forecasting.pipeline import spark
    from forecasting.pipeline.sources import Source
    from forecasting.pipeline.train import Plan, run
    from forecasting.registry import Registry

    with tempfile.TemporaryDirectory() as folder, spark.session() as session:
        settings = Settings(_env_file=None)
        plan = Plan(steps=steps, most_series=most)
        outcome = run(session, Source(str(path)), Registry(folder), settings, plan)
    return {"seconds": outcome.seconds, "scores": outcome.scores, "series": outcome.card.data.series}


def measured(size: int, steps: int, most: int) -> dict[str, Any]:
    """A whole run in a process of its own, with the most memory it held."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sales.csv"
        rows = sales(size, path)
        command = [sys.executable, "-m", "benchmarks.training_growth", "--one", str(path)]
        command += ["--steps", str(steps), "--most", str(most)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            peak, cpu, over = 0, dict[int, float](), threading.Event()

            def watch() -> None:
                nonlocal peak
                while not over.wait(0.5):
                    pids = tree(child.pid)
                    peak = max(peak, held(pids))
                    cpu.update({pid: max(cpu.get(pid, 0.0), worked(pid)) for pid in pids})

            watcher = threading.Thread(target=watch)
            watcher.start()
            assert child.stdout is not None
            output = child.stdout.read()
            over.set()
            watcher.join()
    if child.returncode:
        raise SystemExit(f"the run of {size} series failed with {child.returncode}")
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    found["seconds"]["all"] = round(sum(found["seconds"].values()), 1)
    return {**found, "size": size, "rows": rows, "mib": round(peak / 2**20), "cpu_s": round(sum(cpu.values()), 1)}


def slope(sizes: list[int], values: list[float]) -> tuple[float, float]:
    """By the two largest sizes: units more for each series more, and the value at ``BEYOND`` series."""
    rise = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
    return rise, values[-1] + rise * (BEYOND - sizes[-1])


def main() -> None:
    """Run all sizes, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="100,1000,10000")
    parser.add_argument("--steps", type=int, default=300, help="batches that the network learns from")
    parser.add_argument("--most", type=int, default=20_000, help="series that the network learns from, at most")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.steps, asked.most)))
        return
    sizes = [int(size) for size in asked.sizes.split(",")]
    found = []
    heads = "".join(f"{f'{step}, s':>10}" for step in STEPS)
    print(f"{'series':>9}{'rows':>12}{heads}{'CPU, s':>9}{'MiB':>8}")
    for size in sizes:
        run = measured(size, asked.steps, asked.most)
        found.append(run)
        cells = "".join(f"{run['seconds'][step]:>10.1f}" for step in STEPS)
        print(f"{size:>9,}{run['rows']:>12,}{cells}{run['cpu_s']:>9.1f}{run['mib']:>8,}", flush=True)
    if len(sizes) > 1:
        figures = {**{step: [run["seconds"][step] for run in found] for step in STEPS}}
        figures |= {"cpu_s": [run["cpu_s"] for run in found], "mib": [float(run["mib"]) for run in found]}
        beyond = {name: slope(sizes, values) for name, values in figures.items()}
        print(
            f"for each 1,000 series more, by the two largest: {beyond['all'][0] * 1000:.1f} s, {beyond['mib'][0] * 1000:.0f} MiB"
        )
        print(
            f"extrapolated to {BEYOND:,} series: {beyond['all'][1]:,.0f} s, {beyond['mib'][1]:,.0f} MiB, if all were learnt from"
        )
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
