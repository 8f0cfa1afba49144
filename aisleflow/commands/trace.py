"""``aisleflow trace``: the story of a request, from the logs of all parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

# What every line has, or what the command prints in a place of its own.
_KNOWN = {"event", "timestamp", "level", "trace_id", "trace_ids", "traces"}


@dataclass(frozen=True)
class Line:
    """A line of a part's log that belongs to a trace."""

    at: str
    part: str
    fields: dict[str, Any]


def trace(
    trace_id: Annotated[str, typer.Argument(help="As an answer's X-Trace-Id, a log line or a dead letter gives it.")],
    data_dir: Annotated[Path | None, typer.Option(help="Data directory of the system.")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder of *.log files instead, for parts that run elsewhere.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The lines themselves, each with its part.")] = False,
) -> None:
    """Print what became of a request in the order of time: the API, Kafka, the workers' cycle, ClickHouse.

    Exit code 1: no log holds it (any more).
    """
    from aisleflow import running

    folder = logs or running.settings_of(data_dir).data_dir / "logs"
    found = story(folder, trace_id)
    for line in found:
        typer.echo(json.dumps({"part": line.part, **line.fields}) if as_json else told(line))
    if not found:
        typer.echo(f"trace: no log in {folder} holds {trace_id} (any more)", err=True)
        raise typer.Exit(1)


def story(folder: Path, trace_id: str) -> list[Line]:
    """The lines of a trace, and those of the cycles that stored its records, in the order of time."""
    from aisleflow.tracing import w3c_id

    wanted = {trace_id, w3c_id(trace_id)}
    files = [path for path in sorted(folder.glob("*.log*")) if path.suffix in (".log", ".1")]
    own = [line for path in files for line in _lines(path, wanted)]
    cycles = {f"cycle {line.fields['cycle']}" for line in own if line.fields.get("cycle")}
    # A cycle's inserts carry the id of its first request only; all of them name the cycle.
    if cycles:
        own += [line for path in files for line in _lines(path, cycles) if line not in own]
    return sorted(own, key=lambda line: line.at)


def _lines(path: Path, wanted: set[str]) -> Iterator[Line]:
    part = re.sub(r"\.log(\.1)?$", "", path.name)
    with path.open(errors="replace") as file:
        for text in file:
            if not any(word in text for word in wanted):
                continue
            try:
                # What a terminal is told on starting may stand before a part's first line.
                fields = json.loads(text[text.index("{") :])
                ids = {fields.get("trace_id"), fields.get("comment"), *fields.get("trace_ids", ())}
                if ids & wanted:
                    yield Line(fields["timestamp"][:26].rstrip("Z").split("+")[0].ljust(26, "0"), part, fields)
            except (ValueError, KeyError, AttributeError, TypeError):  # not a line of ours
                continue


def told(line: Line) -> str:
    """A line of a log for a person."""
    fields = {name: value for name, value in line.fields.items() if name not in _KNOWN}
    match line.fields.get("event"):
        case "request_complete":
            head = (
                f"{fields.pop('method')} {fields.pop('endpoint')}: {fields.pop('status_code')} "
                f"after {fields.pop('latency_ms')} ms"
            )
        case "published":
            head = f"{fields.pop('records')} records on Kafka"
        case "cycle_stored":
            head = f"stored with {fields.pop('records')} records, {line.fields.get('traces')} requests, in {fields.pop('took_ms')} ms"
        case "statement":
            head = f"{fields.pop('statement')}: {fields.pop('rows')} rows in {fields.pop('took_ms')} ms"
        case other:
            head = str(other)
    rest = " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items()
    )
    return f"{line.at[11:23]}  {line.part:<11} {head}  {rest}".rstrip()
