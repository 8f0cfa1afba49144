"""Every setting of Aisleflow, read from ``AISLEFLOW_*`` variables or a ``.env`` file.

``.env.example`` lists them all; a test keeps the two in step.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aisleflow import secrets


class Settings(BaseSettings):
    """One object for every program: the supervisor, the workers, the API and the producers."""

    model_config = SettingsConfigDict(env_prefix="AISLEFLOW_", env_file=".env", extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("aisleflow")),
        description="Where the embedded parts keep their data, logs and generated secrets.",
    )
    host: str = Field("127.0.0.1", description="Address the API binds to; loopback unless API keys are set.")
    api_port: int = Field(8000, ge=1, le=65535, description="Port of the API and its pages.")
    kafka_port: int = Field(9092, ge=1, le=65535, description="Port of the Kafka broker that `up` starts.")
    kafka_controller_port: int = Field(9093, ge=1, le=65535, description="Port of that broker's KRaft controller.")
    clickhouse_port: int = Field(8123, ge=1, le=65535, description="Port of the embedded ClickHouse server.")
    metrics_port: int = Field(
        9108, ge=1, le=65535, description="Prometheus port of the first worker; the next adds one."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address that the workers' metrics answer on, to anybody who asks."
    )

    kafka: str | None = Field(None, description="Bootstrap servers HOST:PORT of your own Kafka; empty starts one.")
    kafka_secure: bool = Field(
        False, description="Whether the Kafka that `up` starts wants a password and an ACL for everything."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How Kafka is spoken to; `up --secure` sets this and the next three by itself."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the password is proved, with a protocol that begins with SASL."
    )
    kafka_user: str | None = Field(None, description="Kafka's user, with a protocol that begins with SASL.")
    kafka_password: SecretStr | None = Field(None, description="That user's password.")
    kafka_ca_file: Path | None = Field(
        None, description="Certificates (PEM) that Kafka's is signed with, for SSL; empty takes the system's."
    )
    clickhouse_url: SecretStr | None = Field(
        None, description="http(s)://USER:PASSWORD@HOST:PORT/DATABASE of your own ClickHouse; empty starts one."
    )
    clickhouse_replicated: bool = Field(
        False,
        description="Whether `migrate` makes the database on all replicas of your own ClickHouse: with Keeper and the macros "
        "cluster, shard and replica.",
    )
    topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="Put before every topic name.")
    store_partitions: int = Field(
        8,
        ge=1,
        le=1024,
        description="Partitions of every topic of facts, so the most workers that share them; fixed once topics exist.",
    )
    topic_replication: int = Field(1, ge=1, le=7, description="Replicas of every topic; 3 on a Kafka cluster.")
    consumer_group: str = Field(
        "aisleflow", pattern=r"^[A-Za-z0-9._-]{1,128}$", description="Kafka consumer group of the workers."
    )
    workers: int = Field(1, ge=1, le=64, description="Stream worker processes that `up` starts.")

    api_keys: SecretStr | None = Field(None, description="Comma-separated API keys; empty means loopback only.")
    log_level: str = Field("INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe line logged.")
    otlp_endpoint: str | None = Field(
        None, description="http(s)://HOST:PORT of an OpenTelemetry collector (OTLP over HTTP); empty exports no traces."
    )
    max_invalid_share: float = Field(
        0.9, gt=0, le=1, description="Share of invalid records among the last 10,000 above which a worker stops."
    )
    max_future_minutes: int = Field(
        1440, ge=0, description="How far a timestamp may lie ahead of its arrival before the event is refused."
    )
    cycle_ms: int = Field(
        200, ge=10, le=10_000, description="How long a worker gathers records before it derives, at least."
    )
    max_batch_records: int = Field(20_000, ge=1, description="Most records a worker derives at once.")
    retention_events_days: int = Field(
        396, ge=1, le=36_500, description="Days for which ClickHouse keeps events, zone visits, queues and anomalies."
    )
    retention_results_days: int = Field(
        761, ge=1, le=36_500, description="Days for which ClickHouse keeps visits and transactions."
    )
    retention_health_days: int = Field(
        14, ge=1, le=36_500, description="Days for which ClickHouse keeps what workers tell of themselves."
    )
    retention_dead_letters_days: int = Field(
        90, ge=1, le=36_500, description="Days for which Kafka and ClickHouse keep dead letters."
    )
    retention_topics_days: int = Field(
        30,
        ge=1,
        le=36_500,
        description="Days for which Kafka keeps facts and alerts; at most as many as events are kept.",
    )
    question_keys: SecretStr | None = Field(
        None,
        description="API keys that may only ask questions, and only about some shops: KEY=SHOP+SHOP, comma-separated.",
    )
    question_model_url: str | None = Field(
        None,
        pattern=r"^(https?://.*)?$",
        description="Address of an OpenAI-compatible endpoint, up to /v1, that translates questions the rules do not "
        "understand; empty asks none.",
    )
    question_model: str | None = Field(None, description="Name of the model there.")
    question_model_key: SecretStr | None = Field(None, description="Its API key.")
    question_model_timeout_s: float = Field(20.0, gt=0, le=120, description="How long to wait for it, in seconds.")
    question_model_sql: bool = Field(
        False, description="Whether it may write SQL (one checked SELECT) where no measure fits."
    )
    webhooks_file: Path | None = Field(
        None, description="Where webhooks are registered; empty is webhooks.yaml in the data directory."
    )
    webhooks_private: bool = Field(
        False, description="Whether webhooks may go to http addresses and to private networks, this machine's included."
    )
    restock_terms: Path | None = Field(
        None,
        description="CSV file of lead times, packs, capacities and service levels; empty takes the defaults for all.",
    )
    restock_every_s: float = Field(
        60.0, ge=1, le=3600, description="How often `restock` looks for stock that has changed, seconds."
    )
    camera_model: Path | None = Field(None, description="YOLO detector exported to OpenVINO (a folder) for `camera`.")
    shelf_model: Path | None = Field(
        None, description="YOLO detector of products (an OpenVINO folder, .onnx or .tflite) for `shelf`."
    )
    planograms: Path | None = Field(
        None,
        description="Folder with STORE_ID/ZONE_ID.json: what a bay should hold, for photos that `POST /shelves/scan` takes.",
    )
    retention_shelf_pictures_days: int = Field(
        7,
        ge=0,
        le=3_650,
        description="Days for which the API keeps annotated pictures of shelves, in DATA_DIR/shelf-pictures; 0 keeps none.",
    )
    camera_salt: SecretStr | None = Field(
        None,
        min_length=16,
        description="What visitors' pseudonyms are made with, for several machines with cameras; empty makes one up.",
    )

    models_url: str | None = Field(
        None,
        description="Folder or s3://BUCKET/PREFIX with the trained models of demand; empty is `models` in the data folder.",
    )

    grafana_password: SecretStr | None = Field(
        None, description="Password of Grafana's admin, for compose and for `grafana push` without a token."
    )
    clickhouse_analyst_password: SecretStr | None = Field(
        None, description="Password of ClickHouse's user analyst, as whom Grafana reads."
    )
    alert_email: str | None = Field(None, description="E-mail addresses that Grafana's alerts go to, comma-separated.")
    alert_webhook: SecretStr | None = Field(None, description="URL that Grafana's alerts are posted to.")

    @field_validator("question_keys")
    @classmethod
    def _names_shops(cls, value: SecretStr | None) -> SecretStr | None:
        for entry in filter(None, (value.get_secret_value() if value else "").split(",")):
            key, _, shops = entry.strip().partition("=")
            if not key or not all(shops.split("+")):
                raise ValueError("AISLEFLOW_QUESTION_KEYS must be KEY=SHOP+SHOP, comma-separated")
        return value

    @model_validator(mode="after")
    def _kept_in_step(self) -> Self:
        """What is derived must outlive what it is derived from, and known ids what Kafka may deliver again."""
        if not self.retention_topics_days <= self.retention_events_days <= self.retention_results_days:
            raise ValueError(
                "AISLEFLOW_RETENTION_TOPICS_DAYS may not be more than AISLEFLOW_RETENTION_EVENTS_DAYS, nor these more than "
                "AISLEFLOW_RETENTION_RESULTS_DAYS"
            )
        return self

    @property
    def kafka_bootstrap(self) -> str:
        """Bootstrap servers: the user's own, or the broker that `up` starts."""
        return self.kafka or f"127.0.0.1:{self.kafka_port}"

    @property
    def models(self) -> str:
        """Where trained models are kept: the registry's URL."""
        return self.models_url or str(self.data_dir / "models")

    @property
    def stock_group(self) -> str:
        """The consumer group of the workers that keep the ledger of stock."""
        return f"{self.consumer_group}-stock"

    @property
    def api_key_set(self) -> frozenset[str]:
        """The configured API keys; empty when the API is open on loopback."""
        raw = self.api_keys.get_secret_value() if self.api_keys else ""
        return frozenset(key.strip() for key in raw.split(",") if key.strip())

    @property
    def question_key_shops(self) -> dict[str, frozenset[str]]:
        """The shops that each key which may only ask may ask about."""
        raw = self.question_keys.get_secret_value() if self.question_keys else ""
        entries = (entry.strip().partition("=") for entry in raw.split(",") if entry.strip())
        return {key: frozenset(shops.split("+")) for key, _, shops in entries}


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once; without addresses and users, those of what `up` started."""
    found = Settings()
    if not found.clickhouse_url and (known := secrets.load(found.data_dir)) is not None:
        found.clickhouse_url = SecretStr(known.clickhouse_url(found.clickhouse_port))
    return as_kafka_user(found, "cli")


def as_kafka_user(settings: Settings, user: str) -> Settings:
    """The same settings for one of our own users at the broker that `up --secure` started, if it is that one which they
    lead to without a user of yours.
    """
    own = settings.kafka or settings.kafka_user not in (None, "cli")
    if own or not secrets.is_kafka_secured(settings.data_dir) or (known := secrets.load(settings.data_dir)) is None:
        return settings
    return settings.model_copy(update=known.kafka_login(user))
