"""The commands: what is listed, promoted and rolled back, and errors that end with a sentence and not a traceback."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aisleflow import settings as settings_module
from aisleflow.cli import app
from forecasting.registry import Card, DataCard, Registry

DAG = Path(__file__).parents[3] / "examples" / "airflow" / "aisleflow_train.py"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("AISLEFLOW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AISLEFLOW_MODELS_URL", str(tmp_path / "models"))
    settings_module.settings.cache_clear()
    yield Registry(tmp_path / "models")
    settings_module.settings.cache_clear()


def said(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def saved(registry: Registry, wql: float) -> str:
    data = DataCard(fingerprint="", series=1200, days=9, first=date(2026, 1, 1), last=date(2026, 3, 1))
    metrics = {"wql": wql, "mase": 0.9, "coverage_80": 0.81}
    return registry.save("lstm", {"network.onnx": b"graph"}, Card(data=data, horizon=28, metrics=metrics))


def test_versions_are_listed_promoted_and_rolled_back(registry: Registry) -> None:
    assert "no trained models in" in said("models", "list")
    first, second = saved(registry, 0.31), saved(registry, 0.3)
    said("models", "promote", first)
    said("models", "promote", second)
    lines = said("models", "list").splitlines()
    assert lines[1].startswith(f"* lstm    {second}") and lines[2].startswith(f"  lstm    {first}")
    assert re.search(r"1,200 +2026-03-01 +0\.3000 +0\.900 +81\.0%", lines[1])
    assert said("models", "rollback") == f"lstm {first} is served again\n"
    cards = json.loads(said("models", "list", "--json"))
    assert [(card["version"], card["served"]) for card in cards] == [(second, False), (first, True)]
    assert "nothing to go back to" in said("models", "rollback", code=3)
    assert "no version" in said("models", "promote", "20260101T000000.000000Z-0000", code=3)


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--from", "none.csv", "--column", "sku"], "MEANING=NAME", 2),
        (["--from", "none.csv", "--time-zone", "Mars/North"], "not an IANA time zone", 2),
        (["--from", "none.csv", "--country", "XX"], "no public holidays are known", 2),
        (["--from", "none.csv", "--schedule", "daily"], "write five fields", 2),
        (["--from", "mysql://db/shop"], "not from mysql://", 3),
        (["--from", "postgresql://db/shop", "--driver-jar", "none.jar"], "there is no such file", 3),
    ],
)
def test_a_wrong_order_is_explained(registry: Registry, arguments: list[str], message: str, code: int) -> None:
    assert message in " ".join(said("train", *arguments, code=code).replace("│", " ").split())


def test_the_dag_is_python_and_its_command_is_one_of_ours() -> None:
    tree = ast.parse(DAG.read_text())
    commands = [
        keyword.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "bash_command" and isinstance(keyword.value, ast.Constant)
    ]
    assert len(commands) == 2
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "aisleflow"
        group = typer.main.get_command(app)
        while hasattr(group, "commands"):
            group, arguments = group.commands[arguments[0]], arguments[1:]
        group.make_context("dag", arguments)  # refuses what is no option
