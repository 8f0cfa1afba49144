"""``aisleflow ask``: a question in plain words, answered by the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

TIMEOUT_S = 180  # a model may have been asked
MOST_ROWS = 40


def ask(
    question: Annotated[str, typer.Argument(help='In a sentence: "What do I need to restock in Leeds today?"')],
    shop: Annotated[list[str] | None, typer.Option(help="Ask of this shop only, by store_id; may be repeated.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the API; by default the one of the running system.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="API key; by default one of AISLEFLOW_API_KEYS.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data directory of the system.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as the API gives it.")] = False,
) -> None:
    """Ask in plain words: the question as it was understood, the rows, and the SQL that gave them.

    Exit code 1: it was not understood, and nothing was asked of ClickHouse. 2: the API does not answer.
    """
    import json

    from rich.console import Console

    from aisleflow import running

    settings = running.settings_of(data_dir)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - compared
    chosen = url or f"http://{host}:{settings.api_port}"
    keys = sorted(settings.api_key_set)
    status, answer = _post(f"{chosen.rstrip('/')}/questions", key or (keys[0] if keys else ""), question, shop or [])
    if status != 200:
        typer.echo(f"ask: {answer.get('detail', f'the API answered {status}')}", err=True)
        raise typer.Exit(2)
    if as_json:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        console = Console()
        for part in shown(answer, console):
            console.print(part)
    raise typer.Exit(0 if answer["answered"] else 1)


def _post(url: str, key: str, question: str, shops: list[str]) -> tuple[int, dict[str, Any]]:
    import orjson
    import urllib3

    body = orjson.dumps({"question": question, "shops": shops})
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    try:
        with urllib3.PoolManager(retries=False) as pool:
            answer = pool.request("POST", url, body=body, headers=headers, timeout=TIMEOUT_S)
            found = orjson.loads(answer.data)
    except (urllib3.exceptions.HTTPError, orjson.JSONDecodeError) as error:
        detail = f"the API at {url} does not answer ({type(error).__name__}): start `aisleflow up`, or give --url"
        return 0, {"detail": detail}
    return answer.status, found if isinstance(found, dict) else {}


def shown(answer: dict[str, Any], console: Console) -> list[RenderableType]:
    """An answer for a terminal, from top to bottom."""
    from rich.padding import Padding
    from rich.syntax import Syntax
    from rich.text import Text

    if not answer["answered"]:
        near = [Text(f"  {question}") for question in answer["near"]]
        return [Text(answer["reason"], style="yellow"), *([Text("Ask for example:"), *near] if near else [])]
    parts: list[RenderableType] = [Text(answer["understood"], style="bold")]
    parts += [Text(f"Read “{wrong}” as “{right}”.", style="yellow") for wrong, right in answer["corrections"]]
    parts += [Text(note, style="yellow") for note in answer["notes"]]
    parts.append(_table(answer))
    if (measure := answer["measure"]) is not None:
        parts.append(Text(f"{measure['title'].capitalize()}: {measure['definition']}", style="dim"))
    parameters = ", ".join(f"{name} = {value}" for name, value in (answer["parameters"] or {}).items())
    sql = Syntax(answer["sql"], "sql", theme="ansi_dark", background_color="default", word_wrap=True)
    parts += [
        Text(""),
        Padding(sql, (0, 2)),
        Text(f"  {parameters}", style="dim"),
        Text(f"{answer['took_ms']} ms", style="dim"),
    ]
    return parts


def _table(answer: dict[str, Any]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from api.questions.words import cell, heading

    rows = answer["rows"]
    # What people call it says enough; ids are in --json.
    columns = [column for column in answer["columns"] if column != "store_id" or "shop" not in answer["columns"]]
    if not rows:
        return Text("None.", style="bold green")
    unit = (answer["measure"] or {}).get("unit", "")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        number = isinstance(rows[0][column], int | float) and column not in ("weekday", "hour")
        table.add_column(heading(column, unit), justify="right" if number else "left", overflow="fold")
    for row in rows[:MOST_ROWS]:
        table.add_row(*(cell(column, row[column], unit) for column in columns))
    if len(rows) > MOST_ROWS or answer["truncated"]:
        table.caption = f"the first {min(len(rows), MOST_ROWS)} rows; --json has up to 1,000"
    return table
