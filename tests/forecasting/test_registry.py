"""The registry of trained models: whole or not at all, verified, promoted and rolled back, by many at once."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from forecasting import registry as registry_module
from forecasting.registry import Card, CorruptArtefactError, DataCard, OvertakenError, Registry, RegistryError
from tests.forecasting.s3 import Storage, answer_lost, forbidden, torn

FILES = {"network.onnx": b"weights", "features.json": b"{}"}


def card(**more: object) -> Card:
    data = DataCard(fingerprint="f" * 64, series=2, days=700, first=date(2025, 1, 1), last=date(2025, 12, 31))
    return Card(data=data, horizon=90, metrics={"wql": 0.2}, quantiles=(0.1, 0.5, 0.9), **more)  # type: ignore[arg-type]


@pytest.fixture()
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", cache=tmp_path / "cache")


@pytest.fixture(params=["folder", "bucket"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """A registry in a folder, and one in a bucket of a server that speaks S3."""
    found: Registry = request.getfixturevalue("bucket" if request.param == "bucket" else "registry")
    return found


@pytest.fixture()
def bucket(storage: Storage, tmp_path: Path) -> Registry:
    return Registry(f"s3://shop/{tmp_path.name}", cache=tmp_path / "cache")


def test_what_is_saved_comes_back(either: Registry) -> None:
    registry = either
    version = registry.save("lstm", FILES, card(settings={"hidden": 64}))
    [found] = registry.versions("lstm")
    assert (found.model, found.version, found.metrics, found.settings) == (
        "lstm",
        version,
        {"wql": 0.2},
        {"hidden": 64},
    )
    assert found == registry.version("lstm", version)
    folder = registry.open(found)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert registry.read(found, "network.onnx") == b"weights"
    assert registry.models() == ["lstm"] and registry.versions("other") == []


def test_promote_and_roll_back(either: Registry) -> None:
    registry = either
    first, second, third = (registry.save("lstm", FILES, card()) for _ in range(3))
    assert registry.promoted("lstm") is None and registry.position("lstm") == 0
    with pytest.raises(RegistryError, match="nothing to go back to"):
        registry.rollback("lstm")
    for version in (first, second, second, third):  # the second time nothing changes
        registry.promote("lstm", version)
    assert registry.position("lstm") == 3
    served = registry.promoted("lstm")
    assert served and served.version == third
    assert [registry.rollback("lstm").version for _ in range(2)] == [second, first]
    with pytest.raises(RegistryError, match="nothing to go back to"):
        registry.rollback("lstm")
    registry.promote("lstm", third)
    assert registry.rollback("lstm").version == first  # what was rolled back from is not returned to
    assert [(p.version, p.action) for p in registry.history("lstm")] == [
        (first, "promote"), (second, "promote"), (third, "promote"), (second, "rollback"), (first, "rollback"),
        (third, "promote"), (first, "rollback"),
    ]  # fmt: skip


def test_a_comparison_that_is_out_of_date_promotes_nothing(either: Registry) -> None:
    registry = either
    first, second, third = (registry.save("lstm", FILES, card()) for _ in range(3))
    registry.promote("lstm", first, instead_of=None)
    registry.promote("lstm", second, instead_of=first)
    with pytest.raises(OvertakenError):
        registry.promote("lstm", third, instead_of=first)
    with pytest.raises(OvertakenError):
        registry.promote("lstm", third, instead_of=None)
    served = registry.promoted("lstm")
    assert served and served.version == second


@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_a_corrupted_artefact_is_refused(registry: Registry, harm: str) -> None:
    good, bad = (registry.save("lstm", FILES, card()) for _ in range(2))
    registry.promote("lstm", good)
    broken = registry.version("lstm", bad)
    path = registry.open(broken) / "network.onnx"
    {"changed": lambda: path.write_bytes(b"weightz"), "cut": lambda: path.write_bytes(b"w"), "gone": path.unlink}[
        harm
    ]()
    for refused in (
        lambda: registry.open(broken),
        lambda: registry.read(broken, "network.onnx"),
        lambda: registry.promote("lstm", bad),
    ):
        with pytest.raises(CorruptArtefactError, match="not the file that was saved"):
            refused()
    served = registry.promoted("lstm")
    assert served and served.version == good


def test_a_corrupted_card_is_left_out(registry: Registry, tmp_path: Path) -> None:
    good, bad = (registry.save("lstm", FILES, card()) for _ in range(2))
    (tmp_path / "models" / "lstm" / "versions" / bad / "card.json").write_text("{")
    assert [found.version for found in registry.versions("lstm")] == [good]
    with pytest.raises(CorruptArtefactError, match="cannot be read"):
        registry.promote("lstm", bad)


@pytest.mark.parametrize("files_before", range(3))
def test_a_crash_while_saving_leaves_no_version(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, files_before: int
) -> None:
    """The power goes after so many files; what is there already stays served, and the rest is swept up a day later."""
    good = registry.save("lstm", FILES, card())
    registry.promote("lstm", good)
    link, done = os.link, iter(range(files_before))

    def dies(source: str, target: Path) -> None:
        if next(done, None) is None:
            raise KeyboardInterrupt
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", dies)
        with pytest.raises(KeyboardInterrupt):
            registry.save("lstm", FILES, card())
        with pytest.raises(KeyboardInterrupt):
            registry.promote("lstm", registry.save("lstm", FILES, card()))
    assert [found.version for found in registry.versions("lstm")] == [good]
    assert registry.prune("lstm") == []
    monkeypatch.setattr(registry_module, "_ABANDONED", registry_module._ABANDONED * -1)
    assert len(registry.prune("lstm")) == 2
    served = registry.promoted("lstm")
    assert served and served.version == good and registry.open(served)


PROMOTES = """
import sys
from forecasting.registry import Registry
registry = Registry(sys.argv[1])
sys.stdin.readline()
for version in sys.argv[2:]:
    registry.promote("lstm", version)
