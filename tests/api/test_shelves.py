"""Photos over HTTP: what is refused before anybody looks, what is missing is said, and a real photo becomes a fact and a picture."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from fastapi.testclient import TestClient

from aisleflow.clients import kafka_config
from aisleflow.settings import Settings
from api.app import create_app
from api.problems import ProblemError
from api.shelves import vision as eye
from api.shelves.pictures import MOST_OF_A_SHOP, Pictures
from api.shelves.routes import MAX_PHOTO_BYTES, _own_planogram
from api.shelves.vision import Vision
from schemas.events import ShelfScan
from tests.api.conftest import as_reader
from tests.producers.cameras.conftest import material, vision

__all__ = ["material", "vision"]

ID = "11111111-1111-4111-8111-1111111111{:02}"
JPEG = {"Content-Type": "image/jpeg"}


def scan(number: int, **more: Any) -> ShelfScan:
    said = {"event_id": ID.format(number), "store_id": "S1", "timestamp": datetime(2026, 3, 3, tzinfo=UTC)}
    return ShelfScan(**{**said, "scan_id": "x", "confidence": 0.9, **more})


def post(api: TestClient, content: bytes, **headers: str) -> Any:
    return api.post("/shelves/scan", params={"store_id": "S1"}, content=content, headers={**JPEG, **headers})


def test_without_a_model_it_says_what_to_set(api: TestClient) -> None:
    answer = post(api, b"\xff\xd8\xff")
    assert (answer.status_code, answer.json()["part"]) == (503, "vision")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "AISLEFLOW_SHELF_MODEL" in answer.json()["detail"]


def test_without_the_extra_it_says_what_to_install(world: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    looks = Vision(world.model_copy(update={"shelf_model": Path("m.tflite")}))
    with pytest.raises(ProblemError, match="make vision") as refused:
        asyncio.run(looks.look({}, b""))
    assert refused.value.status == 503


def test_what_is_no_photo_is_refused_before_it_is_looked_at(api: TestClient) -> None:
    assert post(api, b"{}", **{"Content-Type": "application/json"}).status_code == 415
    assert post(api, b"", **{"Content-Length": str(MAX_PHOTO_BYTES + 1)}).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(MAX_PHOTO_BYTES // 2**20 + 2):
            yield b"\0" * 2**20

    assert api.post("/shelves/scan", params={"store_id": "S1"}, content=endless(), headers=JPEG).status_code == 413
    form = {"params": {"store_id": "S1"}}
    assert api.post("/shelves/scan", **form, files={"other": b"x"}).status_code == 422
    assert api.post("/shelves/scan", **form, data={"planogram": "{}"}, files={"photo": b"x"}).status_code == 503
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    assert api.post("/shelves/scan", **form, content=b"nothing", headers=broken).status_code in (400, 422)
    assert api.post("/shelves/scan", params={"store_id": "../x"}, content=b"x", headers=JPEG).status_code == 422


@pytest.mark.parametrize("path", ["S1/scans/" + ID.format(1), "../scans/" + ID.format(1), "S1/scans/..%2F..%2Fx"])
def test_pictures_that_are_not_there(api: TestClient, path: str) -> None:
    assert api.get(f"/shelves/{path}/picture").status_code in (404, 422)


def test_pictures_are_kept_for_their_time(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path, 7)
    assert pictures.keep(scan(1), b"one") and pictures.keep(scan(2, zone_id="Z"), b"two")
    assert pictures.path("S1", ID.format(1)).read_bytes() == b"one"
    os.utime(tmp_path / "S1" / f"{ID.format(1)}.json", (0, time.time() - 8 * 86_400))
    os.utime(tmp_path / "S1" / f"{ID.format(1)}.jpg", (0, time.time() - 8 * 86_400))
    with pytest.raises(ProblemError, match="No picture"):
        pictures.path("S1", ID.format(1))
    assert [one.event_id for one in pictures.recent("S1", 9)] == [ID.format(2)]
    assert pictures.recent("S2", 9) == []
    pictures.keep(scan(3), b"three")
    assert len(list((tmp_path / "S1").iterdir())) == 4, "what is over is deleted"
    assert not Pictures(tmp_path / "none", 0).keep(scan(1), b"") and not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    assert not Pictures(tmp_path / "file", 7).keep(scan(1), b""), "a folder that cannot be written costs no answer"
    assert MOST_OF_A_SHOP >= 100


def test_planograms_of_this_server(tmp_path: Path) -> None:
    (tmp_path / "S1").mkdir()
    (tmp_path / "S1" / "COLD%2FDAIRY.json").write_text("plan")
    (tmp_path / "secret.json").write_text("no")
    assert _own_planogram(tmp_path, "S1", "COLD/DAIRY") == "plan"
    assert _own_planogram(tmp_path, "S1", "../secret") is None
    assert _own_planogram(tmp_path, "S1", None) is _own_planogram(None, "S1", "Z") is None


ECHO = """
import json, sys, time
while line := sys.stdin.buffer.readline():
    asked = json.loads(line)
    photo = sys.stdin.buffer.read(asked["size"])
    if asked.get("dies"): sys.exit(1)
    if asked.get("sleeps"): time.sleep(60)
    said = {"error": "no photo"} if photo == b"bad" else {"scan": "{}", "notes": []}
    sys.stdout.buffer.write(json.dumps({**said, "size": len(photo)}).encode() + b"\\n" + photo)
    sys.stdout.buffer.flush()
