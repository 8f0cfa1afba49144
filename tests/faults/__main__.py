"""``python -m tests.faults --minutes 30 --seed 1``: rounds of faults over a running system, each followed by a full check.

The exit code is 0 if nothing was wrong. The same seed makes the same schedule: ``--seed`` replays one that failed, ``--only
WORDS`` leaves out every fault whose kind does not contain the words, ``--list`` prints the first schedule and ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.faults import Fault, schedule, seeded, short_schedule
from tests.faults.runner import Run


def main() -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-second", type=float, default=250, help="records sent over Kafka")
    parser.add_argument("--gap", type=float, default=4, help="mean seconds between faults")
    parser.add_argument("--stretch", type=float, default=5, help="length of a typical fault, seconds")
    parser.add_argument("--short", action="store_true", help="the schedule of the test: shorter faults, close together")
    parser.add_argument("--only", default="", help="only faults whose kind contains this")
    parser.add_argument("--list", action="store_true", help="print the first round's schedule and end")
    parser.add_argument("--folder", type=Path, default=None, help="where to keep data and logs while it runs")
    chosen = parser.parse_args()
    rng = seeded(chosen.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started and mounted is ended

    def next_round() -> list[Fault]:
        if chosen.short:
            return short_schedule(rng, only=chosen.only)
        return schedule(rng, gap_s=chosen.gap, stretch=chosen.stretch, only=chosen.only)

    if chosen.list:
        print(*next_round(), sep="\n")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="aisleflow-faults-", dir=chosen.folder))
    until = time.monotonic() + chosen.minutes * 60
    cpu = os.times()
    run = Run(folder, chosen.seed, per_second=chosen.per_second, verbose=True)
    means = {disk.means for disk in run.system.disks.values()}
    print(f"seed {chosen.seed}, folder {folder}, full disks by {means}, load {os.getloadavg()[0]:.1f}", flush=True)
    try:
        time.sleep(5)
        while not run.tally.wrong:
            run.round(next_round())
            began = time.monotonic()
            wrong = run.check()
            print(
                f"--- round {run.tally.rounds}: {len(wrong)} wrong; checked in {time.monotonic() - began:.1f} s",
                flush=True,
            )
            if time.monotonic() > until:
                break
    finally:
        run.stop()
    print(run.report())
    done = os.times()
    used = sum(done[:4]) - sum(cpu[:4])
    print(f"CPU of it all {used:.0f} s, load {os.getloadavg()[0]:.1f}")
    for one in run.tally.wrong[:20]:
        print("WRONG", one[:1000])
    if run.tally.wrong:
        (folder / "wrong.txt").write_text("\n".join(run.tally.wrong))
        print(f"All of it is in {folder / 'wrong.txt'}, the logs are in {folder / 'data' / 'logs'}.")
    else:
        shutil.rmtree(folder)
    return int(bool(run.tally.wrong))


if __name__ == "__main__":
    sys.exit(main())
