"""docs/runbook.md: the messages in its headings are messages that our programs give, so that a search for one finds its
page.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("aisleflow", "api", "infra", "producers", "schemas", "stream_processors")
HEADINGS = re.findall(r"^### (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
# Situations, and messages of other programs.
OTHERS = re.compile(
    r"A (broker|figure) |/health |required variable|.*(max_execution_time|Limit for result|Not enough privileges)"
    r"|SASL |Disconnected|Unsupported SASL|Broker: |Group authorization"
)


@cache
def code() -> str:
    """All of our code, with strings that go on over several lines put together."""
    text = "\n".join(path.read_text() for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def wording(message: str) -> str:
    """The longest run of plain words in a message: what is left when names, numbers and places differ."""
    return max(re.findall(r"(?<!\S)[a-z']+(?:[ -][a-z']+)*(?![\w{/])", message), key=len, default=message)


@pytest.mark.parametrize("heading", [heading for heading in HEADINGS if not OTHERS.match(heading)])
def test_heading_is_a_message_of_ours(heading: str) -> None:
    for message in heading.split(" / "):
        assert wording(message) in code()


def test_every_entry_has_cause_and_fix() -> None:
    entries = re.split(r"^### ", (ROOT / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    assert [entry.splitlines()[0] for entry in entries if "\nCause: " not in entry or "\nDo: " not in entry] == []
    assert len(HEADINGS) == len(set(HEADINGS)) > 20
