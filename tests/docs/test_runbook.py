"""docs/runbook.md: the messages in its headings are messages that our programs give, so that a search for one finds its
page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "aisleflow",
    "api",
    "connectors",
    "forecasting",
    "grafana",
    "infra",
    "producers",
    "replenishment",
    "schemas",
    "stream_processors",
)
HEADINGS = re.findall(r"^### (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
# Situations, and messages of other programs.
OTHERS = re.compile(
    r"A (broker|figure|panel) |/health |required variable|.*(max_execution_time|Limit for result|Not enough privileges)"
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


# What is told otherwise: to a caller of the API or of SQL with the answer, about a record with its dead letter, to who
# writes the command line (usage), and inside of the program.
ELSEWHERE = re.compile(
    r"BadParameter|ValueError|TypeError|KeyError|LookupError|HTTPException|StatementError|_refusal|UnavailableError|ProblemError"
    r"|DialectError|VersionError|_BadRowError|EOFError|Exit"
    r"|NotUnderstood|Refused|TimeError|QueryError"  # an asker is told, in the answer
)


def messages() -> Iterator[str]:
    """What our code can tell an operator: exceptions, errors of commands, and warnings and errors in the logs.

    Values that it puts into a message are a NUL.
    """
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "footage" in path.parts:  # a tool of tests and benchmarks
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                told = None
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                    if not ELSEWHERE.search(ast.unparse(node.exc.func)):
                        told = text_of(node.exc.args[0])
                elif isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    to_errors = name == "typer.echo" and any(keyword.arg == "err" for keyword in node.keywords)
                    if node.args and (to_errors or re.fullmatch(r"logger\.(warning|error|exception)", name)):
                        told = text_of(node.args[0])
                if told is not None:
                    yield told


def text_of(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    if isinstance(node, ast.BinOp):
        return (text_of(node.left) or "\0") + (text_of(node.right) or "\0")
    return None


def test_every_message_to_an_operator_is_in_the_runbook() -> None:
    page = " ".join((ROOT / "docs" / "runbook.md").read_text().split())
    missing = []
    for message in messages():
        said = wording(message.replace("\0", "{}"))
        # "publish: ERROR" passes on what another message says; a line of progress is no error.
        if "{" not in said and (len(said.split()) > 2 or "_" in said) and said not in page:
            missing.append(f"{said!r} of {message!r}")
    assert missing == []
