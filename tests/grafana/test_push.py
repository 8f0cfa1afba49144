"""`aisleflow grafana push` and `links` against a stub of Grafana's HTTP API (tests/grafana/stub.py says what it is and is not)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aisleflow.cli import app
from aisleflow.settings import settings
from grafana import alerts, build
from grafana.push import holds
from tests.conftest import free_port
from tests.grafana.stub import PASSWORD, TOKEN, Grafana, served

SECRET = "analyst-password"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("GRAFANA_TOKEN", "GRAFANA_PASSWORD", "GRAFANA_USER", "ALERT_EMAIL", "ALERT_WEBHOOK", "CLICKHOUSE_URL"):
        monkeypatch.delenv(f"AISLEFLOW_{name}", raising=False)
    monkeypatch.setenv("AISLEFLOW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD", SECRET)
    monkeypatch.setenv("AISLEFLOW_ALERT_EMAIL", "ops@shops.example")
    monkeypatch.setenv("AISLEFLOW_ALERT_WEBHOOK", "https://hooks.example/secret-path")
    monkeypatch.chdir(tmp_path)  # no .env of the working tree
    settings.cache_clear()
    yield
    settings.cache_clear()


def push(url: str, *more: str, token: str | None = TOKEN) -> Result:
    settings.cache_clear()
    words = ["grafana", "push", "--url", url, "--clickhouse", "http://clickhouse:8123/aisleflow", *more]
    return CliRunner().invoke(app, words + (["--token", token] if token else []))


def test_push_brings_everything_and_twice_changes_nothing() -> None:
    grafana = Grafana()
    with served(grafana) as url:
        first = push(url)
        assert first.exit_code == 0, first.output
        assert grafana.dashboards.keys() == build.dashboards().keys()
        assert all(kept["meta"]["folderUid"] == "aisleflow" for kept in grafana.dashboards.values())
        (group,) = grafana.groups.values()
        assert {rule["uid"] for rule in group["rules"]} == {rule.uid for rule in alerts.RULES}
        assert grafana.points["aisleflow-email"]["settings"]["addresses"] == "ops@shops.example"
        assert grafana.policies["routes"][0]["object_matchers"] == [["source", "=", "aisleflow"]]
        assert grafana.policies["receiver"] == "grafana-default-email", "the root of the tree is not ours"
        assert [playlist["name"] for playlist in grafana.playlists.values()] == ["Aisleflow"]
        assert grafana.datasources["aisleflow"]["jsonData"]["username"] == "analyst"
        assert grafana.passwords == {"aisleflow": SECRET}
        assert f"{len(grafana.written)} changed" in first.output

        grafana.written.clear()
        before = json.dumps([grafana.dashboards, grafana.policies, grafana.datasources], sort_keys=True)
        second = push(url)
        assert second.exit_code == 0, second.output
        assert grafana.written == []
        assert "nothing changed" in second.output
        assert json.dumps([grafana.dashboards, grafana.policies, grafana.datasources], sort_keys=True) == before


def test_push_mends_what_differs_and_nothing_else() -> None:
    grafana = Grafana()
    with served(grafana) as url:
        assert push(url).exit_code == 0
        grafana.written.clear()
        grafana.dashboards["aisleflow-wall"]["dashboard"]["panels"][0]["title"] = "somebody's"
        grafana.dashboards["aisleflow-shop"]["meta"]["folderUid"] = "elsewhere"
        next(iter(grafana.groups.values()))["rules"][0]["for"] = "9h"
        done = push(url)
        assert done.exit_code == 0, done.output
        assert grafana.written == [
            "POST /dashboards/db",
            "POST /dashboards/db",
            "PUT /v1/provisioning/folder/aisleflow/rule-groups/Aisleflow",
        ]
        assert grafana.dashboards["aisleflow-wall"]["dashboard"]["version"] == 2
        assert "dashboard Wall: changed" in done.output


def test_routes_of_others_stay() -> None:
    grafana = Grafana()
    theirs = {"receiver": "grafana-default-email", "object_matchers": [["team", "=", "network"]]}
    grafana.policies["routes"] = [theirs]
    with served(grafana) as url:
        assert push(url).exit_code == 0
        assert theirs in grafana.policies["routes"] and len(grafana.policies["routes"]) == 2
        assert push(url).exit_code == 0
        assert len(grafana.policies["routes"]) == 2


def test_what_files_provision_is_left_to_them() -> None:
    grafana = Grafana()
    with served(grafana) as url:
        assert push(url).exit_code == 0
        for kept in grafana.dashboards.values():
            kept["meta"]["provisioned"] = True
            kept["dashboard"]["title"] = "from files"
        grafana.datasources["aisleflow"]["readOnly"] = True
        next(iter(grafana.groups.values()))["rules"][0] |= {"provenance": "file", "for": "9h"}
        for point in grafana.points.values():
            point |= {"provenance": "file", "settings": {}}
        grafana.policies = {"receiver": "aisleflow", "provenance": "file"}
        grafana.playlists.clear()
        grafana.written.clear()
        done = push(url)
        assert done.exit_code == 0, done.output
        assert grafana.written == ["POST /playlists"]


def test_the_password_is_set_when_asked() -> None:
    grafana = Grafana()
    with served(grafana) as url:
        assert push(url).exit_code == 0
        grafana.passwords["aisleflow"] = "old"
        assert push(url).exit_code == 0
        assert grafana.passwords["aisleflow"] == "old"
        assert push(url, "--set-password").exit_code == 0
        assert grafana.passwords["aisleflow"] == SECRET


def test_without_a_password_or_receivers_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLICKHOUSE_ANALYST_PASSWORD", "ALERT_EMAIL", "ALERT_WEBHOOK"):
        monkeypatch.delenv(f"AISLEFLOW_{name}")
    grafana = Grafana()
    with served(grafana) as url:
        done = push(url)
        assert done.exit_code == 0, done.output
        assert "HAS NO PASSWORD" in done.output
        assert "contact points: none" in done.output
        assert grafana.points == {} and "routes" not in grafana.policies


def test_a_user_and_a_password_and_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISLEFLOW_GRAFANA_PASSWORD", PASSWORD)
    grafana = Grafana()
    with served(grafana, under="/grafana") as url:
        done = push(f"{url}/", token=None)
        assert done.exit_code == 0, done.output
        assert len(grafana.dashboards) == len(build.dashboards())


def test_no_secret_is_printed() -> None:
    with served(Grafana()) as url:
        output = push(url).output
    assert not any(secret in output for secret in (SECRET, TOKEN, "secret-path"))


@pytest.mark.parametrize(
    ("prepare", "token", "told"),
    [
        ({}, "wrong", "Grafana answered 401"),
        ({"role": "Viewer"}, TOKEN, "must have the role Admin"),
        ({"plugins": ["prometheus"]}, TOKEN, "grafana cli plugins install grafana-clickhouse-datasource"),
    ],
)
def test_refusals_say_what_to_do(prepare: dict[str, object], token: str, told: str) -> None:
    grafana = Grafana()
    for name, value in prepare.items():
        setattr(grafana, name, value)
    with served(grafana) as url:
        done = push(url, token=token)
    assert done.exit_code == 1
    assert told in done.output
    assert "Traceback" not in done.output


def test_an_address_that_is_not_grafanas() -> None:
    with served(Grafana(), under="/grafana") as url:
        done = push(url.removesuffix("/grafana"))
        assert done.exit_code == 1
        assert "is it Grafana's" in done.output
    done = push(f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == 1
    assert "does not answer" in done.output
    assert push("nonsense").exit_code == 1


def test_links() -> None:
    grafana = Grafana()
    with served(grafana) as url:
        told = CliRunner().invoke(app, ["grafana", "links", "--url", url])
        assert f"{url}/d/aisleflow-wall/?kiosk" in told.output
        assert "--token" in told.output
        told = CliRunner().invoke(app, ["grafana", "links", "--url", url, "--token", TOKEN])
        assert "there is none" in told.output
        assert push(url).exit_code == 0
        told = CliRunner().invoke(app, ["grafana", "links", "--url", url, "--token", TOKEN])
        assert f"{url}/playlists/play/made-up-0?kiosk" in told.output


@pytest.mark.parametrize(
    ("there", "ours", "held"),
    [
        ({"a": 1, "id": 7}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        ({}, {"a": None, "b": False, "c": [], "d": ""}, True),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [1]}, {"a": {"b": 1}}, False),
    ],
)
def test_holds(there: object, ours: object, held: bool) -> None:
    assert holds(there, ours) is held
