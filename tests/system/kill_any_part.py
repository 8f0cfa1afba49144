"""Kill any part of a running system at random moments, under load, and check every answer afterwards.

``python -m tests.system.kill_any_part --times 10 --seed 1`` starts ``aisleflow up`` in a folder of its own on free
ports, sends simulated shops with every fault, and kills (``kill -9``) the broker, a worker, ClickHouse or the API,
again and again. At the end every answer of every shop must equal the batch computation of what was sent: then the exit
code is 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from confluent_kafka import Consumer, KafkaException

from aisleflow import secrets
from aisleflow.settings import Settings
from producers.simulator.faults import Faults
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from tests.conftest import free_port
from tests.system.truth import Feed, caught_up, places, wrong_answers

DAYS = (date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4))
READY_WITHIN_S, BACK_WITHIN_S, CAUGHT_UP_WITHIN_S = 120, 120, 300


@dataclass
class Answers:
    """Asks the API all the time; tells for how long there was no answer."""

    url: str
    path: str = "/health"

    def __post_init__(self) -> None:
        self.last = time.monotonic()
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()

    def get(self, path: str, timeout_s: float = 30) -> dict[str, Any]:
        with urlopen(self.url + path, timeout=timeout_s) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def _ask_on(self) -> None:
        while not self._stop.wait(0.05):
            try:
                self.get(self.path, 5)
            except (OSError, ValueError):
                continue
            now = time.monotonic()
            self.longest = max(self.longest, now - self.last)
            self.last = now

    def longest_since_asked(self) -> float:
        """The longest time without an answer since this was last called, up to now."""
        found = max(self.longest, time.monotonic() - self.last)
        self.longest = 0.0
        return found

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


class System:
    """``aisleflow up`` in a folder of its own."""

    def __init__(self, folder: Path, workers: int) -> None:
        ports = {name: free_port() for name in ("api", "kafka", "kafka_controller", "clickhouse", "metrics")}
        # The second worker's metrics answer on the port after the first's.
        self.variables = {f"AISLEFLOW_{name.upper()}_PORT": str(port) for name, port in ports.items()}
        self.variables |= {"AISLEFLOW_DATA_DIR": str(folder / "data"), "AISLEFLOW_WORKERS": str(workers)}
        self.folder = folder
        self.url = f"http://127.0.0.1:{ports['api']}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AISLEFLOW_")}
        with (folder / "up.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aisleflow", "up"],
                env={**inherited, **self.variables},
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(
            lambda: set(self.states().values()) == {"ready"} and len(self.states()) == 3 + workers, READY_WITHIN_S, self
        )
        known = secrets.load(folder / "data")
        assert known is not None
        self.settings = Settings(
            _env_file=None,
            data_dir=folder / "data",
            kafka_port=ports["kafka"],
            clickhouse_url=known.clickhouse_url(ports["clickhouse"]),  # type: ignore[arg-type]
        )

    def parts(self) -> dict[str, dict[str, Any]]:
        """What the supervisor says of its parts."""
        try:
            found: dict[str, dict[str, Any]] = json.loads((self.folder / "data" / "run.json").read_text())["parts"]
        except FileNotFoundError:
            return {}
        return found

    def states(self) -> dict[str, str]:
        return {name: part["state"] for name, part in self.parts().items()}

    def kill(self, name: str) -> None:
        """``kill -9``, and wait until the supervisor has seen it."""
        part = self.parts()[name]
        os.kill(part["pid"], signal.SIGKILL)
        wait_for(lambda: self.parts()[name]["restarts"] > part["restarts"], 30, self)

    def back(self, name: str) -> bool:
        return self.states()[name] == "ready"

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def said(self) -> str:
        """The end of every log."""
        logs = [self.folder / "up.log", *(self.folder / "data" / "logs").glob("*.log")]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def wait_for(condition: Any, within_s: float, system: System) -> float:
    """Seconds until it is so.

    Raises:
        TimeoutError: with the logs, when it is not within this time.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"not within {within_s} s\n{system.said()}")
        time.sleep(0.05)
    return time.monotonic() - began