"""


async def test_one_process_one_photo_at_a_time_and_a_new_one_after_trouble(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Vision(world)
    monkeypatch.setattr(looks, "_command", lambda: [sys.executable, "-c", ECHO])
    try:
        found = await asyncio.gather(*(looks.look({}, f"{n}".encode()) for n in range(4)))
        assert [one.picture for one in found] == [b"0", b"1", b"2", b"3"]
        with pytest.raises(ProblemError, match="no photo"):
            await looks.look({}, b"bad")
        with pytest.raises(ProblemError, match="ended") as ended:
            await looks.look({"dies": True}, b"x")
        assert ended.value.status == 503
        monkeypatch.setattr(eye, "PHOTO_WITHIN_S", 0.2)
        monkeypatch.setattr(eye, "MODEL_WITHIN_S", 0.2)
        with pytest.raises(ProblemError, match="send it smaller"):
            await looks.look({"sleeps": True}, b"x")
        monkeypatch.setattr(eye, "MODEL_WITHIN_S", 60)
        left = asyncio.create_task(looks.look({"sleeps": True}, b"x"))
        await asyncio.sleep(0.1)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert (await looks.look({}, b"after")).picture == b"after"
        waiting = [asyncio.create_task(looks.look({"sleeps": True}, b"x")) for _ in range(eye.MOST_WAITING + 1)]
        await asyncio.sleep(0.1)
        with pytest.raises(ProblemError, match="Other photos"):
            await looks.look({}, b"x")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        await looks.close()


def test_a_real_photo_is_a_fact_and_a_picture(world: Settings, vision: None, material: Path, tmp_path: Path) -> None:
    model = material / "models/yolov8n_sku110k_int8_tflite/best_int8.tflite"
    photo = (material / "shelves/sku110k_rows/train_2943.jpg").read_bytes()
    settings = as_reader(world).model_copy(update={"shelf_model": model, "data_dir": tmp_path})
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as api:
        answer = api.post("/shelves/scan", params={"store_id": "S1", "zone_id": "BATH"}, content=photo, headers=JPEG)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert len(said["products"]) > 100 and len(said["rows"]) >= 4
        kept = api.get(said["picture"])
        assert kept.headers["content-type"] == "image/jpeg" and kept.content.startswith(b"\xff\xd8\xff")
        again = api.post("/shelves/scan", params={"store_id": "S1", "zone_id": "BATH"}, files={"photo": photo})
        assert again.json()["event_id"] == said["event_id"]
        refused = api.post("/shelves/scan", params={"store_id": "S1"}, files={"photo": io.BytesIO(b"GIF89a")})
        assert refused.status_code == 422 and "JPEG" in refused.json()["detail"]
    consumer = Consumer({**kafka_config(settings), "group.id": "scans", "auto.offset.reset": "earliest"})
    consumer.subscribe([f"{settings.topic_prefix}shelf-scans"])
    try:
        deadline = time.monotonic() + 30
        while (message := consumer.poll(1)) is None or message.error():
            assert time.monotonic() < deadline
    finally:
        consumer.close()
    assert ShelfScan.model_validate_json(message.value() or b"").event_id == said["event_id"]
    assert json.loads(message.value() or b"")["zone_id"] == "BATH"
