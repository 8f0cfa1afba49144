"""Start one Apache Kafka broker (KRaft, single node, loopback) from jars that Maven fetched once.

``python -m infra.kafka.broker --data-dir D --port P --controller-port C`` prepares the data directory and then becomes
the broker itself (``exec``), so whoever started it holds the broker's own process id.
"""

import argparse
import hashlib
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
MINIMUM_JAVA = 17
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
    with tempfile.TemporaryDirectory(dir=jars_dir().parent) as scratch, ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [listener.getsockname()[1] for listener in sockets]
        held.close()
        broker = Broker(Path(scratch), ports[0], ports[1])
        broker.prepare()
        draft = Path(scratch) / "classes.jsa"
        java, *rest = broker.command()
        quiet = subprocess.DEVNULL
        first = subprocess.Popen([java, f"-XX:ArchiveClassesAtExit={draft}", *rest], stdout=quiet, stderr=quiet)  # noqa: S603
        try:
            deadline = time.monotonic() + 60
            while not answers(f"127.0.0.1:{broker.port}") and first.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            first.terminate()
            first.wait(60)
        finally:
            first.kill()
            first.wait()
        draft.replace(_class_archive())


@dataclass(frozen=True)
class Broker:
    """One broker: its data directory, its two loopback ports and its heap in MiB.

    ``advertised_port`` is where clients are told to go, if that is another: that of a proxy.
    """

    data_dir: Path
    port: int
    controller_port: int
    heap_mb: int = 512
    advertised_port: int | None = None

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
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.advertised_port or self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
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
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def command(self) -> list[str]:
        """The command line of the broker."""
        return [*self._java(f"-Xms{self.heap_mb // 2}m"), "kafka.Kafka", str(self.properties_file)]

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

    def _java(self, *options: str) -> list[str]:
        classpath = f"{jars_dir()}/*"
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
        if (archive := _class_archive()).exists():
            options = (*options, f"-XX:SharedArchiveFile={archive}")
        return ["java", f"-Xmx{self.heap_mb}m", *options, "-Djava.awt.headless=true", logging, "-cp", classpath]


def answers(bootstrap: str, timeout_s: float = 1.0) -> bool:
    """Whether a broker at ``HOST:PORT`` tells its metadata within the time given."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    host, _, port = bootstrap.split(",")[0].rpartition(":")
    try:  # asked first, since the client below retries a refused connection and complains on standard error
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except (OSError, ValueError):
        return False
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=timeout_s).brokers)
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
    )
    try:
        broker.prepare()
    except BrokerError as error:
        raise SystemExit(f"kafka: {error}") from None
    os.execvp("java", broker.command())  # noqa: S606, S607


if __name__ == "__main__":
    main()
