"""Trained models: a folder a version, which one is promoted, and how to go back.

A registry is a folder, or a bucket by ``s3://BUCKET/PREFIX`` (with the package s3fs; keys and endpoint are AWS's own variables)::

    MODEL/versions/VERSION/card.json        what it is; written last, so a version without it does not exist yet
    MODEL/versions/VERSION/network.onnx     and whatever else was saved; the card has every file's SHA-256
    MODEL/promotions/00000001.json          one a promotion or roll-back; the last one says what is served

Every file is created whole and never changed, and creating one that exists fails. So there is nothing to lock: of two
that promote at once both get a place in the order, and what a crash leaves behind is not seen. No file is a pickle: to read
an artefact never runs it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import platformdirs
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from aisleflow import log
from forecasting.series import Series

#: What an artefact may hold: formats that are data and nothing else.
FORMATS = (".safetensors", ".onnx", ".json", ".parquet", ".csv", ".md", ".html", ".png", ".svg", ".txt")

_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{4}")
_CARD = "card.json"
#: A version without a card is one being written, or what a crash left of one. After this long it is the latter.
_ABANDONED = timedelta(days=1)

_log = log.get(__name__)


class RegistryError(Exception):
    """The registry cannot do what it was asked: no such model or version, nothing to go back to, storage away."""


class CorruptArtefactError(RegistryError):
    """A file of an artefact is missing, or is not the one that was saved."""


class OvertakenError(RegistryError):
    """Another version was promoted since the one asked for was compared with what was served."""


def code_version() -> str:
    """The version of Aisleflow that is installed."""
    return installed("aisleflow")


class _Record(BaseModel):
    """What is written is read again by later versions: fields they add are optional, fields they do not know are kept out."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class DataCard(_Record):
    """The sales that a model learnt from."""

    fingerprint: str = Field(description="SHA-256 of the series, so that the same data are known to be the same.")
    series: int = Field(ge=0, description="How many series.")
    days: int = Field(ge=0, description="Days of all series together whose sales are known.")
    first: date = Field(description="The earliest day.")
    last: date = Field(description="The latest day.")

    @classmethod
    def of(cls, series: Sequence[Series]) -> DataCard:
        """Of at least one series; the same in whatever order they come."""
        digest = hashlib.sha256()
        for one in sorted(series, key=lambda one: (one.key, one.start)):
            digest.update(f"{one.key}\0{one.start}\0{one.category}\0".encode())
            for values in (one.quantity, one.promotion, one.price, one.holiday):
                digest.update(b"-" if values is None else np.ascontiguousarray(values, np.float64).tobytes())
        return cls(
            fingerprint=digest.hexdigest(),
            series=len(series),
            days=sum(int(np.isfinite(one.quantity).sum()) for one in series),
            first=min(one.start for one in series),
            last=max(one.end for one in series),
        )


