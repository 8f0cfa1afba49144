"""Backup and restore of what a system knows: ClickHouse's tables, Kafka's records and how far the workers are in them.

A backup is taken while everything runs. It is sound because of its order, which is that of a cycle backwards
(``docs/delivery.md``):

1. the offsets that the workers have committed: everything before them is in ClickHouse by now;
2. ClickHouse's tables, derived rows first (``visits``, which vouch for others, before all), then ``event_ids``, then facts: so
   no id is in the backup whose fact is not, and no row without the facts that it follows from, or they are behind the offsets;
3. Kafka's records up to now, so also all that ClickHouse may have stored meanwhile.

A restored system reads on from the offsets. What it finds stored already is a duplicate, and opens its day, which is compared
with its facts: nothing is lost and nothing doubled.

The files: ``manifest.json``, ``clickhouse/TABLE.jsonl.zst`` (JSONCompactEachRow, in the manifest's order of columns) and
``kafka/TOPIC.PARTITION.zst`` (MessagePack arrays of offset, timestamp in ms, key, value and headers, each behind its length in
four bytes, big-endian). Each has its SHA-256 in the manifest, which is written last. Secrets are not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aisleflow.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FORMAT = 1
CHUNK_BYTES = 64 * 1024 * 1024
READ_BYTES = 1024 * 1024
ANSWER_WITHIN_S = 30.0
LEVEL = 3
#: First what vouches for other rows, last what nothing may be without.
FIRST_TABLES = ("visits",)
LAST_TABLES = ("event_ids", "events", "transactions", "store_layouts", "camera_states", "stock_movements")
_AS_IT_IS = {
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_denormals": 1,
    "output_format_json_escape_forward_slashes": 0,
    "max_execution_time": 0,
    "max_threads": 1,
}
_AS_IT_WAS = {"max_partitions_per_insert_block": 0, "insert_deduplicate": 0, "max_execution_time": 0}
Place = tuple[str, int]
Tell = Callable[[str], None]


_Record = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Offset, timestamp (milliseconds), key, value and headers."""


class BackupError(RuntimeError):
    """The backup cannot be made or restored; the message says why and what to do."""


@dataclass
class Mapped:
    """Where the records of a partition are after they were written anew: runs of offsets without a gap."""

    old: list[int] = field(default_factory=list)
    new: list[int] = field(default_factory=list)
    count: int = 0

    def add(self, offset: int) -> None:
        """The next record had this offset, larger than those before."""
        if not self.old or offset - self.old[-1] != self.count - self.new[-1]:
            self.old.append(offset)
            self.new.append(self.count)
        self.count += 1

    def at_or_after(self, offset: int) -> int:
        """The new offset of the first record at or after an old one; the end if there is none."""
        index = bisect_right(self.old, offset) - 1
        if index < 0:
            return 0
        end = self.new[index + 1] if index + 1 < len(self.new) else self.count
        return min(self.new[index] + offset - self.old[index], end)


# --- taking ----------------------------------------------------------------------------------------------------------


