"""A full disk under the embedded ClickHouse: what it confirms is stored, and what it cannot store it refuses."""

from __future__ import annotations

import secrets
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.conftest import free_port, running_clickhouse
from tests.faults.system import Disk

pytestmark = pytest.mark.system


def rows(first: int) -> bytes:
    return b"\n".join(b'[%d,"%s"]' % (first + number, secrets.token_hex(40).encode()) for number in range(500))


@pytest.mark.parametrize("may_mount", [True, False], ids=["a disk of its own", "a limit on file sizes"])
def test_what_is_confirmed_on_a_full_disk_is_stored(tmp_path: Path, may_mount: bool) -> None:
    def pid() -> int:
        (found,) = (
            int(process.parent.name)
            for process in Path("/proc").glob("[0-9]*/cmdline")
            if str(tmp_path / "data").encode() in process.read_bytes()
        )
        return found

    disk = Disk(tmp_path / "data", pid, size_mib=256, may_mount=may_mount)
    try:
        with (
            running_clickhouse(disk.folder, free_port(), secrets.token_hex(8)) as url,
            clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False) as client,
        ):
            client.command("CREATE DATABASE d")
            client.database = "d"
            client.command("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
            client.raw_insert("t", ["a", "b"], rows(0), fmt="JSONCompactEachRow")
            disk.fill()
            with pytest.raises(DatabaseError):
                client.raw_insert("t", ["a", "b"], rows(500), fmt="JSONCompactEachRow")
            disk.free()
            assert client.command("SELECT count() FROM t") == 500
            client.raw_insert("t", ["a", "b"], rows(500), fmt="JSONCompactEachRow")
            assert client.command("SELECT uniqExact(a) FROM t") == 1000
    finally:
        disk.remove()
