"""@clickhouse/client of npm against the embedded server: node/analyst.mjs, run here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Server

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="needs Node.js 20 and npm"),
]

FIRST = {
    "id": 1,
    "name": "it's \\ é",
    "at": "2026-03-03 14:22:10.123",
    "maybe": None,
    "tags": ["a", "b"],
    "map": {"k": 1},
}
SECOND = {"id": 2, "name": "two", "at": "2026-03-03 14:22:11.000", "maybe": 0.5, "tags": [], "map": {}}
REFUSED = {
    "insideStream": "395 FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
    "limit": "396 TOO_MANY_ROWS_OR_BYTES",
    "syntax": "62 SYNTAX_ERROR",
    "unknown": "60 UNKNOWN_TABLE",
    "insert": "497 ACCESS_DENIED",
    "drop": "497 ACCESS_DENIED",
    "file": "497 ACCESS_DENIED",
    "setting": "164 READONLY",
    "password": "516 AUTHENTICATION_FAILED",
}


@pytest.fixture(scope="module")
def found(table_of_types: Server, here: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the program found."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "analyst.mjs"):
        shutil.copy(here / "node" / name, folder)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=120)
    server = f"http://127.0.0.1:{table_of_types.port}"
    command = ["node", "analyst.mjs", server, table_of_types.user, table_of_types.password, table_of_types.database]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    findings: dict[str, object] = json.loads(done.stdout)
    return findings


def test_formats(found: dict[str, object]) -> None:
    assert (found["ping"], found["pingSelect"]) == (True, True)
    assert found["JSONEachRow"] == [FIRST, SECOND]
    assert isinstance(found["JSON"], dict)
    assert found["JSON"]["data"] == [FIRST, SECOND]
    assert found["JSONObjectEachRow"] == {"row_1": FIRST, "row_2": SECOND}
    compact = found["JSONCompactEachRowWithNamesAndTypes"]
    assert isinstance(compact, list)
    assert compact[0] == list(FIRST)
    assert compact[2:] == [list(FIRST.values()), list(SECOND.values())]
    assert isinstance(found["JSONColumnsWithMetadata"], dict)
    assert found["JSONColumnsWithMetadata"]["data"]["name"] == ["it's \\ é", "two"]
    assert found["CSV"] == '"id","name"\n1,"it\'s \\ é"\n2,"two"\n'


def test_parameters_and_streams(found: dict[str, object]) -> None:
    assert found["parameters"] == [
        {
            "text": "it's \\ \n é",
            "day": "2026-03-03",
            "at": "2026-03-03 14:22:10.123",
            "list": ["a'b", "c"],
            "nothing": None,
            "map": {"k": 1},
        }
    ]
    assert found["stream"] == [300_000, 44_999_850_000]
    assert found["lowered"] == [{"held": 5}]
    assert (found["queryId"], found["summary"]) == ("a-name-of-mine", True)


def test_errors_are_told_as_a_real_server_tells_them(found: dict[str, object]) -> None:
    assert {name: found[name] for name in REFUSED} == REFUSED
    assert "aborted" in str(found["abort"])
