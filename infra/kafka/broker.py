"""Start one Apache Kafka broker (KRaft, single node, loopback) from jars that Maven fetched once.

``python -m infra.kafka.broker --data-dir D --port P --controller-port C`` prepares the data directory and then becomes
the broker itself (``exec``), so whoever started it holds the broker's own process id.

With users (``AISLEFLOW_KAFKA_SCRAM_USERS``, a JSON object of names and passwords) the broker is secured: nobody is let in
without SASL/SCRAM-SHA-512, on either listener of the two, and what somebody may do is said by ACLs alone. The users
``admin`` and ``broker`` may do everything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
MINIMUM_JAVA = 17
USERS_VARIABLE = "AISLEFLOW_KAFKA_SCRAM_USERS"
#: Who may do everything: `admin` makes topics, users and ACLs, `broker` is the node itself.
SUPER_USERS = ("admin", "broker")
SCRAM_ITERATIONS = 8192
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class BrokerError(RuntimeError):
    """The broker cannot be prepared; the message says what to do."""


def java_version() -> int:
    """The major version of ``java``.

    Raises:
        BrokerError: there is none, or it does not tell its version.
    """
    if shutil.which("java") is None:
        raise BrokerError(f"Java is missing: install Java {MINIMUM_JAVA} or newer (Debian: default-jre-headless).")
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)  # noqa: S607
    match = re.search(r'version "(\d+)', told.stderr)
    if match is None:
        raise BrokerError(f"`java -version` did not tell its version: {told.stderr.strip()[:200]}")
    return int(match[1])


def jars_dir() -> Path:
    """Where the jars of the current ``pom.xml`` are, or will be after :func:`fetch_jars`."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("aisleflow")) / "kafka" / digest


def fetch_jars() -> Path:
    """Fetch the broker's jars (43 MB) unless the cache has them; safe when several processes do it at once.

    A first run in a scratch directory then records the loaded classes (47 MB), which halves every later start.

    Raises:
        BrokerError: Java or Maven is missing, or Maven could not resolve the jars.
    """
    target = jars_dir()
    if target.is_dir():
        return target
    if (found := java_version()) < MINIMUM_JAVA:
        raise BrokerError(f"Java {found} is too old: Kafka needs Java {MINIMUM_JAVA} or newer.")
    if shutil.which("mvn") is None:
        raise BrokerError("Maven is missing: install it to fetch Kafka's jars (Debian: maven).")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Maven copies beside the final place and one rename publishes: a stopped fetch leaves nothing that looks complete.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        jars = Path(scratch) / "jars"
        command = ["mvn", "-B", "-q", "-f", str(POM), _COPY_DEPENDENCIES]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            reason = "\n".join((done.stdout + done.stderr).strip().splitlines()[:6])
            raise BrokerError(f"Maven could not fetch Kafka's jars; is the machine offline?\n{reason}")
        try:
            jars.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was first, and its copy is as good
                raise
            return target
    with suppress(OSError, BrokerError, subprocess.TimeoutExpired):  # only a matter of speed
        _record_classes()
    return target


def _class_archive() -> Path:
    # A JVM that does not match the archive ignores it.
    return jars_dir() / "classes.jsa"


def _record_classes() -> None:
    with tempfile.TemporaryDirectory(dir=jars_dir().parent) as scratch:
        broker = Broker(Path(scratch), *_free_ports())
        broker.prepare()
        draft = Path(scratch) / "classes.jsa"
        java, *rest = broker.command()
        with _running(broker, [java, f"-XX:ArchiveClassesAtExit={draft}", *rest]):
            pass
        draft.replace(_class_archive())


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@contextmanager
def _running(broker: Broker, command: list[str]) -> Iterator[None]:
    """Run a broker for a moment, and end it in peace.

    Raises:
        BrokerError: it did not answer within a minute.
    """
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, **broker.environment()})  # noqa: S603
    try:
        deadline = time.monotonic() + 60
        while not answers(broker.client("broker")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BrokerError(f"Kafka did not start on {broker.data_dir}; its own log there or its output may tell")
            time.sleep(0.1)
        yield
        process.terminate()
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def _add_users(client: Mapping[str, str], users: Mapping[str, str]) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AdminClient,
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialUpsertion,
    )

    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
    wanted: list[Any] = [
        UserScramCredentialUpsertion(name, info, password.encode()) for name, password in users.items()
    ]
    admin = AdminClient({**client, "log_level": 0})  # must live until the answers are there
    try:
        for future in admin.alter_user_scram_credentials(wanted).values():
            future.result(30)
    except (KafkaException, TimeoutError) as error:
        raise BrokerError(f"Kafka did not take its users: {error}") from error