class Ends:
    """How far the log is, and whether the workers have passed it; both may be asked while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        group = {"bootstrap.servers": settings.kafka_bootstrap, "group.id": settings.consumer_group}
        self._consumer = Consumer({**group, "log_level": 0})
        self._ends = {(place.topic, place.partition): 0 for place in places(settings, self._consumer)}

    def remember(self) -> bool:
        """Take the present ends as those to be passed; False while the broker is away."""
        try:
            for place in places(self._settings, self._consumer):
                self._ends[place.topic, place.partition] = self._consumer.get_watermark_offsets(place, timeout=5)[1]
        except KafkaException:
            return False
        return True

    def passed(self) -> bool:
        """Whether the workers have confirmed all up to the remembered ends."""
        try:
            committed = self._consumer.committed(places(self._settings, self._consumer), timeout=5)
        except KafkaException:
            return False
        return all(max(place.offset, 0) >= self._ends[place.topic, place.partition] for place in committed)


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="how many kills")
    parser.add_argument("--seed", type=int, default=1, help="of the shops and of the moments")
    parser.add_argument("--shops", type=int, default=10)
    parser.add_argument("--per-second", type=float, default=400, help="records sent")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aisleflow-kill-") as folder:
        system = System(Path(folder), workers=2)
        try:
            return run(system, chosen)
        finally:
            system.stop()


def run(system: System, chosen: argparse.Namespace) -> int:
    """Send, kill, wait, compare."""
    chance = random.Random(chosen.seed)
    shops = make_shops(chosen.shops, chosen.seed)
    feed = Feed(system.settings)
    feed.send_layouts(shops)
    stop = threading.Event()
    records = ((sent.topic, sent.key, sent.value) for sent in stream(shops, DAYS, chosen.seed, faults=Faults()))
    sending = threading.Thread(
        target=feed.send, args=(records,), kwargs={"per_second": chosen.per_second, "stop": stop}
    )
    sending.start()
    ends = Ends(system.settings)
    time.sleep(5)
    answers = Answers(system.url, f"/stores/{shops[0].store_id}/metrics")
    names = ["kafka", "clickhouse", "api", "worker"]
    print(
        f"{'kill':>4}  {'part':<12}{'back':>8}{'no answers':>12}{'all derived':>13}   seconds after the kill",
        flush=True,
    )
    for number in range(chosen.times):
        # Each part in turn in a random order, so that ten kills reach all of them.
        if number % len(names) == 0:
            chance.shuffle(names)
        name = names[number % len(names)]
        name = f"worker-{chance.randrange(2)}" if name == "worker" else name
        time.sleep(chance.uniform(0.5, 6))
        answers.longest_since_asked()
        began = time.monotonic()
        system.kill(name)
        wait_for(lambda name=name: system.back(name), BACK_WITHIN_S, system)  # type: ignore[misc]
        back = time.monotonic() - began
        wait_for(lambda began=began: answers.last > began, BACK_WITHIN_S, system)  # type: ignore[misc]
        # What was sent until now, that is for as long as the part was away.
        wait_for(ends.remember, BACK_WITHIN_S, system)
        wait_for(ends.passed, CAUGHT_UP_WITHIN_S, system)
        derived = time.monotonic() - began
        print(
            f"{number + 1:>4}  {name:<12}{back:>8.1f}{answers.longest_since_asked():>12.1f}{derived:>13.1f}", flush=True
        )
    stop.set()
    sending.join()
    answers.stop()
    feed.flush()
    caught_up(system.settings, CAUGHT_UP_WITHIN_S)
    world = feed.world()
    print(
        f"Sent {len(feed.sent):,} records ({world.duplicates:,} duplicates, {world.refused:,} unreadable); comparing",
        flush=True,
    )

    def ask(path: str) -> dict[str, Any]:
        try:
            return answers.get(path)
        except HTTPError as error:
            return {"status": error.code, "anomalies": []}

    wrong = wrong_answers(world, ask)
    for difference in wrong[:20]:
        print(f"WRONG {difference}")
    days = sum(len(world.days(store_id)) for store_id in world.stores)
    print(f"{len(wrong)} wrong answers; {4 * days:,} compared over {days} days of {len(world.stores)} shops")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
