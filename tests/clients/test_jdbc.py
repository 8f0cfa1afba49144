"""ClickHouse's JDBC driver, which DBeaver uses, against the embedded server: jdbc/Analyst.java, compiled and run here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from tests.clients.conftest import Server

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("javac") and shutil.which("mvn")), reason="needs a JDK and Maven"),
]

EXPECTED = {
    "product": "ClickHouse",
    "valid": "true",
    "schemas": "true",
    "tables": "[t|TABLE|Of many types, v|VIEW|]",
    "keys": "[id]",
    "tableTypes": "true",
    "typeInfo": "true",
    "functions": "[windowFunnel]",
    "id.1": "1",
    "name.1": "it's \\ é",
    "at.1": "2026-03-03 14:22:10.123",
    "day.1": "2026-03-03",
    "maybe.1": "null",
    "tags.1": "[a, b]",
    "price.1": "12.5000",
    "yes.1": "true",
    "one.1": "550e8400-e29b-41d4-a716-446655440000",
    "map.1": "{k=1}",
    "wide.1": "170141183460469231731687303715884105727",
    "ip.1": "/1.2.3.4",
    "word.1": "a",
    "both.1": "null",
    "nested.1": "[[1, null], []]",
    "maybe.2": "0.5",
    "tags.2": "[]",
    "wide.2": "-1",
    "both.2": "z",
    "prepared": "[1|it's \\ é]",
    "large": "44999850000",
    "maxRows": "7",
    "cancel": "sent",
    "cancelled": "error 394",
    "syntax": "error 62",
    "unknownTable": "error 60",
    "insert": "error 497",
    "drop": "error 497",
    "file": "error 497",
    "boundedByProperty": "[3]",
    "password": "error 516",
}


def jars(pom: Path) -> Path:
    """The driver and what it needs, fetched once for each version of the pom."""
    name = f"test-jdbc-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    target = platformdirs.user_cache_path("aisleflow") / name
    if not target.is_dir():
        part = target.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        command = ["mvn", "-B", "-q", "-f", str(pom), goal, "-DincludeScope=runtime", f"-DoutputDirectory={part}"]
        subprocess.run(command, check=True, capture_output=True, timeout=240)
        part.rename(target)
    return target


@pytest.fixture(scope="module")
def run(table_of_types: Server, here: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """Runs the program and gives its findings."""
    classes = tmp_path_factory.mktemp("classes")
    path = f"{jars(here / 'jdbc' / 'pom.xml')}/*"
    subprocess.run(
        ["javac", "-cp", path, "-d", str(classes), str(here / "jdbc" / "Analyst.java")], check=True, timeout=60
    )

    def program() -> dict[str, str]:
        where = f"127.0.0.1:{table_of_types.port}/{table_of_types.database}"
        command = [
            "java",
            "-Duser.timezone=UTC",
            "-Dfile.encoding=UTF-8",
            "-Dstdout.encoding=UTF-8",
            "-cp",
            f"{path}:{classes}",
        ]
        command += ["Analyst", where, table_of_types.user, table_of_types.password]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    return program


def test_as_dbeaver_uses_it(run: Callable[[], dict[str, str]]) -> None:
    """Connect, what there is, values of all types, parameters, many rows, cancelling, and what an analyst may not do."""
    found = run()
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED
    assert int(found["version"]) >= 26
    assert "id|UInt64|Its number" in found["columns"]
    assert "at|DateTime64(3, 'UTC')|" in found["columns"]
