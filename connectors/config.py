"""What a connector's YAML file says, and the sources and targets that it makes. docs/connectors.md explains it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from aisleflow.settings import Settings
from connectors.csv_folder import CsvFolder, Folder
from connectors.http import Api, Http
from connectors.mapping import Lookup, Strict
from connectors.pulling import ConnectError, Source, load_cursor, save_cursor
from connectors.rest import Push, Resource, RestSource, RestTarget
from schemas.events import as_problem

MOST_BYTES = 1_048_576


class _Loader(yaml.SafeLoader):
    """YAML whose words are words: no and on are no truth values, 2026-03-03 no date, and branch 017 is not branch 15."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, pattern)
            for tag, pattern in found
            if tag.removeprefix("tag:yaml.org,2002:") not in ("bool", "timestamp", "int")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))


class Config(Strict):
    """One connector: a system, what is pulled of it and what is pushed to it."""

    connector: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,40}$",
        description="Its name. Ids are made of it: another name is another system.",
    )
    every_s: float = Field(30, ge=1, le=86_400, description="Seconds from the end of a pull to the next.")
    lookups: dict[str, Lookup] = Field({})
    api: Api | None = None
    pull: list[Resource] = Field([])
    push: list[Push] = Field([])
    folders: list[Folder] = Field([])

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if not (self.pull or self.push or self.folders):
            raise ValueError("needs something to do: folders, or api with pull or push")
        if (self.api is None) == bool(self.pull or self.push):
            raise ValueError("api goes together with pull and push")
        names = [
            *(one.name for one in self.pull),
            *(one.name for one in self.folders),
            *(one.name for one in self.push),
        ]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the name {sorted(twice)[0]} is given twice")
        maps = [*(one.map for one in self.pull), *(one.map for one in self.folders if one.map is not None)]
        for name in (name for one in maps for name in one.lookups_named()):
            if name not in self.lookups:
                raise ValueError(f"there is no lookup {name!r}")
        return self


def load(path: Path) -> Config:
    """The configuration in a file.

    Raises:
        ConnectError: it cannot be read, or does not fit; the message says where.
    """
    try:
        text = path.read_bytes()
        if len(text) > MOST_BYTES:
            raise ConnectError(f"{path} is larger than {MOST_BYTES:,} bytes")
        return Config.model_validate(yaml.load(text, _Loader))  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConnectError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConnectError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        where, why = as_problem(error)
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ConnectError(f"{path}: {where + ': ' if where else ''}{why}{more}") from None


@dataclass(frozen=True)
class Connector:
    """A connector ready to run."""

    config: Config
    sources: list[Source]
    targets: list[RestTarget]
    state: Path
    """The folder of its cursors."""


def build(config: Config, settings: Settings) -> Connector:
    """Make sources and targets of a configuration.

    Raises:
        ConnectError: a secret is missing.
    """
    name, lookups = config.connector, config.lookups
    state = settings.data_dir.expanduser() / "connect" / name
    sources: list[Source] = [CsvFolder(folder, name, lookups, settings) for folder in config.folders]
    targets = []
    if config.api is not None:
        http = Http(config.api)
        sources += [RestSource(resource, http, name, lookups, settings) for resource in config.pull]
        began = first_run_ms(state) if any(push.since == "now" for push in config.push) else 0
        targets = [
            RestTarget(push, http, name, lookups, began if push.since == "now" else None) for push in config.push
        ]
    return Connector(config, sources, targets, state)


def first_run_ms(state: Path) -> int:
    """When a connector was first made ready, milliseconds since 1970; remembered from then on.

    Raises:
        ConnectError: its file is damaged.
    """
    path = state / "first-run.json"
    known = load_cursor(path)
    if "ms" not in known:
        known = {"ms": int(time.time() * 1000)}
        save_cursor(path, known)
    return int(known["ms"])
