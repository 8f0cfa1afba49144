"""Backup and restore of a whole system: under load and at rest, every answer as before, and the stream goes on."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import threading
import time
import urllib.request
from bisect import bisect_left
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisleflow.backup import Archive, BackupError, Mapped, back_up
from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from aisleflow.supervisor import aisleflow_command
from producers.simulator.faults import Faults
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from stream_processors.anomaly_watch import LONGEST_PAUSE_S
from stream_processors.engine.dead_letter_desk import Choice, Desk
from tests.system.running import System
from tests.system.truth import Feed, Record, caught_up, group_lag, wrong_answers

SHOPS = make_shops(3, seed=5)
COUNTED = (
    "events",
    "event_ids",
    "transactions",
    "visits",
    "zone_visits",
    "queue_depth",
    "day_figures",
    "dead_letters",
    "store_layouts",
)


@given(st.sets(st.integers(0, 500), max_size=80), st.integers(0, 600))
def test_an_offset_is_found_again(offsets: set[int], asked: int) -> None:
    mapped, old = Mapped(), sorted(offsets)
    for offset in old:
        mapped.add(offset)
    assert mapped.at_or_after(asked) == bisect_left(old, asked) and mapped.count == len(old)


def command(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AISLEFLOW_")}
    return subprocess.run(
        [*aisleflow_command(*map(str, arguments))],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def answers(system: System) -> dict[str, Any]:
    """Everything that the API says of the shops, but for what is told by the clock."""
    found = {}
    for shop in SHOPS:
        for name in ("metrics", "funnel", "heatmap", "anomalies"):
            for day in DAYS:
                path = f"/stores/{shop.store_id}/{name}" + ("" if name == "anomalies" else f"?date={day}")
                found[path] = ask(system, path)
        # Silence is judged by the clock.
        path = f"/stores/{shop.store_id}/anomalies"
        found[path] = [one for one in found[path]["anomalies"] if one["type"] != "STALE_FEED"]
    return found


def settled_answers(system: System) -> dict[str, Any]:
    """The answers once anomalies are judged by what came last: on a busy machine looks are seconds apart."""
    found = answers(system)
    for _ in range(10):
        time.sleep(LONGEST_PAUSE_S + 2)
        before, found = found, answers(system)
        if found == before:
            return found
    raise AssertionError("the answers still change, and nothing is sent")


def ask(system: System, path: str) -> Any:
    with urllib.request.urlopen(system.url + path, timeout=30) as answer:
        return without_clock(json.loads(answer.read()))


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        clock = ("checked_at", "generated_at", "as_of", "behind_seconds", "lag_minutes", "age_seconds")
        return {name: without_clock(item) for name, item in value.items() if name not in clock}
    return [without_clock(item) for item in value] if isinstance(value, list) else value


def counts(settings: Settings) -> dict[str, int]:
    with clickhouse_client(settings) as client:
        return {name: int(client.query(f"SELECT count() FROM {name} FINAL").result_rows[0][0]) for name in COUNTED}


DAYS = (date(2026, 3, 3), date(2026, 3, 4))


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [(sent.topic, sent.key, sent.value) for sent in stream(SHOPS, DAYS, 5, faults=Faults())]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> Iterator[tuple[System, Feed, Path]]:
    """A system that has taken the first of two days, and a backup that was taken while it did."""
    folder = tmp_path_factory.mktemp("source")
    system = System(folder, 1)
    try:
        feed = Feed(system.settings)
        feed.send_layouts(SHOPS)
        cut = len(records) // 2
        before = len(feed.sent)
        feed.send(records[: cut // 4])
        done = threading.Event()
        paced = {"per_second": 100, "stop": done}
        loading = threading.Thread(target=feed.send, args=(records[cut // 4 : cut],), kwargs=paced)
        loading.start()
        backup = command("backup", folder / "under-load.tar", "--data-dir", system.data_dir)
        assert backup.returncode == 0, backup.stderr + backup.stdout
        under_load = loading.is_alive()
        done.set()
        loading.join()
        feed.send(records[len(feed.sent) - before : cut])
        feed.flush()
        assert under_load, "the backup must be taken while records arrive"
        caught_up(system.settings, 120)
        yield system, feed, folder
    finally:
        system.stop()


@pytest.mark.system
def test_at_rest_every_answer_is_as_before_and_the_stream_goes_on(
    source: tuple[System, Feed, Path], records: list[Record], tmp_path: Path
) -> None:
    system, feed, folder = source
    desk = Desk(system.settings, "visit-events")
    dropped = next(desk.waiting())
    desk.mark([dropped.offset], "dropped")
    left = [letter.value for letter in desk.waiting(Choice())]
    assert wrong_answers(feed.world(), lambda path: ask(system, path)) == []
    before, rows = settled_answers(system), counts(system.settings)
    taken = command("backup", folder / "at-rest", "--data-dir", system.data_dir)
    assert taken.returncode == 0, taken.stderr
    again = command("backup", folder / "at-rest", "--data-dir", system.data_dir)
    assert again.returncode == 1 and "backups are never overwritten" in again.stderr
    restored = command("restore", folder / "at-rest", "--data-dir", tmp_path / "data")
    assert restored.returncode == 0, restored.stderr + restored.stdout
    refused = command("restore", folder / "at-rest", "--data-dir", tmp_path / "data")
    assert refused.returncode == 1 and "is not empty" in refused.stderr
    twin = System(tmp_path, 1)
    try:
        assert group_lag(twin.settings) == 0, "what was committed needs not be read again"
        assert counts(twin.settings) == rows
        assert answers(twin) == before
        assert [letter.value for letter in Desk(twin.settings, "visit-events").waiting()] == left
        go_on = Feed(twin.settings)
        go_on.sent = list(feed.sent)
        go_on.send(records[len(records) // 2 :])
        go_on.flush()
        caught_up(twin.settings, 120)
        assert wrong_answers(go_on.world(), lambda path: ask(twin, path)) == []
    finally:
        twin.stop()


@pytest.mark.system
def test_taken_under_load_nothing_is_lost_or_doubled(source: tuple[System, Feed, Path], tmp_path: Path) -> None:
    system, feed, folder = source
    restored = command("restore", folder / "under-load.tar", "--data-dir", tmp_path / "data")
    assert restored.returncode == 0, restored.stderr + restored.stdout
    twin = System(tmp_path, 1)
    try:
        # Senders who were not told that a record was taken send it again, and so they send all that they have.
        again = Feed(twin.settings)
        again.send(feed.sent)
        again.flush()
        caught_up(twin.settings, 120)
        assert wrong_answers(feed.world(), lambda path: ask(twin, path)) == []
        same = [name for name in COUNTED if name != "dead_letters"]
        expected = counts(system.settings)
        assert {name: counts(twin.settings)[name] for name in same} == {name: expected[name] for name in same}
    finally:
        twin.stop()


@pytest.mark.system
def test_what_is_damaged_is_refused_before_anything_is_done(source: tuple[System, Feed, Path], tmp_path: Path) -> None:
    _, _, folder = source
    good = tmp_path / "good"
    with tarfile.open(folder / "under-load.tar") as tar:
        tar.extractall(good, filter="data")
    Archive(good)
    manifest = json.loads((good / "manifest.json").read_text())
    for name, harm in (
        (
            "clickhouse/events.jsonl.zst",
            lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
        ),
        ("clickhouse/visits.jsonl.zst", lambda path: path.unlink()),
        ("manifest.json", lambda path: path.write_text(json.dumps({**manifest, "format": 99}))),
    ):
        kept = (good / name).read_bytes()
        harm(good / name)
        done = command("restore", good, "--data-dir", tmp_path / "data")
        assert done.returncode == 1 and "restore: " in done.stderr and not (tmp_path / "data").exists()
        (good / name).write_bytes(kept)
    with pytest.raises(BackupError, match="is not a complete backup"):
        Archive(tmp_path)


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    away = Settings(_env_file=None, kafka="127.0.0.1:1", clickhouse_url="http://u:p@127.0.0.1:1/x")  # type: ignore[call-arg]
    with pytest.raises(Exception):  # noqa: B017 - whichever is asked first
        back_up(away, tmp_path / "backup.tar")
    assert list(tmp_path.iterdir()) == []
