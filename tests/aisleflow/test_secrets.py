"""Passwords of the embedded parts, and how another terminal finds them."""

import stat
from pathlib import Path

import pytest

from aisleflow import secrets
from aisleflow.settings import settings


def test_made_once_readable_by_their_owner_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "new"
    assert secrets.load(data_dir) is None
    made = secrets.load_or_create(data_dir)
    assert secrets.load_or_create(data_dir) == secrets.load(data_dir) == made
    assert made.clickhouse_writer != made.clickhouse_analyst
    assert min(len(made.clickhouse_writer), len(made.clickhouse_analyst)) >= 32
    assert stat.S_IMODE((data_dir / "secrets.json").stat().st_mode) == 0o600
    assert secrets.load_or_create(tmp_path / "other") != made


def test_a_file_from_before_the_reader_gets_one_and_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"clickhouse_writer": "w", "clickhouse_analyst": "a"}')
    completed = secrets.load_or_create(tmp_path)
    assert (completed.clickhouse_writer, completed.clickhouse_analyst) == ("w", "a")
    assert secrets.load_or_create(tmp_path) == completed
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_a_salt_is_made_once_readable_by_its_owner_only(tmp_path: Path) -> None:
    salt = secrets.visitor_salt(tmp_path / "new")
    assert secrets.visitor_salt(tmp_path / "new") == salt
    assert secrets.visitor_salt(tmp_path / "other") != salt
    assert len(salt) >= 32
    assert stat.S_IMODE((tmp_path / "new" / "visitor-salt").stat().st_mode) == 0o600


def test_a_salt_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "visitor-salt").write_text("\n")
    with pytest.raises(secrets.SecretsError, match="delete it"):
        secrets.visitor_salt(tmp_path)
    (tmp_path / "visitor-salt").unlink()
    (tmp_path / "visitor-salt").mkdir()
    with pytest.raises(secrets.SecretsError, match="cannot be used"):
        secrets.visitor_salt(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", '{"clickhouse_writer": 1', "[]"])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "secrets.json").write_text(content)
    with pytest.raises(secrets.SecretsError, match="delete it"):
        secrets.load_or_create(tmp_path)


def test_other_commands_find_the_running_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env here
    monkeypatch.setenv("AISLEFLOW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AISLEFLOW_CLICKHOUSE_PORT", "8555")
    monkeypatch.delenv("AISLEFLOW_CLICKHOUSE_URL", raising=False)
    settings.cache_clear()
    try:
        assert settings().clickhouse_url is None
        made = secrets.load_or_create(tmp_path)
        settings.cache_clear()
        found = settings().clickhouse_url
        assert found is not None
        assert found.get_secret_value() == made.clickhouse_url(8555)
        assert made.clickhouse_writer not in repr(settings())
        monkeypatch.setenv("AISLEFLOW_CLICKHOUSE_URL", "http://mine:8123/x")
        settings.cache_clear()
        mine = settings().clickhouse_url
        assert mine is not None
        assert mine.get_secret_value() == "http://mine:8123/x"
    finally:
        settings.cache_clear()
