"""Webhooks: alerts, or any topic, to addresses that somebody registered, signed as Standard Webhooks 1.0 has it
(https://www.standardwebhooks.com).

Registrations live in a YAML file that only its owner may read: ``DATA_DIR/webhooks.yaml``. A receiver that does not answer is tried
again with back-off, in the order of each shop, and after so many attempts the record waits in the dead letters.
"""

from __future__ import annotations

import base64
import fcntl
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator

from aisleflow import log
from aisleflow.settings import Settings
from connectors import guard
from connectors.http import Refused
from connectors.mapping import Strict
from connectors.outbox import Outbox, Outgoing
from connectors.pulling import ConnectError, Unavailable, pauses
from schemas.events import as_problem
from schemas.topics import ALERTS, DELIVERIES, TOPICS

logger = log.get(__name__)

SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's mark of a secret, none itself
SECRET_BYTES = 32
TIMEOUT_S = 15.0
LOOK_EVERY_S = 2.0


class Webhook(Strict):
    """One registered address."""

    id: str = Field(pattern=r"^wh-[0-9a-f]{8}$")
    url: SecretStr
    secret: SecretStr
    topics: list[str] = Field([ALERTS.name])
    stores: list[str] = Field([])
    attempts: int = Field(10, ge=1, le=100)
    created_ms: int = Field(description="Since when it gets records, milliseconds since 1970.")

    @field_validator("topics")
    @classmethod
    def _topics_exist(cls, names: list[str]) -> list[str]:
        known = [name for name, topic in TOPICS.items() if topic.event is not None and topic is not DELIVERIES]
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} is not a topic of events; there are {', '.join(known)}")
        return names

    @property
    def host(self) -> str:
        """All of the address that may be shown: a path may hold a token."""
        parts = urlsplit(self.url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def check_url(url: str, private: bool) -> None:
    """Raises:
    ConnectError: nothing may be sent there.
    """
    parts = urlsplit(url)
    try:
        usable = (
            parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0 and parts.username is None
        )
    except ValueError:
        usable = False
    if not usable:
        raise ConnectError("the address must look like https://HOST/PATH, without a user or password")
    if parts.scheme == "http" and not private:
        raise ConnectError("the address must be https: what it is sent could be read on the way")


def new_secret() -> str:
    """A secret as Standard Webhooks writes it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The header ``webhook-signature``: HMAC-SHA256 over ``id.timestamp.body``, in base64 (Standard Webhooks 1.0)."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def payload(record: Outgoing) -> bytes:
    """What is sent: the kind of record, its time, and the record as it lay on Kafka."""
    try:
        data: Any = orjson.loads(record.value)
    except ValueError:
        data = record.value.decode("utf-8", "backslashreplace")
    found = data if isinstance(data, dict) else {}
    kind = record.topic if record.topic != ALERTS.name else f"alert.{str(found.get('state', 'unknown')).lower()}"
    at = datetime.fromtimestamp(record.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": kind, "timestamp": found.get("timestamp", at), "data": data})


@dataclass(frozen=True)
class WebhookTarget:
    """The target of a :class:`Webhook`."""

    webhook: Webhook
    private: bool
    timeout_s: float = TIMEOUT_S

    @property
    def name(self) -> str:
        """As for ``Target``."""
        return f"webhook:{self.webhook.id}"

    @property
    def topics(self) -> list[str]:
        """As for ``Target``."""
        return self.webhook.topics

    @property
    def attempts(self) -> int:
        """As for ``Target``."""
        return self.webhook.attempts

    @property
    def since_ms(self) -> int | None:
        """As for ``Target``: nothing from before it was registered."""
        return self.webhook.created_ms

    def takes(self, record: Outgoing) -> bool:
        """As for ``Target``."""
        return not self.webhook.stores or record.store_id in self.webhook.stores

    def deliver(self, record: Outgoing) -> None:
        """As for ``Target``."""
        self.send(f"msg_{record.id}", payload(record))

    def send(self, message_id: str, body: bytes) -> int:
        """Send one message now; the status.

        Raises:
            NotNow, Refused: as ``guard.post`` does.
        """
        url = self.webhook.url.get_secret_value()
        try:
            check_url(url, self.private)
        except ConnectError as error:
            raise Refused(str(error)) from None
        now_s = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": signature(self.webhook.secret.get_secret_value(), message_id, now_s, body),
        }
        return guard.post(url, body, headers, timeout_s=self.timeout_s, private=self.private)


# --- the file of registrations ---------------------------------------------------------------------------------------


def file_of(settings: Settings) -> Path:
    """Where webhooks are registered."""
    return settings.webhooks_file or settings.data_dir.expanduser() / "webhooks.yaml"


def load(path: Path) -> list[Webhook]:
    """The registered webhooks.

    Raises:
        ConnectError: the file is not one of ours, or others may read it.
    """
    try:
        if path.stat().st_mode & 0o007:
            raise ConnectError(f"{path} holds secrets and everybody may read it: chmod 600 {path}")
        known = yaml.safe_load(path.read_text()) or {}
        return [Webhook.model_validate(one) for one in known.get("webhooks", [])]
    except FileNotFoundError:
        return []
    except ValidationError as error:
        where, why = as_problem(error)
        raise ConnectError(f"{path} cannot be used: {where}: {why}") from None
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        why = getattr(error, "strerror", None) or "it is not a list of webhooks in YAML"
        raise ConnectError(f"{path} cannot be used: {why}") from None


@contextmanager
def changing(path: Path) -> Iterator[list[Webhook]]:
    """The registered webhooks, to be changed in place and written back; nobody else changes them meanwhile.

    Raises:
        ConnectError: as for :func:`load`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        webhooks = load(path)
        yield webhooks
        entries = [
            {**one.model_dump(), "url": one.url.get_secret_value(), "secret": one.secret.get_secret_value()}
            for one in webhooks
        ]
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        # Never, not even for a moment, readable by others.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump({"webhooks": entries}, file, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def add(settings: Settings, url: str, topics: list[str], stores: list[str], attempts: int) -> Webhook:
    """Register an address; it gets what is published from now on.

    Raises:
        ConnectError: nothing may be sent there, a topic is not known, or the file cannot be used.
    """
    check_url(url, settings.webhooks_private)
    try:
        webhook = Webhook(
            id=f"wh-{secrets.token_hex(4)}",
            url=SecretStr(url),
            secret=SecretStr(new_secret()),
            topics=topics,
            stores=stores,
            attempts=attempts,
            created_ms=int(time.time() * 1000),
        )
    except ValidationError as error:
        raise ConnectError(": ".join(as_problem(error))) from None
    with changing(file_of(settings)) as webhooks:
        webhooks.append(webhook)
    return webhook


# --- running ---------------------------------------------------------------------------------------------------------


class Dispatcher:
    """Delivers to all registered webhooks, each in a thread of its own, and goes by changes of the file at once."""

    def __init__(self, settings: Settings, first_pause_s: float = 1.0) -> None:
        self._settings = settings
        self._first_pause_s = first_pause_s
        self._running: dict[str, tuple[Webhook, threading.Event, threading.Thread]] = {}

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop.

        Raises:
            ConnectError: the file of registrations cannot be used at the start; later it is only told.
        """
        path = file_of(self._settings)
        self._keep(load(path))
        while not stop.wait(LOOK_EVERY_S):
            try:
                self._keep(load(path))
            except ConnectError as error:
                logger.error("webhooks_not_read", error=str(error))
        self._keep([])

    def _keep(self, wanted: list[Webhook]) -> None:
        """Start and end threads until these run."""
        by_id = {webhook.id: webhook for webhook in wanted}
        ending = [name for name, (webhook, *_) in self._running.items() if by_id.get(name) != webhook]
        for name in ending:
            self._running[name][1].set()
        for name in ending:
            self._running.pop(name)[2].join()
            logger.info("webhook_ended", webhook=name)
        for webhook in wanted:
            if webhook.id not in self._running:
                stop = threading.Event()
                thread = threading.Thread(target=self._deliver, args=(webhook, stop), name=webhook.id, daemon=True)
                self._running[webhook.id] = webhook, stop, thread
                thread.start()
                logger.info("webhook_started", webhook=webhook.id, host=webhook.host, topics=webhook.topics)

    def _deliver(self, webhook: Webhook, stop: threading.Event) -> None:
        waits = pauses(self._first_pause_s, 30)
        while not stop.is_set():
            target = WebhookTarget(webhook, self._settings.webhooks_private)
            try:
                Outbox(self._settings, target, self._first_pause_s).run(stop)
            except Unavailable as error:
                logger.warning("webhooks_wait_for_kafka", webhook=webhook.id, error=str(error))
                stop.wait(next(waits))
            except Exception:  # whatever it was, it must not end this webhook for good
                logger.exception("webhook_failed", webhook=webhook.id)
                stop.wait(next(waits))


def until_signalled() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    import signal

    stop = threading.Event()
    handler: Callable[..., None] = lambda *_: stop.set()  # noqa: E731
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    return stop