"""


def test_two_processes_promote_at_once(either: Registry) -> None:
    registry = either
    versions = [registry.save("lstm", {"a.json": b"{}"}, card()) for _ in range(4)]
    shares = [versions[0::2], versions[1::2]]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROMOTES, registry.url, *share], stdin=subprocess.PIPE)
        for share in shares
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0]
    told = [promotion.version for promotion in registry.history("lstm")]
    assert sorted(told) == versions
    for share in shares:  # each one's in its order
        assert [version for version in told if version in share] == share
    served = registry.promoted("lstm")
    assert served and served.version == told[-1]


@pytest.mark.parametrize("before", range(3))
def test_storage_that_stops_taking_files_leaves_no_version(storage: Storage, bucket: Registry, before: int) -> None:
    good = bucket.save("lstm", FILES, card())
    bucket.promote("lstm", good)
    storage.faults = [*[None] * before, forbidden]
    with pytest.raises(RegistryError, match="the storage of trained models cannot be used: s3://shop/"):
        bucket.save("lstm", FILES, card())
    assert [found.version for found in bucket.versions("lstm")] == [good]
    served = bucket.promoted("lstm")
    assert served and served.version == good


def test_a_torn_upload_is_never_served(storage: Storage, bucket: Registry) -> None:
    good = bucket.save("lstm", FILES, card())
    bucket.promote("lstm", good)
    storage.faults = [torn]
    bad = bucket.save("lstm", FILES, card())
    with pytest.raises(CorruptArtefactError, match=r"network\.onnx is missing or is not the file that was saved"):
        bucket.promote("lstm", bad)
    storage.faults = [None, None, torn]  # its card
    bucket.save("lstm", FILES, card())
    assert [found.version for found in bucket.versions("lstm")] == [bad, good]
    served = bucket.promoted("lstm")
    assert served and served.version == good and bucket.read(served, "network.onnx") == b"weights"


@pytest.mark.parametrize("number", range(4))
def test_an_answer_that_is_lost_changes_nothing(storage: Storage, bucket: Registry, number: int) -> None:
    """The client asks again, and finds what it wrote itself: in a file, the card or the promotion."""
    storage.faults = [*[None] * number, answer_lost]
    version = bucket.save("lstm", FILES, card())
    bucket.promote("lstm", version)
    assert not storage.faults
    assert [promotion.version for promotion in bucket.history("lstm")] == [version]
    served = bucket.promoted("lstm")
    assert served and served.version == version


def test_prune_keeps_what_is_needed(either: Registry) -> None:
    registry = either
    versions = sorted(registry.save("lstm", FILES, card()) for _ in range(6))
    registry.promote("lstm", versions[0])
    registry.promote("lstm", versions[2])
    assert registry.prune("lstm", keep=2) == [versions[1], versions[3]]
    assert registry.rollback("lstm").version == versions[0]


@pytest.mark.parametrize("name", ["../secret.json", "model.pkl", "weights.pt", "card.json", "", ".json", "a/b.json"])
def test_file_names_that_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(ValueError):
        registry.save("lstm", {name: b""}, card())


@pytest.mark.parametrize("name", ["", "..", "a/b", "Lstm", "x" * 65])
def test_model_names_that_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(ValueError):
        registry.save(name, FILES, card())
    with pytest.raises(ValueError):
        registry.promoted(name)


def test_a_card_of_a_later_release_is_read(registry: Registry, tmp_path: Path) -> None:
    version = registry.save("lstm", FILES, card())
    path = tmp_path / "models" / "lstm" / "versions" / version / "card.json"
    path.write_text(path.read_text().replace('"horizon"', '"new_field": 1, "horizon"', 1))
    assert registry.version("lstm", version).horizon == 90


def test_a_bucket_takes_nothing_twice_and_its_copies_are_verified(either: Registry) -> None:
    registry = either
    version = registry.save("lstm", FILES, card())
    registry.promote("lstm", version)
    with pytest.raises(FileExistsError):
        registry._files.create("lstm/promotions/00000001.json", b"{}")
    found = registry.version("lstm", version)
    if "s3" in registry.url:
        copy = registry.open(found) / "network.onnx"
        copy.chmod(0o644)
        copy.write_bytes(b"harm")
        assert (registry.open(found) / "network.onnx").read_bytes() == b"weights"


def test_a_bucket_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RegistryError, match="need the package s3fs"):
        Registry("s3://shop/models")


def test_storage_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RegistryError, match="the storage of trained models cannot be used"):
        Registry(tmp_path / "file").save("lstm", FILES, card())
