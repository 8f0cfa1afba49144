"""Passwords of the embedded parts: made once per data directory, kept readable by their owner only."""

import hmac
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

CLICKHOUSE_DATABASE = "aisleflow"
#: Our own users at a secured Kafka, beside those that may do everything; aisleflow/access.py says what each may.
KAFKA_PARTS = ("worker", "gate", "api", "restock", "forecasts", "simulator", "cli", "connect", "webhooks")


class SecretsError(RuntimeError):
    """The secrets cannot be read; the message says what to do."""


def _password() -> str:
    return secrets.token_urlsafe(24)


class Secrets(BaseModel):
    """What ``DATA_DIR/secrets.json`` holds."""

    model_config = ConfigDict(frozen=True)

    clickhouse_writer: str
    clickhouse_analyst: str
    clickhouse_reader: str = Field(default_factory=_password)
    """The API's; files from before it had a user of its own get one."""
    kafka: str = Field(default_factory=_password)
    """What the passwords of our own users at a secured Kafka are made from."""

    def clickhouse_url(self, port: int) -> str:
        """The embedded server's address for a part that writes."""
        return f"http://aisleflow:{self.clickhouse_writer}@127.0.0.1:{port}/{CLICKHOUSE_DATABASE}"

    def clickhouse_reader_url(self, port: int) -> str:
        """The embedded server's address for a part that only reads."""
        return f"http://reader:{self.clickhouse_reader}@127.0.0.1:{port}/{CLICKHOUSE_DATABASE}"

    def kafka_password(self, user: str) -> str:
        """The password of one of our own users at the embedded broker, when it is secured. No user's tells another's."""
        return hmac.digest(self.kafka.encode(), user.encode(), "sha256").hex()

    def kafka_login(self, user: str) -> dict[str, Any]:
        """The settings with which a part is that user."""
        return {
            "kafka_security_protocol": "SASL_PLAINTEXT",
            "kafka_sasl_mechanism": "SCRAM-SHA-512",
            "kafka_user": user,
            "kafka_password": SecretStr(self.kafka_password(user)),
        }


def load(data_dir: Path) -> Secrets | None:
    """The secrets of a data directory, or None where ``aisleflow up`` has not been yet.

    Raises:
        SecretsError: the file is not readable or not what we wrote.
    """
    path = data_dir / "secrets.json"
    try:
        return Secrets.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not hold what Aisleflow wrote"
        raise SecretsError(f"{path} cannot be read ({reason}); delete it, and new passwords are made") from None


def load_or_create(data_dir: Path) -> Secrets:
    """The secrets of a data directory, made up the first time."""
    path = data_dir / "secrets.json"
    known = load(data_dir)
    if known is not None and known.model_fields_set == Secrets.model_fields.keys():
        return known
    made = known or Secrets(clickhouse_writer=_password(), clickhouse_analyst=_password())
    text = json.dumps(made.model_dump(), indent=2)
    if known is None:
        _keep(path, text)
    else:
        completed = path.with_suffix(".new")
        completed.unlink(missing_ok=True)
        _keep(completed, text)
        completed.replace(path)
    return made


def is_kafka_secured(data_dir: Path) -> bool:
    """Whether the broker of a data directory was last started with passwords and ACLs (``infra/kafka/broker.py``)."""
    return (data_dir / "kafka" / "secured").exists()


def visitor_salt(data_dir: Path) -> bytes:
    """What the pseudonyms of a data directory's visitors are made with, made up the first time. The same salt names the
    people of a clip as before; with another, nobody can tell that they are the same.

    Raises:
        SecretsError: the file is not readable, or empty.
    """
    path = data_dir / "visitor-salt"
    try:
        # Another process may be making it at the same moment.
        with suppress(FileExistsError):
            _keep(path, secrets.token_urlsafe(32))
        salt = path.read_bytes().strip()
    except OSError as error:
        raise SecretsError(f"{path} cannot be used: {error.strerror}") from error
    if not salt:
        raise SecretsError(f"{path} is empty; delete it, and a new salt is made")
    return salt


def _keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_EXCL with the mode: never, not even for a moment, readable by others.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
