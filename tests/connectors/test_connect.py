"""The whole way through a real Kafka: pulls killed anywhere, pushes, webhooks in order, dead letters and their replay."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from aisleflow import settings as settings_module
from aisleflow.cli import app
from aisleflow.clients import kafka_config, kafka_producer
from aisleflow.commands import connect
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from connectors import config, webhooks
from connectors.outbox import Outbox
from connectors.pulling import ConnectError, Counts, Puller, Source
from connectors.webhooks import Dispatcher
from stream_processors.engine.dead_letter_desk import Choice, Desk
from tests.connectors.stubs import Answer, ErpNext, Request, serving
from tests.connectors.test_csv_folder import FIELDS, HEADER, drop, row
from tests.connectors.test_rest import HEADERS, LEDGER, ORDER, PURCHASE, entry, target


@pytest.fixture(scope="module")
def world(kafka: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, None, clickhouse_url=None, webhooks_private=True)


@pytest.fixture
def command(world: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str]]]:
    for name, value in environment(world).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ERP_KEY", "key")
    settings_module.settings.cache_clear()
    yield lambda *arguments: (lambda result: (result.exit_code, result.output))(
        CliRunner().invoke(app, list(arguments))
    )
    settings_module.settings.cache_clear()


def on_topic(settings: Settings, topic: str) -> list[Any]:
    """The values of a topic, each partition in its order."""
    consumer = Consumer({**kafka_config(settings), "group.id": "test", "enable.auto.commit": False})
    found = []
    for partition in (
        consumer.list_topics(settings.topic_prefix + topic, timeout=10).topics[settings.topic_prefix + topic].partitions
    ):
        place = TopicPartition(settings.topic_prefix + topic, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        while end and (message := consumer.poll(10)) is not None:
            found.append(orjson.loads(message.value()))
            if message.offset() == end - 1:
                break
    consumer.close()
    return found


def publish(settings: Settings, topic: str, records: list[dict[str, Any]]) -> None:
    producer = kafka_producer(settings)
    for record in records:
        producer.produce(settings.topic_prefix + topic, orjson.dumps(record), record["store_id"])
    assert producer.flush(10) == 0


def eventually(look: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def written(path: Path, config: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_a_drop_folder_that_is_killed_anywhere(world: Settings, tmp_path: Path) -> None:
    """Two files of 5,000 rows; the program is killed again and again at a random moment."""
    folder = tmp_path / "drop"
    folder.mkdir()
    rows = [row(n, "?" if n % 100 == 0 else "1") for n in range(10_000)]
    drop(folder, "a.csv", HEADER, *rows[:5_000])
    drop(folder, "b.csv", HEADER, *rows[5_000:])
    config = {
        "connector": "killed",
        "folders": [
            {
                "name": "drop",
                "folder": str(folder),
                "settle_s": 0,
                "map": {"to": "stock-movements", "identity": ["No"], "fields": FIELDS},
            }
        ],
    }
    program = [sys.executable, "-m", "aisleflow", "connect", written(tmp_path / "c.yaml", config), "--once"]
    chance, kills = random.Random(7), 0
    cursor = world.data_dir / "connect/killed/drop.json"
    code = None
    while code is None:
        child = subprocess.Popen(
            program, env=os.environ | environment(world), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        before = cursor.read_bytes() if cursor.exists() else b""
        while kills < 4 and child.poll() is None and (cursor.read_bytes() if cursor.exists() else b"") == before:
            time.sleep(0.01)  # a file is begun, or goes on
        if kills < 4:
            time.sleep(chance.uniform(0, 0.2))
            child.kill()
            kills += child.wait() == -9
            continue
        code = child.wait(120)
        assert child.stderr is not None
        assert code == 1, child.stderr.read().decode()[-2000:]
    movements = [one for one in on_topic(world, "stock-movements") if one["store_id"] == "ST1"]
    assert len({one["event_id"] for one in movements}) == 10_000 - 100
    assert len(movements) >= len({one["event_id"] for one in movements})
    for name in ("a.csv", "b.csv"):
        assert len((folder / "rejected" / name).read_text().splitlines()) == 1 + 50, "each refused row once"
        assert (folder / "done" / name).exists()
    assert kills == 4


def test_pull_and_push_by_one_file(world: Settings, tmp_path: Path, command: Callable[..., tuple[int, str]]) -> None:
    old = {**ORDER, "event_id": ORDER["event_id"][:-1] + "4", "supplier_id": "Old Ltd"}
    publish(world, "orders", [old])
    erp = ErpNext([entry(n) for n in range(25)] + [entry(99, warehouse="Elsewhere")])
    with serving(erp) as url:
        config = {
            "connector": "erp",
            "api": {"base_url": url, "headers": HEADERS},
            "pull": [LEDGER],
            "push": [{**PURCHASE, "since": "now"}],
        }
        file = written(tmp_path / "erp.yaml", config)
        code, output = command("connect", file, "--check")
        assert code == 0, output
        assert "ledger: of the first 10 records 10 facts, 0 ignored, 0 refused" in output
        assert erp.made == []
        publish(world, "orders", [ORDER, {**ORDER, "event_id": ORDER["event_id"][:-1] + "2", "status": "RECEIVED"}])
        code, output = command("connect", file, "--once")
        assert code == 1, output
        assert "ledger: 26 records, 25 facts, 0 ignored, 1 refused" in output
        assert "ledger SLE-00099: store_id: its lookup does not know 'Elsewhere'" in output
        assert "purchase-orders: 1 delivered, 1 ignored, 0 in the dead letters" in output
        code, output = command("connect", file, "--once")
        assert code == 0, output
        assert "ledger: 0 records" in output
        assert "purchase-orders: 0 delivered" in output
    assert [one["supplier"] for one in erp.made] == ["Mugs Ltd"]
    pulled = [one for one in on_topic(world, "stock-movements") if one.get("sku") == "A"]
    assert len(pulled) == 25
    letters = list(Desk(world, "stock-movements").waiting())
    assert (
        orjson.loads(next(one.value for one in letters if one.headers["topic"] == "connect:erp") or b"")["name"]
        == "SLE-00099"
    )


def test_a_source_whose_cursor_cannot_be_kept_is_pulled_again(
    kafka: str, make_world: Callable[..., Settings], tmp_path: Path
) -> None:
    """Its facts come again, and nobody has to start anything anew; neither after what nobody has thought of."""
    world = make_world(kafka, None, clickhouse_url=None)
    drop(tmp_path, "a.csv", HEADER, *(row(n, "1") for n in range(10)))
    said = {"name": "drop", "folder": str(tmp_path), "settle_s": 0}
    said["map"] = {"to": "stock-movements", "identity": ["No"], "fields": FIELDS}
    written(tmp_path / "c.yaml", {"connector": "blocked", "folders": [said]})
    [source] = config.build(config.load(tmp_path / "c.yaml"), world).sources
    state, stop = tmp_path / "state", threading.Event()
    in_the_way = state / "drop.draft"
    in_the_way.mkdir(parents=True)
    puller, told = Puller(world, "blocked", state), list[Exception]()

    class Whimsical:
        def pull(self, source: Source) -> Counts:
            if not told:
                told.append(RuntimeError("a whim"))
                raise told[-1]
            try:
                return puller.pull(source)
            except ConnectError as error:
                told.append(error)
                raise

    thread = threading.Thread(target=connect._pull, args=(Whimsical(), source, 0.05, stop))
    thread.start()
    try:
        assert eventually(lambda: len(told) > 2)
        assert "cannot be written" in str(told[-1])
        in_the_way.rmdir()
        assert eventually(lambda: (state / "drop.json").exists() and (tmp_path / "done" / "a.csv").exists())
    finally:
        stop.set()
        thread.join(30)
    assert len({one["event_id"] for one in on_topic(world, "stock-movements")}) == 10


def test_an_order_whose_answer_is_lost_is_made_once(world: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system makes the document and hangs up; the push looks for it before it tries again."""
    monkeypatch.setenv("ERP_KEY", "key")
    erp = ErpNext([])
    lost = iter([True])

    def answer(request: Request) -> Answer | None:
        found = erp(request)
        if request.method == "POST" and next(lost, False):
            return None
        return found

    publish(world, "orders", [{**ORDER, "event_id": ORDER["event_id"][:-1] + "3", "store_id": "ST9"}])
    with serving(answer) as url:
        found = target(url, name="lost", when="store_id == 'ST9'")
        tally = Outbox(world, found, first_pause_s=0.01).run(threading.Event(), until_end=True)
    assert (tally.delivered, len(erp.made)) == (1, 1)