@dataclass(frozen=True)
class Broker:
    """One broker: its data directory, its two loopback ports and its heap in MiB.

    ``advertised_port`` is where clients are told to go, if that is another: that of a proxy. With ``users``, passwords by
    name with ``SUPER_USERS`` among them, it is secured.
    """

    data_dir: Path
    port: int
    controller_port: int
    heap_mb: int = 512
    advertised_port: int | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    mechanism: Literal["SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-512"

    @property
    def properties_file(self) -> Path:
        """The configuration that :meth:`prepare` writes."""
        return self.data_dir / "server.properties"

    def properties(self) -> str:
        """The broker's configuration, in Java's properties form."""
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self.advertised_port or self.port}",
            "inter.broker.listener.name": "CLIENTS",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.data_dir / "log",
            # A misspelt topic is an error, never a new topic.
            "auto.create.topics.enable": "false",
            # Above the largest fact, so that a dead letter (the fact and its headers) still fits.
            "message.max.bytes": 2 * 1024 * 1024,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # Workers that start, die or join are handed their partitions quickly.
            "group.initial.rebalance.delay.ms": 100,
            "group.min.session.timeout.ms": 1000,
            # After a crash the node waits for its own former session to expire before it serves again (default 9 s).
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            # A small heap cannot afford the cleaner's default of 128 MiB.
            "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
        }
        if self.users:
            settings |= self._security()
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _security(self) -> dict[str, Any]:
        """Passwords stand in the environment, not in the file."""
        login = 'required username="{0}" password="${{env:KAFKA_{1}_PASSWORD}}"'
        packages = "org.apache.kafka.common.security"
        broker = login.format("broker", "BROKER")
        if self.mechanism == "PLAIN":
            module = f'{packages}.plain.PlainLoginModule {broker} user_broker="${{env:KAFKA_BROKER_PASSWORD}}";'
        else:
            module = f"{packages}.scram.ScramLoginModule {broker};"
        controller = login.format("controller", "CONTROLLER")
        return {
            "config.providers": "env",
            "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
            "config.providers.env.param.allowlist.pattern": "KAFKA_(BROKER|CONTROLLER)_PASSWORD",
            "listener.security.protocol.map": "CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": self.mechanism,
            "sasl.mechanism.inter.broker.protocol": self.mechanism,
            f"listener.name.clients.{self.mechanism.lower()}.sasl.jaas.config": module,
            # The node talks to itself here before it knows any SCRAM user; the password is new with every start.
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": f"{packages}.plain.PlainLoginModule {controller} "
            'user_controller="${env:KAFKA_CONTROLLER_PASSWORD}";',
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": ";".join(f"User:{name}" for name in (*SUPER_USERS, "controller")),
            "allow.everyone.if.no.acl.found": "false",
        }

    def environment(self) -> dict[str, str]:
        """What the broker's process needs beside its properties."""
        if not self.users:
            return {}
        return {"KAFKA_BROKER_PASSWORD": self.users["broker"], "KAFKA_CONTROLLER_PASSWORD": secrets.token_hex(32)}

    def client(self, user: str) -> dict[str, str]:
        """The configuration of librdkafka with which one of the users speaks to this broker."""
        config = {"bootstrap.servers": f"127.0.0.1:{self.port}"}
        if self.users:
            config |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": self.mechanism}
            config |= {"sasl.username": user, "sasl.password": self.users[user]}
        return config

    def command(self) -> list[str]:
        """The command line of the broker."""
        # All of its heap from the start: what it takes does not grow with the days, and a machine too small says so at once.
        heap = (f"-Xms{self.heap_mb}m", "-XX:+AlwaysPreTouch")
        return [*self._java(*heap), "kafka.Kafka", str(self.properties_file)]

    def prepare(self) -> None:
        """Fetch the jars, write the configuration and, the first time, format the storage.

        Raises:
            BrokerError: Java, Maven or the jars are missing, or the storage could not be formatted.
        """
        fetch_jars()
        storage = self.data_dir / "log"
        storage.mkdir(parents=True, exist_ok=True)
        self.properties_file.write_text(self.properties())
        if (storage / "meta.properties").exists():
            return
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # "--cluster-id=" because an id may begin with a dash.
        arguments = ["format", f"--cluster-id={cluster}", "-c", str(self.properties_file)]
        done = subprocess.run(  # noqa: S603
            [*self._java(), "kafka.tools.StorageTool", *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BrokerError(f"Kafka could not format {storage}: {(done.stdout + done.stderr).strip()[-500:]}")

    def secure(self) -> None:
        """Have the broker know its users by these passwords, whatever it knew before, and remember that it does.

        SCRAM users live in the log of a running broker. So it runs once, on other ports, where only one password that
        nobody else knows is good for anything; not again until a password changes or it runs unsecured.

        Raises:
            BrokerError: it did not start, or did not take them.
        """
        mark = self.data_dir / "secured"
        if not self.users:
            mark.unlink(missing_ok=True)
            return
        known = hashlib.sha256(json.dumps(sorted(self.users.items())).encode()).hexdigest()
        if mark.exists() and mark.read_text() == known:
            return
        mark.unlink(missing_ok=True)
        port, controller_port = _free_ports()
        once = replace(
            self,
            port=port,
            controller_port=controller_port,
            advertised_port=None,
            users={"broker": secrets.token_hex(32)},
            mechanism="PLAIN",
        )
        once.properties_file.write_text(once.properties())
        try:
            with _running(once, once.command()):
                _add_users(once.client("broker"), self.users)
        finally:
            self.properties_file.write_text(self.properties())
        draft = mark.with_suffix(".draft")
        draft.write_text(known)
        draft.chmod(0o600)
        draft.replace(mark)

    def _java(self, *options: str) -> list[str]:
        classpath = f"{jars_dir()}/*"
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
        if (archive := _class_archive()).exists():
            options = (*options, f"-XX:SharedArchiveFile={archive}")
        return ["java", f"-Xmx{self.heap_mb}m", *options, "-Djava.awt.headless=true", logging, "-cp", classpath]


def answers(client: Mapping[str, Any] | str, timeout_s: float = 1.0) -> bool:
    """Whether a broker, at ``HOST:PORT`` or by a client's configuration, tells its metadata within the time given."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    config = {"bootstrap.servers": client} if isinstance(client, str) else client
    host, _, port = config["bootstrap.servers"].split(",")[0].rpartition(":")
    try:  # asked first, since the client below retries a refused connection and complains on standard error
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except (OSError, ValueError):
        return False
    admin = AdminClient({**config, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def responds(port: int, timeout_s: float = 1.0) -> bool:
    """Whether a broker on loopback answers an ApiVersions request: cheap enough to be asked all the time, and a broker
    that hangs does not.
    """
    api_versions, version, correlation, no_client = 18, 0, 1, -1
    request = struct.pack(">hhih", api_versions, version, correlation, no_client)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return bool(connection.recv(4))
    except OSError:
        return False


def main() -> None:
    """Prepare the data directory and become the broker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--controller-port", type=int, required=True)
    parser.add_argument("--heap-mb", type=int, default=512)
    parser.add_argument("--advertised-port", type=int, help="where clients are told to go, when that is a proxy")
    arguments = parser.parse_args()
    broker = Broker(
        arguments.data_dir.expanduser().resolve(),
        arguments.port,
        arguments.controller_port,
        arguments.heap_mb,
        arguments.advertised_port,
        json.loads(os.environ.pop(USERS_VARIABLE, "{}")),
    )
    try:
        broker.prepare()
        broker.secure()
    except BrokerError as error:
        raise SystemExit(f"kafka: {error}") from None
    os.environ.update(broker.environment())
    os.execvp("java", broker.command())  # noqa: S606, S607


if __name__ == "__main__":
    main()
