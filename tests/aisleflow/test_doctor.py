"""The doctor's findings, on this machine and on machines that lack something."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aisleflow import doctor
from aisleflow.cli import app
from aisleflow.settings import Settings
from infra.kafka import broker
from tests.conftest import free_port

PORTS = ("api_port", "kafka_port", "kafka_controller_port", "clickhouse_port", "metrics_port")


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., dict[str, doctor.Finding]]:
    def look(**settings: Any) -> dict[str, doctor.Finding]:
        chosen = {name: free_port() for name in PORTS} | {"data_dir": tmp_path / "new" / "data"} | settings
        return {finding.what: finding for finding in doctor.examine(Settings(_env_file=None, **chosen))}

    return look


def test_this_machine_will_do(examine: Callable[..., dict[str, doctor.Finding]]) -> None:
    findings = examine()
    assert {"Python", "Packages", "Java", "Kafka", "Data directory", "Disk", "Memory"} <= findings.keys()
    assert not [finding for finding in findings.values() if finding.verdict == "fail"]


def test_a_taken_port_names_the_setting(examine: Callable[..., dict[str, doctor.Finding]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = examine(api_port=port)[f"Port {port}"]
    assert (finding.verdict, "AISLEFLOW_API_PORT" in finding.advice) == ("warn", True)
    assert examine(kafka_port=port, clickhouse_port=port)[f"Port {port}"].verdict == "fail"


def test_own_servers_need_neither_java_nor_their_ports(examine: Callable[..., dict[str, doctor.Finding]]) -> None:
    findings = examine(
        kafka="kafka:9092", clickhouse_url="http://u:p@clickhouse:8123/d", kafka_port=1, clickhouse_port=2
    )
    assert not {"Java", "Kafka", "Maven", "Port 1", "Port 2"} & findings.keys()


def test_without_java_and_maven(
    examine: Callable[..., dict[str, doctor.Finding]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(broker, "jars_dir", lambda: tmp_path / "none")
    findings = examine()
    assert findings["Java"].verdict == findings["Maven"].verdict == "fail"
    assert "install" in findings["Java"].advice
    assert "install Maven" in findings["Maven"].advice


def test_too_little_room(examine: Callable[..., dict[str, doctor.Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_GIB", (1e6, 1e7))
    monkeypatch.setattr(doctor, "MEMORY_GIB", (0.0, 1e7))
    findings = examine()
    assert (findings["Disk"].verdict, findings["Memory"].verdict) == ("fail", "warn")


def test_a_data_directory_that_is_a_file(examine: Callable[..., dict[str, doctor.Finding]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert examine(data_dir=tmp_path / "file" / "data")["Data directory"].verdict == "fail"


def test_the_exit_code_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PORTS:
        monkeypatch.setenv(f"AISLEFLOW_{name.upper()}", str(free_port()))
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    monkeypatch.setattr(doctor, "DISK_GIB", (1e6, 1e7))
    bad = CliRunner().invoke(app, ["doctor"])
    assert bad.exit_code == 1
    assert "fail Disk" in bad.output