# --- webhooks ------------------------------------------------------------------------------------------------------------


def alert(number: int, store: str) -> dict[str, Any]:
    return {
        "event_id": f"00000000-0000-4000-8000-{number:012}",
        "store_id": store,
        "timestamp": "2026-03-03T14:00:00Z",
        "type": "QUEUE_SPIKE",
        "state": "OPENED",
        "severity": "WARN",
        "message": "m",
        "suggested_action": "a",
        "value": number,
        "baseline": 1,
    }


class Receiver:
    """Takes messages, but for those that ``refuses`` says no to."""

    def __init__(self, refuses: Callable[[Request], bool] = lambda _: False, slow_s: float = 0) -> None:
        self.refuses, self.slow_s = refuses, slow_s
        self.taken: list[Request] = []
        self.asked = 0

    def __call__(self, request: Request) -> Answer:
        self.asked += 1
        time.sleep(self.slow_s)
        if self.refuses(request):
            return 500, {"why": "not today"}, {}
        self.taken.append(request)
        return 204, b"", {}

    def of(self, store: str) -> list[float]:
        return [one.json["data"]["value"] for one in self.taken if one.json["data"]["store_id"] == store]


@pytest.fixture
def dispatcher(world: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=lambda: Dispatcher(world, first_pause_s=0.02).run(stop))
    thread.start()
    yield
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def test_alerts_reach_each_receiver_in_order_whatever_the_others_do(
    world: Settings, dispatcher: None, command: Callable[..., tuple[int, str]]
) -> None:
    publish(world, "alerts", [alert(900, "ST1")])  # from before anybody registered
    again = threading.Lock()
    failures: dict[str, int] = {}

    def twice_each(request: Request) -> bool:
        with again:
            failures[request.headers["webhook-id"]] = failures.get(request.headers["webhook-id"], 0) + 1
            return failures[request.headers["webhook-id"]] < 3

    broken = [True]
    good, flaky, slow = Receiver(), Receiver(twice_each), Receiver(slow_s=5)
    dead = Receiver(lambda _: broken[0])
    with serving(good) as a, serving(flaky) as b, serving(slow) as c, serving(dead) as d:
        for url, attempts in ((a, 3), (b, 9), (c, 3), (d, 2)):
            webhooks.add(world, f"{url}/hook", ["alerts"], [], attempts)
        stores = ("ST1", "ST2", "ST3")
        publish(world, "alerts", [alert(n, stores[n % 3]) for n in range(30)])
        wanted = {store: [n for n in range(30) if stores[n % 3] == store] for store in stores}
        assert eventually(lambda: len(good.taken) >= 30 and len(flaky.taken) >= 30)
        for receiver in (good, flaky):
            assert {store: receiver.of(store) for store in stores} == wanted
        assert slow.asked <= 15, "it still sits on its first messages"
        # What nobody took waits, with its bytes, and is replayed to its own receiver alone.
        desk = Desk(world, "deliveries")
        assert eventually(lambda: desk.summary().count == 30)
        letter = next(desk.waiting())
        assert orjson.loads(orjson.loads(letter.value or b"")["body"]) == alert(
            int(orjson.loads(orjson.loads(letter.value or b"")["body"])["value"]), letter.key.decode()
        )  # type: ignore[union-attr]
        assert "not delivered in 2 attempts: answers 500" in letter.kind[1]
        broken[0] = False
        assert command("dead-letters", "replay", "deliveries", "--all")[0] == 0
        assert eventually(lambda: len(dead.taken) >= 30)
        assert {store: sorted(dead.of(store)) for store in stores} == wanted
        assert {one.headers["webhook-id"] for one in dead.taken} == {one.headers["webhook-id"] for one in good.taken}
        assert len(good.taken) == 30
        assert desk.summary().count == 0
        with webhooks.changing(webhooks.file_of(world)) as registered:
            registered.clear()
    assert list(Desk(world, "deliveries").waiting(Choice())) == []


