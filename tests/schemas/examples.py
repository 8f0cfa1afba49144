"""The records of ``schemas/examples``: valid ones, and invalid ones with the field at fault."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"


@dataclass(frozen=True)
class Invalid:
    """A record that every reader refuses."""

    field: str
    raw: bytes
    schema_can_tell: bool


def valid(topic: str, *, dialect: bool = False) -> dict[str, bytes]:
    """A topic's valid records by name: those in our form, or those of the second camera dialect."""
    paths = sorted((EXAMPLES / topic).glob("*.json"))
    return {path.stem: path.read_bytes() for path in paths if path.stem.startswith("dialect-") is dialect}


def invalid(topic: str) -> dict[str, Invalid]:
    """A topic's invalid records by name."""
    found = {}
    for path in sorted((EXAMPLES / topic / "invalid").glob("*.json")):
        told = json.loads(path.read_bytes())
        raw = told["text"] if "text" in told else json.dumps(told["record"])
        found[path.stem] = Invalid(told["field"], raw.encode(), not told.get("json_schema_cannot_tell", False))
    return found
