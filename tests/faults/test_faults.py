"""A minute of faults of every kind over the real parts, and a checker that would have noticed."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from aisleflow.clients import clickhouse_client
from tests.faults.checker import Promise
from tests.faults.faults import seeded, short_schedule
from tests.faults.runner import Run

SEED = 20261121


def test_a_seed_makes_a_schedule() -> None:
    def made(seed: int) -> list[str]:
        return [str(fault) for fault in short_schedule(seeded(seed))]

    assert made(1) == made(1) != made(2)


@pytest.mark.system
@pytest.mark.timeout(900)
def test_faults_of_every_kind_lose_double_and_falsify_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, SEED, per_second=150, verbose=True)
    try:
        run.checker._reader.unassign()  # one that brings nothing more
        run.round(short_schedule(seeded(SEED)))
        wrong = run.check(go_on=False)
        print(run.report())
        assert wrong == []
        assert run.checker.hindrances["a reader was replaced"] > 0
        assert run.checker.promises_kept > 3_000
        assert run.system.clickhouse_proxy.hit > 10
        falsify(run)
    finally:
        run.stop()


def falsify(run: Run) -> None:
    """Make things wrong behind everybody's back; the checker must name each."""
    checker = run.checker
    checker.rest()
    stranger = str(uuid.uuid4())
    with clickhouse_client(run.system.direct) as client:
        client.command("""INSERT INTO events (* EXCEPT visitor_id, visitor_id) SELECT * EXCEPT visitor_id, 'another'
            FROM events FINAL LIMIT 1""")
        client.command("""INSERT INTO visits (* EXCEPT (events, version), events, version)
            SELECT * EXCEPT (events, version), events + 1, version + 1 FROM visits FINAL LIMIT 1""")
        client.command("""INSERT INTO zone_visits (* EXCEPT (is_deleted, version), is_deleted, version)
            SELECT * EXCEPT (is_deleted, version), 1, version + 1 FROM zone_visits FINAL LIMIT 1""")
        client.command("ALTER TABLE transactions DELETE WHERE 1 SETTINGS mutations_sync = 2")
    run.feed.taken_events.add(stranger)
    place = next(iter(run.feed.acknowledged))
    run.feed.acknowledged[place][10**9] = 1
    checker._letters[*place, 10**9] = {(None, b"never refused")}
    checker._letters.pop(next(iter(checker._refused)))
    first = min(run.feed.acknowledged[place])
    checker._reader.assign([TopicPartition(*place, first)])
    (again,) = checker._reader.consume(1, 30)
    checker._on_log[place][first] = 1
    checker._take(again)
    checker._read[place] += 1
    checker._look_for([(place, Promise(10**9, events=((stranger, "NOWHERE", "NOBODY"),)))])
    found = "\n".join(checker.compare(run._ask, settle_s=0))
    for words in (
        "events: 1 rows too many",
        "visits: 1 rows are missing",
        "zone_visits: 1 rows are missing",
        "rows are missing, such as [('ST",
        "1 events that the API took are not on the log",
        "2 acknowledged records are not on the log as sent",
        f"has another record at {first} than when it was read first",
        f"{place} ends at {checker._read[place] - 1}, and was read up to {checker._read[place]}",
        "1 dead letters of records that are valid",
        "1 refused records have no dead letter",
        f"is committed beyond {10**9}",
        "visit ('NOWHERE', 'NOBODY') has 1 events below the committed offset",
    ):
        assert words in found, words
