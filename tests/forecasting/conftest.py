"""A PostgreSQL of one's own, as Debian's package brings it, and a bucket of S3."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import free_port, process
from tests.forecasting import s3

#: Debian keeps the server's programs out of the path.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join(map(str, [*PROGRAMS, os.environ["PATH"]])))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of an empty database, with a password; its server listens on a free port of loopback."""
    # Not among pytest's folders, which every run of pytest closes to other users again.
    with tempfile.TemporaryDirectory(prefix="aisleflow-postgresql-") as folder, _running(Path(folder)) as address:
        yield address


@contextmanager
def _running(folder: Path) -> Iterator[str]:
    import psycopg

    initdb, postgres = _program("initdb"), _program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    as_user: list[str] = []
    if os.geteuid() == 0:  # which it refuses to run as: Debian's package makes a user for it
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        as_user = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    password, port, data = folder / "password", free_port(), folder / "data"
    password.write_text("s3cret/word")
    password.chmod(0o644)
    initialise = [
        initdb,
        "-D",
        str(data),
        "-U",
        "shop",
        "--auth=scram-sha-256",
        f"--pwfile={password}",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    subprocess.run([*as_user, *initialise, "--no-sync"], check=True, capture_output=True, cwd=folder)
    address = f"postgresql://shop:s3cret%2Fword@127.0.0.1:{port}/postgres"

    def ready() -> bool:
        try:
            psycopg.connect(address, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    options = [f"-cport={port}", "-clisten_addresses=127.0.0.1", f"-cunix_socket_directories={folder}", "-cfsync=off"]
    with process([*as_user, postgres, "-D", str(data), *options], folder / "log", ready):
        yield address


@pytest.fixture(scope="session")
def _storage() -> Iterator[s3.Storage]:
    with s3.serving() as storage:
        yield storage


@pytest.fixture()
def storage(_storage: s3.Storage, monkeypatch: pytest.MonkeyPatch) -> s3.Storage:
    """S3 on loopback, with the bucket ``shop``; AWS's variables lead there."""
    _storage.faults.clear()
    for name, value in _storage.environment().items():
        monkeypatch.setenv(name, value)
    return _storage
