"""A table of many types in the embedded server, for clients that are not ours."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import pytest

from tests.conftest import free_port, running_clickhouse

_TABLE = """
CREATE TABLE client_test.t
(
    id UInt64 COMMENT 'Its number', name LowCardinality(String), at DateTime64(3, 'UTC'), day Date, maybe Nullable(Float64),
    tags Array(String), price Decimal(18, 4), yes Bool, one UUID, map Map(String, UInt8), wide Int128, ip IPv4, word Enum8('a' = 1),
    both LowCardinality(Nullable(String)), nested Array(Array(Nullable(Int32)))
)
ENGINE = ReplacingMergeTree ORDER BY id COMMENT 'Of many types'
"""
_ROWS = r"""
INSERT INTO client_test.t VALUES
    (1, 'it\'s \\ é', '2026-03-03 14:22:10.123', '2026-03-03', NULL, ['a', 'b'], 12.5, true, '550e8400-e29b-41d4-a716-446655440000',
     {'k': 1}, 170141183460469231731687303715884105727, '1.2.3.4', 'a', NULL, [[1, NULL], []]),
    (2, 'two', '2026-03-03 14:22:11', '2026-03-03', 0.5, [], 0.0001, false, '550e8400-e29b-41d4-a716-446655440001',
     {}, -1, '0.0.0.0', 'a', 'z', [])
"""


@dataclass(frozen=True)
class Server:
    """Where the table is, and who may read it."""

    port: int
    password: str
    user: str = "analyst"
    database: str = "client_test"


@pytest.fixture(scope="session")
def table_of_types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own with the table ``t`` and the view ``v`` in ``client_test``: what the clients list must be known."""
    port = free_port()
    with running_clickhouse(tmp_path_factory.mktemp("typed") / "data", port, secrets.token_hex(16)) as url:
        with clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False) as writer:
            for sql in (
                "CREATE DATABASE client_test",
                _TABLE,
                _ROWS,
                "CREATE VIEW client_test.v AS SELECT id, name FROM client_test.t FINAL",
            ):
                writer.command(sql)
        password = urlsplit(url).password
        assert password
        yield Server(port, password[::-1])


@pytest.fixture(scope="session")
def here() -> Path:
    """The folder of these tests."""
    return Path(__file__).parent
