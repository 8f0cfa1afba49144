"""The exported contracts: current, valid as JSON Schema and AsyncAPI, and with a history.

``asyncapi-3.0.0.json`` is ``schemas/3.0.0-without-$id.json`` of npm's ``@asyncapi/specs`` 6.11.1, unchanged
(Apache-2.0).
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from typer.testing import CliRunner

from aisleflow.cli import app
from aisleflow.commands import contracts
from schemas import export
from schemas.reading import Refusal
from schemas.topics import TOPICS
from stream_processors.engine.dead_letters import DeadLetter

ASYNCAPI = Draft7Validator(json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_bytes()))


def exported(name: str, folder: Path = export.EXPORTED) -> Any:
    return json.loads((folder / name).read_bytes())


def test_committed_contracts_are_current() -> None:
    result = CliRunner().invoke(app, ["contracts", "export", "--check"])
    assert result.exit_code == 0, result.output


def test_the_models_break_nothing_published() -> None:
    result = CliRunner().invoke(app, ["contracts", "compatibility"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", sorted(export.events()))
def test_each_event_has_a_json_schema(name: str) -> None:
    schema = exported(f"{name}.json")
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:aisleflow:event:{name}"
    assert schema["type"] == "object"
    assert {"Product": "sku", "Question": "event_id"}.get(name, "store_id") in schema["required"]


def test_asyncapi_document_is_valid() -> None:
    ASYNCAPI.validate(exported("asyncapi.json"))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (["channels", "visit-events", "bindings", "kafka", "partitions"], "eight"),
        (["channels", "visit-events", "bindings", "kafka", "topicConfiguration", "cleanup.policy"], ["keep"]),
        (["operations", "sendVisitEvents", "action"], "push"),
    ],
)
def test_the_validator_sees_what_is_wrong(path: list[str], wrong: Any) -> None:
    document = exported("asyncapi.json")
    holder = document
    for part in path[:-1]:
        holder = holder[part]
    assert path[-1] in holder
    holder[path[-1]] = wrong
    assert not ASYNCAPI.is_valid(document)


def test_asyncapi_document_says_what_the_registry_says() -> None:
    document = exported("asyncapi.json")
    assert list(document["channels"]) == list(TOPICS)
    for topic in TOPICS.values():
        kafka = document["channels"][topic.name]["bindings"]["kafka"]
        assert kafka["partitions"] == topic.partitions
        assert {name: _as_text(value) for name, value in kafka["topicConfiguration"].items()} == topic.config
        dead_letters = document["channels"][topic.name].get("x-dead-letters")
        assert dead_letters == (topic.dead_letters and {"$ref": f"#/channels/{topic.dead_letters}"})


def _as_text(setting: Any) -> str:
    return ",".join(setting) if isinstance(setting, list) else str(setting)


def test_every_reference_leads_somewhere() -> None:
    document = exported("asyncapi.json")
    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))
    assert len(references) > 3 * len(TOPICS)
    for reference in references:
        file, _, pointer = reference.partition("#")
        target = exported(file) if file else document
        for part in filter(None, pointer.split("/")):
            target = target[part]


def test_dead_letters_carry_the_headers_that_are_documented() -> None:
    letter = DeadLetter("visit-events", 0, 7, b"S1", b"{", "read", Refusal("timestamp", "is missing"))
    assert [name for name, _ in letter.headers] == list(export.DEAD_LETTER_HEADERS)


def test_nothing_exported_names_a_network_address() -> None:
    for path in export.EXPORTED.rglob("*.json"):
        addresses = set(re.findall(r"\w+://[^\"]+", path.read_text()))
        assert addresses <= {export.JSON_SCHEMA_DIALECT}, path.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export.write(tmp_path)
    return tmp_path


def test_writing_again_changes_nothing(folder: Path) -> None:
    assert export.stale(folder) == []
    assert export.write(folder) == []


def test_a_replaced_version_stays_in_the_history(folder: Path) -> None:
    before = exported("VisitEvent.json", folder)
    del before["properties"]["zone_id"]
    (folder / "VisitEvent.json").write_text(json.dumps(before))
    assert set(export.stale(folder)) == {"VisitEvent.json", "history/VisitEvent.1.json", "asyncapi.json"}
    export.write(folder)
    assert exported("history/VisitEvent.1.json", folder) == before
    assert "zone_id" in exported("VisitEvent.json", folder)["properties"]
    assert exported("asyncapi.json", folder)["info"]["version"] == "1.1.0"
    assert export.stale(folder) == []


def test_other_words_are_no_other_version(folder: Path) -> None:
    before = exported("VisitEvent.json", folder)
    before["properties"]["zone_id"]["description"] = "Where."
    (folder / "VisitEvent.json").write_text(json.dumps(before))
    assert export.write(folder) == ["VisitEvent.json"]


def test_a_file_that_nothing_exports_is_stale(folder: Path) -> None:
    (folder / "Gone.json").write_text("{}")
    assert export.stale(folder) == ["Gone.json"]


def _publish_a_field_that_is_gone(folder: Path) -> None:
    schema = exported("VisitEvent.json", folder)
    schema["properties"]["mood"] = {"type": "string"}
    (folder / "history").mkdir(exist_ok=True)
    (folder / "history" / "VisitEvent.1.json").write_text(json.dumps(schema))


def test_compatibility_with_a_folder_looks_at_its_history(folder: Path) -> None:
    assert CliRunner().invoke(app, ["contracts", "compatibility", "--base", str(folder)]).exit_code == 0
    _publish_a_field_that_is_gone(folder)
    result = CliRunner().invoke(app, ["contracts", "compatibility", "--base", str(folder)])
    assert result.exit_code == 1
    assert "BREAKS  VisitEvent.mood: the field was removed." in result.output


def test_compatibility_with_a_git_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = tmp_path / "schemas" / "exported"
    export.write(published)
    monkeypatch.setattr(contracts, "ROOT", tmp_path)
    contracts._git("init", "--quiet")
    person = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    contracts._git("add", ".")
    contracts._git(*person, "commit", "--quiet", "--no-verify", "-m", "first")
    _publish_a_field_that_is_gone(published)
    contracts._git("add", ".")
    contracts._git(*person, "commit", "--quiet", "--no-verify", "-m", "second")
    assert contracts.findings("HEAD~1") == []
    assert [finding.place for finding in contracts.findings("HEAD")] == ["VisitEvent.mood"]


@pytest.mark.parametrize("base", ["no-such-revision", "--output=/tmp/x", ""])
def test_a_base_that_is_none_is_told(base: str) -> None:
    result = CliRunner().invoke(app, ["contracts", "compatibility", f"--base={base}"])
    assert result.exit_code == 3
    assert result.output.startswith("contracts compatibility: ")


def test_export_refuses_to_break_what_is_published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish_a_field_that_is_gone(folder)
    monkeypatch.setattr(export, "EXPORTED", folder)
    (folder / "Price.json").unlink()
    result = CliRunner().invoke(app, ["contracts", "export"])
    assert result.exit_code == 1
    assert "VisitEvent.mood" in result.output
    assert not (folder / "Price.json").exists()


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no <!-- topics"):
        export.with_table("# Contracts\n")