def test_a_webhook_outlives_what_nobody_has_thought_of(
    world: Settings, dispatcher: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, failed = Outbox.run, list[str]()

    def failing(self: Outbox, *arguments: Any, **named: Any) -> Any:
        if len(failed) < 2:
            failed.append("once more")
            raise RuntimeError("a whim")
        return run(self, *arguments, **named)

    monkeypatch.setattr(Outbox, "run", failing)
    receiver = Receiver()
    with serving(receiver) as url:
        webhooks.add(world, f"{url}/hook", ["alerts"], [], 3)
        assert eventually(lambda: len(failed) == 2)
        publish(world, "alerts", [alert(1, "ST1")])
        assert eventually(lambda: receiver.taken)
        with webhooks.changing(webhooks.file_of(world)) as registered:
            registered.clear()


def test_what_was_not_confirmed_is_delivered_again(world: Settings) -> None:
    """A program that ends in the middle of its attempts commits nothing; the next one goes on with that very message."""
    receiver = Receiver(lambda _: True)
    with serving(receiver) as url:
        registered = webhooks.add(world, url, ["alerts"], [], 100)
        publish(world, "alerts", [alert(100, "ST1"), alert(101, "ST1")])
        found = webhooks.WebhookTarget(registered, private=True)
        stop = threading.Event()
        thread = threading.Thread(target=lambda: Outbox(world, found, first_pause_s=0.01).run(stop))
        thread.start()
        assert eventually(lambda: receiver.asked >= 2)
        stop.set()
        thread.join(30)
        receiver.refuses = lambda _: False
        Outbox(world, found).run(threading.Event(), until_end=True)
    assert receiver.of("ST1") == [100, 101]
