"""Real parts for tests: one Kafka and one ClickHouse a session, on free ports, and a world of its own for each test
module.

``world`` gives settings whose topics (by prefix), consumer group and database nobody else uses, so that tests need not
clean up after themselves. ``kafka`` and ``clickhouse`` alone are for tests that make their own.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from aisleflow.ports import is_free
from aisleflow.settings import Settings

# A property that holds slowly on a busy machine still holds.
hypothesis.settings.register_profile("aisleflow", deadline=None)
hypothesis.settings.load_profile("aisleflow")

START_TIMEOUT_S = 60
CHROMIUM = shutil.which("chromium")
CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
REAL_PARTS = {"kafka", "clickhouse", "world", "make_world"}


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """What fails fast runs first: rules, then what needs real parts, then whole systems."""
    items.sort(
        key=lambda item: (item.get_closest_marker("system") is not None, not REAL_PARTS.isdisjoint(item.fixturenames))
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: what it needs (the vision extra, the real material) is there, or should
    be.
    """
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _logs_end_with_the_test() -> Iterator[None]:
    """A command that ran within a test has sent all logs to that test's output, which is closed by now."""
    yield
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]


def free_port() -> int:
    """A TCP port that nobody listens on, of those that the kernel gives to no outgoing connection: it stays free until a
    server takes it, or another test that drew the same.
    """
    while True:
        port = random.SystemRandom().randint(10_000, 32_000)
        if is_free(port):
            return port


@contextmanager
def process(
    command: list[str], log: Path, ready: Callable[[], bool], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; it must become ready within a minute."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[:4]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """The condition's value once it is true; a failure if it is not in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return value


def answers(port: int, path: str = "/ping") -> bool:
    """Whether an HTTP server on loopback answers with success."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 400
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def running_kafka(
    data_dir: Path, port: int, users: dict[str, str] | None = None, advertised_port: int | None = None
) -> Iterator[str]:
    """An Apache Kafka of one's own, secured if it has users (passwords by name); its bootstrap address. It may send its
    clients to another port, that of a proxy.
    """
    from infra.kafka import broker

    command = [sys.executable, "-m", "infra.kafka.broker", "--data-dir", str(data_dir), "--port", str(port)]
    command += ["--controller-port", str(free_port()), "--heap-mb", "384"]
    command += ["--advertised-port", str(advertised_port)] if advertised_port else []
    address = f"127.0.0.1:{port}"
    probe = broker.Broker(data_dir, port, 0, users=users or {}).client("admin")
    variables = {broker.USERS_VARIABLE: json.dumps(users)} if users else {}
    with process(command, data_dir.with_suffix(".log"), lambda: broker.answers(probe), variables):
        yield address


@contextmanager
def secured_kafka(folder: Path) -> Iterator[Settings]:
    """A secured Kafka of one's own as ``aisleflow up --secure`` starts it, with its topics; settings that lead to it as
    `cli`, and with ``as_kafka_user`` as any other of our users.
    """
    from aisleflow import access, settings
    from aisleflow.commands import topics
    from aisleflow.secrets import KAFKA_PARTS, load_or_create
    from infra.kafka.broker import SUPER_USERS

    known, port = load_or_create(folder), free_port()
    users = {user: known.kafka_password(user) for user in (*SUPER_USERS, *KAFKA_PARTS)}
    with running_kafka(folder / "kafka", port, users):
        found = Settings(_env_file=None, data_dir=folder, kafka=None, kafka_port=port, kafka_secure=True)
        admin = settings.as_kafka_user(found, "admin")
        topics.ensure(admin)
        access.allow(admin, access.parts_grants(admin))
        yield settings.as_kafka_user(found, "cli")


@contextmanager
def running_clickhouse(data_dir: Path, port: int, password: str) -> Iterator[str]:
    """An embedded ClickHouse of one's own; its URL without a database."""
    command = [sys.executable, "-m", "infra.clickhouse.server", "--data-dir", str(data_dir), "--port", str(port)]
    passwords = {
        "AISLEFLOW_CLICKHOUSE_WRITER_PASSWORD": password,
        "AISLEFLOW_CLICKHOUSE_READER_PASSWORD": f"{password}-reader",
        "AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD": password[::-1],
    }
    with process(command, data_dir.with_suffix(".log"), lambda: answers(port), passwords):
        yield f"http://aisleflow:{password}@127.0.0.1:{port}"


def wait_for_leaders(settings: Settings) -> None:
    """A topic just created answers NOT_LEADER for a moment."""
    import asyncio

    from confluent_kafka import KafkaException

    from api.progress import Progress
    from schemas.topics import TOPICS

    deadline = time.monotonic() + START_TIMEOUT_S
    names = [settings.topic_prefix + name for name in TOPICS]
    while True:
        try:
            with ThreadPoolExecutor(1) as thread:  # a test with Playwright has a running loop in its own
                thread.submit(lambda: asyncio.run(Progress(settings).ends(names))).result()
            return
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextmanager
def running_chromium() -> Iterator[Any]:
    """Debian's Chromium in Playwright's hands, without what it would ask of the network.

    Raises:
        RuntimeError: there is none.
    """
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise RuntimeError("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for the tests of a module."""
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    with running_chromium() as found:
        yield found


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of an Apache Kafka that lives for the test session."""
    with running_kafka(tmp_path_factory.mktemp("kafka") / "data", free_port()) as address:
        yield address


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL, without a database, of an embedded ClickHouse that lives for the test session."""
    with running_clickhouse(tmp_path_factory.mktemp("clickhouse") / "data", free_port(), secrets.token_hex(16)) as url:
        yield url


@pytest.fixture(scope="session")
def make_world(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings of a world of its own on the given parts (a None part stays away)."""
    from aisleflow.commands import migrate, topics

    def make(kafka: str | None, clickhouse: str | None, **overrides: Any) -> Settings:
        name = f"test_{secrets.token_hex(4)}"
        chosen: dict[str, Any] = {
            "kafka": kafka or f"127.0.0.1:{free_port()}",
            "clickhouse_url": f"{clickhouse or f'http://127.0.0.1:{free_port()}'}/{name}",
            "topic_prefix": f"{name}.",
            "consumer_group": name,
            "data_dir": tmp_path_factory.mktemp(name),
            "host": "127.0.0.1",
            "api_port": free_port(),
            "metrics_port": free_port(),
            "api_keys": None,
            **overrides,
        }
        settings = Settings(_env_file=None, **chosen)
        if clickhouse is not None:
            migrate.apply(settings)
        if kafka is not None:
            topics.ensure(settings)
            wait_for_leaders(settings)
        return settings

    return make


@pytest.fixture(scope="module")
def world(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    """Settings of a migrated database and of created topics that only this test module uses."""
    return make_world(kafka, clickhouse)