def back_up(settings: Settings, target: Path, tell: Tell = lambda _: None) -> dict[str, Any]:
    """Write a backup to a new folder, or a file whose name ends in ``.tar``; its manifest.

    Nothing is at the target before all of it is on the disk.

    Raises:
        BackupError: the target is there, or a file cannot be written.
        ClickHouseError, KafkaException, TimeoutError: a server does not answer or refuses.
    """
    if target.exists():
        raise BackupError(f"{target} exists: name a new file or folder, backups are never overwritten")
    is_tar = target.suffix == ".tar"
    folder = target.with_name(f"{target.name}.partial")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("clickhouse", "kafka"):
            (folder / part).mkdir(parents=True)
        manifest = _write_all(settings, folder, tell)
        with _new(folder / "manifest.json") as file:
            file.write(json.dumps(manifest, indent=1).encode())
        if is_tar:
            packed = target.with_name(f"{target.name}.partial.tar")
            with _new(packed) as file, tarfile.open(fileobj=file, mode="w") as tar:
                # The manifest first: who unpacks knows what must come.
                for name in ("manifest.json", *manifest["files"]):
                    tar.add(folder / name, name)
                    (folder / name).unlink()
            packed.rename(target)
            shutil.rmtree(folder)
        else:
            for place in (folder / "clickhouse", folder / "kafka", folder):
                _sync(place)
            folder.rename(target)
        _sync(target.parent)
        return manifest
    except OSError as error:
        raise BackupError(f"the backup cannot be written to {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        target.with_name(f"{target.name}.partial.tar").unlink(missing_ok=True)


def _write_all(settings: Settings, folder: Path, tell: Tell) -> dict[str, Any]:
    from importlib.metadata import version

    from aisleflow.clients import clickhouse_client

    manifest: dict[str, Any] = {
        "format": FORMAT,
        "aisleflow": version("aisleflow"),
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "groups": _committed(settings),
        "tables": {},
        "topics": {},
        "files": {},
    }
    with clickhouse_client(settings, send_receive_timeout=600) as client:
        manifest["clickhouse"] = str(client.server_version)
        manifest["migrations"] = _migrations(client)
        for table, columns in _tables(client).items():
            name = f"clickhouse/{table}.jsonl.zst"
            with _Compressed(folder / name) as file:
                rows = _export(client, table, columns, file)
            manifest["files"][name] = file.told()
            manifest["tables"][table] = {"columns": columns, "rows": rows}
            tell(f"{table}: {rows:,} rows, {file.told()['bytes']:,} bytes")
    with _reader(settings) as reader:
        for topic, partitions in _topics(settings).items():
            told: dict[str, Any] = {"partitions": len(partitions), "records": [], "begins": []}
            manifest["topics"][topic] = told
            size = 0
            for partition, (begin, end) in sorted(partitions.items()):
                name = f"kafka/{topic}.{partition}.zst"
                with _Compressed(folder / name) as file:
                    count = _drain(reader, (settings.topic_prefix + topic, partition), begin, end, file)
                manifest["files"][name] = file.told()
                size += file.told()["bytes"]
                told["records"].append(count)
                told["begins"].append(begin)
            if sum(told["records"]):
                tell(f"{topic}: {sum(told['records']):,} records, {size:,} bytes")
    return manifest


def _committed(settings: Settings) -> dict[str, dict[str, list[int]]]:
    """By the end of a group's name after ours, and topic: the committed offset of each partition, -1 without."""
    from confluent_kafka import TopicPartition

    from aisleflow.clients import group_reader

    admin = _admin(settings)
    ours = settings.consumer_group
    listed = admin.list_consumer_groups(request_timeout=ANSWER_WITHIN_S).result().valid
    groups = [group.group_id for group in listed if group.group_id == ours or group.group_id.startswith(f"{ours}-")]
    there = admin.list_topics(timeout=ANSWER_WITHIN_S).topics
    places = [
        TopicPartition(name, number)
        for name in there
        if name.startswith(settings.topic_prefix)
        for number in there[name].partitions
    ]
    found: dict[str, dict[str, list[int]]] = {}
    for group in groups:
        reader = group_reader(settings, group)
        try:
            committed = reader.committed(places, timeout=ANSWER_WITHIN_S)
        finally:
            reader.close()
        topics: dict[str, dict[int, int]] = {}
        for place in committed:
            if place.offset >= 0:
                topics.setdefault(place.topic.removeprefix(settings.topic_prefix), {})[place.partition] = place.offset
        found[group.removeprefix(ours)] = {
            topic: [offsets.get(number, -1) for number in range(max(offsets) + 1)] for topic, offsets in topics.items()
        }
    return found


def _migrations(client: Client) -> int:
    return int(client.query("SELECT max(number) FROM schema_migrations").result_rows[0][0])


def _tables(client: Client) -> dict[str, list[str]]:
    """The tables that hold rows of their own, in the order in which they are taken, and their columns."""
    query = (
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND default_kind NOT IN "
        "('MATERIALIZED', 'ALIAS', 'EPHEMERAL') AND table != 'schema_migrations' AND table IN "
        "(SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree') "
        "ORDER BY table, position"
    )
    found: dict[str, list[str]] = {}
    for table, column in client.query(query).result_rows:
        found.setdefault(table, []).append(column)
    order = dict.fromkeys(FIRST_TABLES, -1) | {name: n for n, name in enumerate(LAST_TABLES, 1)}
    return {table: found[table] for table in sorted(found, key=lambda name: (order.get(name, 0), name))}


def _export(client: Client, table: str, columns: Sequence[str], file: _Compressed) -> int:
    names = ", ".join(f"`{column}`" for column in columns)
    query = f"SELECT {names} FROM `{table}`"  # noqa: S608 - names that the server has told
    rows = 0
    end = b"\n"
    with client.raw_stream(query, settings=_AS_IT_IS, fmt="JSONCompactEachRow") as stream:
        while chunk := stream.read(READ_BYTES):
            rows += chunk.count(b"\n")
            file.write(chunk)
            end = chunk[-1:]
    if end != b"\n":
        raise BackupError(f"ClickHouse stopped in the middle of {table}; its log says why")
    return rows


def _topics(settings: Settings) -> dict[str, dict[int, tuple[int, int]]]:
    """By topic of the registry that is there, and partition: the first offset, and the end."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    from schemas.topics import TOPICS

    admin = _admin(settings)
    there = admin.list_topics(timeout=ANSWER_WITHIN_S).topics
    names = {name: settings.topic_prefix + name for name in TOPICS if settings.topic_prefix + name in there}
    places = [TopicPartition(full, number) for full in names.values() for number in there[full].partitions]
    first, last = (
        {
            (place.topic, place.partition): answer.result().offset
            for place, answer in admin.list_offsets(dict.fromkeys(places, spec)).items()
        }
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
    )
    return {
        name: {number: (first[full, number], last[full, number]) for number in there[full].partitions}
        for name, full in names.items()
    }


@contextmanager
def _reader(settings: Settings) -> Iterator[Any]:
    """A consumer that belongs to no group."""
    from confluent_kafka import Consumer

    from aisleflow.clients import kafka_config

    consumer = Consumer(
        {
            **kafka_config(settings),
            "group.id": f"{settings.consumer_group}.backup",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # What retention removes while we read is gone for everybody.
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _drain(consumer: Any, place: Place, begin: int, end: int, file: _Compressed) -> int:
    """Write the records of a partition, from the first there is to the end; their number."""
    import msgspec
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    if begin >= end:
        return 0
    encode = msgspec.msgpack.Encoder().encode
    count = 0
    consumer.assign([TopicPartition(*place, begin)])
    while end:
        messages = consumer.consume(5_000, 0.1) or consumer.consume(1, ANSWER_WITHIN_S)
        if not messages:
            raise TimeoutError(f"Kafka stopped answering while {place[0]} was read")
        packed: list[bytes] = []
        for message in messages:
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                end = 0  # what was there last has been compacted away
            elif (offset := int(message.offset() or 0)) < end:
                at_ms = message.timestamp()[1]
                record = encode((offset, at_ms, message.key(), message.value(), message.headers() or []))
                packed += (len(record).to_bytes(4), record)
                if offset == end - 1:
                    end = 0
        file.write(b"".join(packed))
        count += len(packed) // 2
    return count


class _Compressed:
    """A new file, compressed, whose digest is known when it is closed; on the disk by then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> _Compressed:
        import zstandard

        self._file = self._path.open("xb")
        self._pack = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        return self

    def write(self, data: bytes) -> None:
        """Append."""
        self._put(self._pack.compress(data))

    def _put(self, packed: bytes) -> None:
        self._digest.update(packed)
        self._size += len(packed)
        self._file.write(packed)

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self._put(self._pack.flush())
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()

    def told(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"sha256": self._digest.hexdigest(), "bytes": self._size}


@contextmanager
def _new(path: Path) -> Iterator[IO[bytes]]:
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _admin(settings: Settings) -> Any:
    from confluent_kafka.admin import AdminClient

    from aisleflow.clients import kafka_config

    return AdminClient({**kafka_config(settings), "log_level": 0})


# --- restoring -------------------------------------------------------------------------------------------------------


class Archive:
    """A backup as it lies on the disk, whose every file is what the manifest says.

    Raises:
        BackupError: on making one: it is no backup, or a file is missing or was changed.
    """

    def __init__(self, source: Path) -> None:
        self._source = source
        self._tar: tarfile.TarFile | None = None
        try:
            if source.is_file():
                self._tar = tarfile.open(source)  # noqa: SIM115 - for as long as it is read
            self.manifest: dict[str, Any] = json.loads(self._bytes("manifest.json"))
            files = self.manifest["files"]
            if self.manifest["format"] != FORMAT:
                raise BackupError(
                    f"{source} is of format {self.manifest['format']}, and this version reads {FORMAT}: restore it by the "
                    f"version that took it ({self.manifest['aisleflow']}) or a newer one"
                )
        except (OSError, ValueError, KeyError, tarfile.TarError) as error:
            raise BackupError(f"{source} is not a complete backup: {error}") from error
        for name, told in files.items():
            digest = hashlib.sha256()
            try:
                with self._open(name) as file:
                    while chunk := file.read(READ_BYTES):
                        digest.update(chunk)
            except (OSError, KeyError) as error:
                raise BackupError(f"{source} is not a complete backup: {error}") from error
            if digest.hexdigest() != told["sha256"]:
                raise BackupError(f"{source} is damaged: {name} is not what was written")

    def _bytes(self, name: str) -> bytes:
        with self._open(name) as file:
            return file.read()

    def _open(self, name: str) -> IO[bytes]:
        if self._tar is None:
            return (self._source / name).open("rb")
        file = self._tar.extractfile(name)
        if file is None:
            raise KeyError(f"{name} is missing")
        return file

    def lines(self, name: str) -> Iterator[bytes]:
        """A file's whole lines, unpacked, some ``CHUNK_BYTES`` at a time."""
        rest = b""
        for chunk in self.chunks(name, CHUNK_BYTES):
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield rest + chunk[:cut]
                rest = chunk[cut:]
            else:
                rest += chunk
        if rest:
            yield rest

    def records(self, name: str) -> Iterator[_Record]:
        """The records of a file of Kafka's."""
        import msgspec

        decode = msgspec.msgpack.Decoder(_Record).decode
        rest = b""
        for chunk in self.chunks(name, READ_BYTES):
            data, at = memoryview(rest + chunk), 0
            while len(data) >= at + 4 and len(data) >= (end := at + 4 + int.from_bytes(data[at : at + 4])):
                yield decode(data[at + 4 : end])
                at = end
            rest = bytes(data[at:])

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        """A file, unpacked, so many bytes at a time."""
        import zstandard

        with self._open(name) as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            while chunk := reader.read(size):
                yield chunk


def restore(settings: Settings, archive: Archive, tell: Tell = lambda _: None) -> None:
    """Fill an empty database and empty topics from a backup; what is there but holds nothing may stay.

    Raises:
        BackupError: something is there already, or it was taken by a newer version.
        ClickHouseError, KafkaException, TimeoutError: a server does not answer or refuses.
    """
    manifest = archive.manifest
    partitions = manifest["topics"]["visit-events"]["partitions"]
    settings = settings.model_copy(update={"store_partitions": partitions})
    check_empty(settings)
    _restore_tables(settings, archive, tell)
    _restore_topics(settings, archive, tell)


def check_empty(settings: Settings) -> None:
    """Raise ``BackupError`` if the database or a topic of these settings holds anything."""
    from urllib.parse import urlsplit

    from aisleflow.clients import clickhouse_client

    url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
    database = urlsplit(url).path.strip("/") or "default"
    with clickhouse_client(settings, database="default") as client:
        query = "SELECT table FROM system.parts WHERE active AND rows > 0 AND database = {n:String} AND table NOT IN {o:Array(String)}"
        known = client.query(query, {"n": database, "o": ["schema_migrations"]}).result_rows
    if known:
        raise BackupError(
            f"the database {database} is not empty ({known[0][0]} has rows): name another in AISLEFLOW_CLICKHOUSE_URL, or drop it"
        )
    for topic, partitions in _topics(settings).items():
        if any(end > 0 for _, end in partitions.values()):
            raise BackupError(
                f"the topic {settings.topic_prefix}{topic} is not empty: choose another AISLEFLOW_TOPIC_PREFIX, or delete it"
            )


def _restore_tables(settings: Settings, archive: Archive, tell: Tell) -> None:
    from urllib.parse import urlsplit

    from aisleflow.clients import clickhouse_client
    from schemas import migrations

    manifest = archive.manifest
    files = migrations.load()
    if manifest["migrations"] > files[-1].number:
        raise BackupError(
            f"the backup was taken by a newer version ({manifest['aisleflow']}, migration {manifest['migrations']:04}): "
            "restore it by that one"
        )
    url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
    with clickhouse_client(settings, database="default", send_receive_timeout=600) as client:
        migrations.create_database(client, urlsplit(url).path.strip("/") or "default")
        # As it was, then on to what this version wants: a later migration may change rows.
        migrations.migrate(client, [file for file in files if file.number <= manifest["migrations"]])
        for table, told in manifest["tables"].items():
            rows = 0
            for lines in archive.lines(f"clickhouse/{table}.jsonl.zst"):
                client.raw_insert(table, told["columns"], lines, settings=_AS_IT_WAS, fmt="JSONCompactEachRow")
                rows += lines.count(b"\n")
            if rows != told["rows"]:
                raise BackupError(f"{table} has {rows} rows in the backup, and its manifest says {told['rows']}")
            tell(f"{table}: {rows:,} rows")
        migrations.migrate(client, files)


def _restore_topics(settings: Settings, archive: Archive, tell: Tell) -> None:
    from aisleflow.clients import Failures, kafka_producer, produce
    from aisleflow.commands import topics

    topics.ensure(settings)
    manifest = archive.manifest
    names = [settings.topic_prefix + topic for topic in manifest["topics"]]
    # So that records keep the times at which Kafka took them.
    _set_topics(settings, names, "message.timestamp.type", "CreateTime")
    mapped: dict[Place, Mapped] = {}
    producer = kafka_producer(settings, **{"linger.ms": 50, "log_level": 0})
    failures = Failures()
    for topic, told in manifest["topics"].items():
        for partition, count in enumerate(told["records"]):
            where = mapped[topic, partition] = Mapped()
            for offset, at_ms, key, value, headers in archive.records(f"kafka/{topic}.{partition}.zst"):
                where.add(offset)
                if any(name == "handled" for name, _ in headers):
                    value = _moved_mark(value, where)
                produce(
                    *(producer, settings.topic_prefix + topic, value, key),
                    partition=partition,
                    timestamp=at_ms,
                    headers=headers,
                    on_delivery=failures,
                )
                producer.poll(0)
            if where.count != count:
                raise BackupError(f"{topic} has {where.count} records in the backup, and its manifest says {count}")
        if sum(told["records"]):
            tell(f"{topic}: {sum(told['records']):,} records")
    if producer.flush(ANSWER_WITHIN_S * 4) or failures:
        raise BackupError(f"Kafka did not take all records: {failures[:1] or 'it stopped answering'}")
    _set_topics(settings, names, "message.timestamp.type", "LogAppendTime")
    for topic, ends in _topics(settings).items():
        found = [ends[number][1] for number in range(len(ends))]
        expected = (
            [mapped[topic, number].count for number in range(len(ends))] if topic in manifest["topics"] else found
        )
        if found != expected:
            raise BackupError(f"{topic} ends at {found} and not at {expected}: somebody else publishes to it")
    _commit(settings, manifest, mapped)


def _moved_mark(value: bytes | None, where: Mapped) -> bytes:
    """What `dead-letters` wrote of handled letters, with the offsets that these have now."""
    spans = [
        [where.at_or_after(first), where.at_or_after(last + 1) - 1]
        for first, last in json.loads(value or b"")["offsets"]
    ]
    return json.dumps({"offsets": [[first, last] for first, last in spans if first <= last]}).encode()


def _set_topics(settings: Settings, names: Iterable[str], setting: str, value: str) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)],
        )
        for name in names
    ]
    admin = _admin(settings)
    for answer in admin.incremental_alter_configs(resources, request_timeout=ANSWER_WITHIN_S).values():
        answer.result()


def _commit(settings: Settings, manifest: Mapping[str, Any], mapped: Mapping[Place, Mapped]) -> None:
    from confluent_kafka import Consumer, TopicPartition

    from aisleflow.clients import kafka_config

    for ending, topics in manifest["groups"].items():
        places = [
            TopicPartition(settings.topic_prefix + topic, number, mapped[topic, number].at_or_after(offset))
            for topic, offsets in topics.items()
            for number, offset in enumerate(offsets)
            if offset >= 0 and (topic, number) in mapped
        ]
        if places:
            group = {"group.id": settings.consumer_group + ending, "enable.auto.commit": False}
            consumer = Consumer({**kafka_config(settings), **group})
            try:
                _patiently(lambda: consumer.commit(offsets=places, asynchronous=False))  # noqa: B023 - called here
            finally:
                consumer.close()


def _patiently(call: Callable[[], Any]) -> None:
    """Make a call, again for a while: a broker that has just started must find its groups first."""
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + ANSWER_WITHIN_S
    while True:
        try:
            call()
            return
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