class FileCard(_Record):
    """A file of an artefact."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Card(_Record):
    """A trained model: where it comes from, how good it was, and what it is made of."""

    model: str = Field("", description="Its name in the registry; set when it is saved.")
    version: str = Field(
        "",
        description="When it was saved (UTC) and a random part, such as 20261121T030412.482913Z-9f3c; so the newest sorts last.",
    )
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    code_version: str = Field(default_factory=code_version)
    data: DataCard
    metrics: Mapping[str, float] = Field(default_factory=dict, description="On the held-out window, by name.")
    quantiles: tuple[float, ...] = Field(default=(), description="Of demand, those that it answers.")
    horizon: int = Field(ge=1, description="Days ahead, at most.")
    settings: Mapping[str, JsonValue] = Field(default_factory=dict, description="What it was trained with.")
    files: Mapping[str, FileCard] = Field(default_factory=dict, description="By name; set when it is saved.")


class Promotion(_Record):
    """That a version was promoted, or returned to."""

    version: str
    at: AwareDatetime
    action: Literal["promote", "rollback"]


class Registry:
    """The trained models in a folder or a bucket.

    Args:
        url: path of a folder, made when something is saved, or ``s3://BUCKET/PREFIX``.
        cache: where files of a bucket are kept on this machine; by default in the user's cache folder.

    Raises:
        RegistryError: ``s3://`` without the package s3fs. So do all methods when the storage cannot be reached.
    """

    def __init__(self, url: str | Path, cache: Path | None = None) -> None:
        self.url = str(url)
        self._files: _Files = _Bucket(self.url) if self.url.startswith("s3://") else _Folder(_path(self.url))
        self._cache = cache or Path(platformdirs.user_cache_dir("aisleflow")) / "models"

    def save(self, model_name: str, files: Mapping[str, bytes], card: Card) -> str:
        """Keep a trained model. It is not served before it is promoted.

        Args:
            model_name: small letters, digits, ``-`` and ``_``.
            files: contents by name; only ``FORMATS``.
            card: ``model``, ``version`` and ``files`` are filled in.

        Returns:
            The version.

        Raises:
            ValueError: a name that cannot be, or a format that could run code when it is read.
        """
        _checked(_MODEL, model_name, "model")
        for name in files:
            if _checked(_FILE, name, "file") == _CARD or not name.endswith(FORMATS):
                raise ValueError(
                    f"{name}: an artefact holds {', '.join(FORMATS)}, and its card is made by the registry"
                )
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}"
        about = {name: FileCard(sha256=_digest(content), bytes=len(content)) for name, content in files.items()}
        full = card.model_copy(update={"model": model_name, "version": version, "files": about})
        for name, content in files.items():
            self._files.create(f"{model_name}/versions/{version}/{name}", content)
        self._files.create(f"{model_name}/versions/{version}/{_CARD}", _written(full))
        return version

    def models(self) -> list[str]:
        """The names of all models that have a version."""
        return sorted(name for name in self._files.names("") if _MODEL.fullmatch(name) and self.versions(name))

    def versions(self, model_name: str) -> list[Card]:
        """All versions of a model, the newest first; none of a model that is not known.

        A version whose card cannot be read is left out, with a warning in the log.
        """
        cards = []
        for version in sorted(self._files.names(f"{_checked(_MODEL, model_name, 'model')}/versions"), reverse=True):
            if not _VERSION.fullmatch(version):
                continue
            try:
                cards.append(self._card(model_name, version))
            except FileNotFoundError:
                continue
            except CorruptArtefactError as error:
                _log.warning("model left out", error=str(error))
        return cards

    def version(self, model_name: str, version: str) -> Card:
        """The card of one version.

        Raises:
            RegistryError: there is none.
            CorruptArtefactError: its card cannot be read.
        """
        try:
            return self._card(_checked(_MODEL, model_name, "model"), _checked(_VERSION, version, "version"))
        except FileNotFoundError:
            raise RegistryError(f"no version {version} of the model {model_name} in {self.url}") from None

    def history(self, model_name: str) -> list[Promotion]:
        """All promotions and roll-backs of a model, the oldest first."""
        return [self._promotion(model_name, number) for number in range(1, self.position(model_name) + 1)]

    def position(self, model_name: str) -> int:
        """How often a model was promoted or rolled back: a number that grows when something else is to be served.

        Listing a small folder is all it takes, so a server may ask every second whether to load anew.
        """
        names = self._files.names(f"{_checked(_MODEL, model_name, 'model')}/promotions")
        return max((int(name[:-5]) for name in names if re.fullmatch(r"\d{8}\.json", name)), default=0)

    def promoted(self, model_name: str) -> Card | None:
        """The card of the version that is served; None before the first promotion."""
        if not (position := self.position(model_name)):
            return None
        return self.version(model_name, self._promotion(model_name, position).version)

    def promote(self, model_name: str, version: str, instead_of: str | Literal["any"] | None = "any") -> None:
        """Serve a version from now on. Its files are verified first. Nothing happens if it is served already.

        Args:
            model_name: the model.
            version: of it.
            instead_of: the version that it was compared with (None: that there was none). Any other may be served by default.

        Raises:
            OvertakenError: another one than ``instead_of`` is served by now: compare with that.
            RegistryError: no such version.
            CorruptArtefactError: its files are not what was saved.
        """
        self.open(self.version(model_name, version))

        def next_one(served: list[str]) -> Promotion | None:
            now = served[-1] if served else None
            if instead_of != "any" and now != instead_of:
                raise OvertakenError(
                    f"{version} of {model_name} was compared with {instead_of or 'nothing'}, but {now or 'nothing'} is served by now"
                )
            return None if now == version else Promotion(version=version, at=datetime.now(UTC), action="promote")

        self._append(model_name, next_one)

    def rollback(self, model_name: str) -> Card:
        """Serve what was served before the version that is served now. Rolled back twice, the one before that.

        Returns:
            The card of what is served now.

        Raises:
            RegistryError: nothing was served before.
        """

        def next_one(served: list[str]) -> Promotion:
            if len(served) < 2:
                raise RegistryError(
                    f"nothing to go back to: {model_name} has no earlier promoted version in {self.url}"
                )
            self.open(self.version(model_name, served[-2]))
            return Promotion(version=served[-2], at=datetime.now(UTC), action="rollback")

        self._append(model_name, next_one)
        card = self.promoted(model_name)
        assert card is not None
        return card

    def read(self, card: Card, name: str) -> bytes:
        """One file of an artefact, verified.

        Raises:
            CorruptArtefactError: it is missing, or not what was saved.
        """
        where = f"{card.model}/versions/{card.version}/{_checked(_FILE, name, 'file')}"
        about = card.files.get(name)
        try:
            content = self._files.read(where)
        except FileNotFoundError:
            content = None
        if about is None or content is None or _digest(content) != about.sha256:
            raise CorruptArtefactError(
                f"{self.url}/{where} is missing or is not the file that was saved: promote another version, or train anew"
            )
        return content

    def open(self, card: Card) -> Path:
        """A folder on this machine with the files of an artefact, all verified.

        Raises:
            CorruptArtefactError: one is missing, or not what was saved.
        """
        contents = {name: self.read(card, name) for name in card.files}
        if isinstance(self._files, _Folder):
            return self._files.root / card.model / "versions" / card.version
        kept = self._cache / _digest(self.url.encode())[:16] / card.model / card.version
        local = _Folder(kept)
        for name, content in contents.items():
            if not (kept / name).exists() or _digest(local.read(name)) != card.files[name].sha256:
                (kept / name).unlink(missing_ok=True)
                local.create(name, content)
        return kept

    def prune(self, model_name: str, keep: int = 30) -> list[str]:
        """Delete old versions, and what crashes left of versions that were never complete.

        Kept are the newest ``keep``, the one that is served, and the one that a roll-back would return to.

        Returns:
            The versions that are gone.
        """
        served = _served(self.history(model_name))[-2:]
        complete = [card.version for card in self.versions(model_name)]
        stale = f"{datetime.now(UTC) - _ABANDONED:%Y%m%dT%H%M%S.%fZ}"
        gone = [
            version
            for version in sorted(self._files.names(f"{model_name}/versions"))
            if _VERSION.fullmatch(version)
            and version not in served
            and (version in complete[keep:] or (version not in complete and version < stale))
        ]
        for version in gone:
            self._files.remove(f"{model_name}/versions/{version}")
        return gone

    def _append(self, model_name: str, next_one: Callable[[list[str]], Promotion | None]) -> None:
        """Write the next promotion; if another process takes its place in the order, look again and try the one after."""
        while True:
            history = self.history(model_name)
            if (promotion := next_one(_served(history))) is None:
                return
            try:
                self._files.create(f"{model_name}/promotions/{len(history) + 1:08d}.json", _written(promotion))
            except FileExistsError:
                continue
            return

    def _promotion(self, model_name: str, number: int) -> Promotion:
        where = f"{model_name}/promotions/{number:08d}.json"
        try:
            return Promotion.model_validate_json(self._files.read(where))
        except (FileNotFoundError, ValidationError) as error:
            raise CorruptArtefactError(f"{self.url}/{where} is missing or cannot be read: {error}") from error

    def _card(self, model_name: str, version: str) -> Card:
        where = f"{model_name}/versions/{version}/{_CARD}"
        try:
            card = Card.model_validate_json(self._files.read(where))
        except ValidationError as error:
            raise CorruptArtefactError(f"{self.url}/{where} cannot be read: {error}") from error
        if (card.model, card.version) != (model_name, version):
            raise CorruptArtefactError(f"{self.url}/{where} is the card of {card.model} {card.version}")
        return card


def _served(history: list[Promotion]) -> list[str]:
    """What roll-backs would return to, the served version last: a promotion adds one, a roll-back takes one off."""
    stack: list[str] = []
    for promotion in history:
        if promotion.action == "promote":
            stack.append(promotion.version)
        else:
            stack.pop()
    return stack


def _checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a {what}: it must match {pattern.pattern}")
    return name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _written(record: BaseModel) -> bytes:
    return record.model_dump_json(indent=2).encode()


def _path(url: str) -> Path:
    return Path(url.removeprefix("file://")).expanduser().absolute()


class _Files(Protocol):
    """The four things that a registry does with its storage."""

    def names(self, folder: str) -> list[str]:
        """What a folder holds; nothing if it is not there."""

    def read(self, name: str) -> bytes:
        """A file, or FileNotFoundError."""

    def create(self, name: str, content: bytes) -> None:
        """A new file, whole or not at all; FileExistsError if there is one."""

    def remove(self, folder: str) -> None:
        """A folder and what is in it."""


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Storage that cannot be reached, is full or forbids it, as one kind of error."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        raise RegistryError(
            f"the storage of trained models cannot be used: {url}: {error or type(error).__name__}"
        ) from error


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, folder: str) -> list[str]:
        with _reaching(str(self.root)):
            try:
                return [entry.name for entry in os.scandir(self.root / folder)]
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes:
        with _reaching(str(self.root)):
            return (self.root / name).read_bytes()

    def create(self, name: str, content: bytes) -> None:
        target = self.root / name
        with _reaching(str(self.root)):
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, part = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fchmod(descriptor, 0o644)
                    os.fsync(descriptor)
                os.link(part, target)  # appears with its content, and never in another's place
            finally:
                Path(part).unlink()
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self, folder: str) -> None:
        with _reaching(str(self.root)):
            # The card first: a version that is half gone must not look complete.
            (self.root / folder / _CARD).unlink(missing_ok=True)
            shutil.rmtree(self.root / folder)


class _Bucket:
    def __init__(self, url: str) -> None:
        try:
            import s3fs
        except ImportError:
            raise RegistryError(f"models in a bucket need the package s3fs (make training): {url}") from None
        self._url = url
        self._root = url.removeprefix("s3://").rstrip("/")
        self._fs: Any = s3fs.S3FileSystem(use_listings_cache=False)

    def names(self, folder: str) -> list[str]:
        with _reaching(self._url):
            try:
                found = self._fs.ls(f"{self._root}/{folder}".rstrip("/"), detail=False, refresh=True)
            except FileNotFoundError:
                return []
            return [name.rstrip("/").rsplit("/", 1)[-1] for name in found]

    def read(self, name: str) -> bytes:
        with _reaching(self._url):
            content: bytes = self._fs.cat_file(f"{self._root}/{name}")
            return content

    def create(self, name: str, content: bytes) -> None:
        with _reaching(self._url):
            # Storage that does not know the condition If-None-Match overwrites: AWS, MinIO, Ceph and R2 know it.
            try:
                self._fs.pipe_file(f"{self._root}/{name}", content, mode="create")
            except FileExistsError:
                # After a lost answer the storage's client asks again, and finds what it wrote itself.
                if self.read(name) != content:
                    raise

    def remove(self, folder: str) -> None:
        with _reaching(self._url):
            # The card first, as above.
            if self._fs.exists(f"{self._root}/{folder}/{_CARD}"):
                self._fs.rm_file(f"{self._root}/{folder}/{_CARD}")
            self._fs.rm(f"{self._root}/{folder}", recursive=True)
