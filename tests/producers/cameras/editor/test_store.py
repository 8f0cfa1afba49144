"""The layout file: whole or not at all, newer every time, and nobody's work is overwritten."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from producers.cameras import CameraError
from producers.cameras.editor.drawing import Drawing
from producers.cameras.editor.store import LayoutFile
from schemas.events import StoreLayout
from tests.producers.cameras.editor.test_drawing import SIZE, SQUARE, document


@pytest.fixture
def file(tmp_path: Path) -> LayoutFile:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(document(SQUARE)))
    path.chmod(0o640)
    return LayoutFile(path)


def test_what_is_written_is_newer_and_leaves_nothing_behind(file: LayoutFile) -> None:
    one = Drawing(file.read(), "C", SIZE)
    one.set_zone(0, name="Table")
    file.write(one)
    first = StoreLayout.model_validate_json(file.path.read_bytes())
    file.write(one)
    second = StoreLayout.model_validate_json(file.path.read_bytes())
    assert first.zones[0].name == "Table" and second.timestamp > first.timestamp
    assert [path.name for path in file.path.parent.iterdir()] == ["shop.json"]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640
    assert not one.is_dirty


def test_a_clock_set_back_makes_no_older_layout(file: LayoutFile) -> None:
    one = Drawing({**file.read(), "timestamp": "2096-01-01T00:00:00Z"}, "C", SIZE)
    file.write(one)
    assert one.document["timestamp"] == "2096-01-01T00:00:01Z"


def test_somebody_elses_change_is_not_overwritten(file: LayoutFile) -> None:
    one = Drawing(file.read(), "C", SIZE)
    file.path.write_text(json.dumps(document(SQUARE, SQUARE)))
    with pytest.raises(CameraError, match="reload"):
        file.write(one)
    assert len(json.loads(file.path.read_text())["zones"]) == 2


def test_what_is_no_layout_is_not_written(file: LayoutFile) -> None:
    before = file.path.read_bytes()
    one = Drawing(file.read(), "C", SIZE)
    one.set_zone(0, type="ROOF")
    with pytest.raises(ValidationError):
        file.write(one)
    assert file.path.read_bytes() == before


def test_a_full_disk_leaves_the_old_file(file: LayoutFile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.path.read_bytes()
    one = Drawing(file.read(), "C", SIZE)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CameraError, match="No space left"):
        file.write(one)
    assert file.path.read_bytes() == before and len(list(file.path.parent.iterdir())) == 1


def test_a_file_yet_to_come_is_an_empty_layout(tmp_path: Path) -> None:
    file = LayoutFile(tmp_path / "My shop!.json")
    one = Drawing(file.read(), "CAM-1", SIZE)
    assert one.document["store_id"] == "My-shop"
    file.write(one)
    assert StoreLayout.model_validate_json(file.path.read_bytes()).cameras[0].frame_width == SIZE[0]


@pytest.mark.parametrize("text", ["", "[]", '{"store_id": "S"}', '{"store_id": "S", "zones": [1]}'])
def test_a_file_that_is_no_layout(tmp_path: Path, text: Any) -> None:
    (tmp_path / "shop.json").write_text(text)
    with pytest.raises(CameraError, match="is not valid"):
        LayoutFile(tmp_path / "shop.json").read()


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no folder"):
        LayoutFile(tmp_path / "none" / "shop.json")
