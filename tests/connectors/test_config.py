"""Configurations: what is wrong is said with its place, and the document's examples are what they seem."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from connectors import config
from connectors.pulling import ConnectError

DOCUMENT = (Path(__file__).parents[2] / "docs/connectors.md").read_text()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL))
def test_the_documents_examples(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ERP_KEY", "ERP_SECRET", "ODOO_KEY"):
        monkeypatch.setenv(name, "x")
    (tmp_path / "c.yaml").write_text(text)
    connector = config.build(config.load(tmp_path / "c.yaml"), Settings(_env_file=None, data_dir=tmp_path))
    assert connector.sources or connector.targets


def test_the_documents_drop_folder(kafka: str, make_world: Callable[..., Settings], tmp_path: Path) -> None:
    script, output = re.findall(r"```bash\n(.*?)```\n\n```\n(.*?)```", DOCUMENT, re.DOTALL)[0]
    world = make_world(kafka, None, clickhouse_url=None)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | environment(world) | {"PATH": path, "AISLEFLOW_LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("just text", "valid dictionary"),
        ("connector: x", "needs something to do"),
        ("connector: X Y\nfolders: []", "connector: String should match"),
        ("connector: x\nfolders: [{name: a, folder: b, map: {to: visits}}]", r"folders.0.map.to: Input should be"),
        ("connector: x\nfolders: [{name: a, folder: b}]", "needs one of map and clean"),
        ("connector: x\nfolders: [{name: a, folder: b, clean: {}, encoding: klingon}]", "'klingon' is not known"),
        ("connector: x\nfolders: [{name: a, folder: b, clean: {}, encoding: utf-16}]", "use clean"),
        ("connector: x\nfolders: [{name: a, folder: b, clean: {}}, {name: a, folder: c, clean: {}}]", "given twice"),
        ("connector: x\napi: {base_url: 'https://u:p@h'}\nfolders: [{name: a, folder: b, clean: {}}]", "base_url"),
        ("connector: x\nfoldres: []", "foldres: Extra inputs"),
        (
            "connector: x\nfolders: [{name: a, folder: b, map: {to: orders, identity: [n], "
            "fields: {sku: {path: s, lookup: none}}}}]",
            "there is no lookup 'none'",
        ),
    ],
)
def test_what_does_not_fit_is_said(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConnectError, match=message):
        config.load(tmp_path / "c.yaml")


def test_words_of_yaml_are_words(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "connector: x\nlookups: {shops: {017: 2026-03-03, no: on, 18: ST1}}\n"
        "folders: [{name: a, folder: b, map: {to: orders, identity: [No], fields: {sku: {path: No, absolute: true}}}}]"
    )
    found = config.load(tmp_path / "c.yaml")
    assert found.lookups["shops"] == {"017": "2026-03-03", "no": "on", "18": "ST1"}
    assert found.folders[0].map is not None
    assert found.folders[0].map.identity == ["No"]
