"""The page ``/ask``: a question, its answer, and what the answer rests on. ``/ask?q=...`` asks at once; ``/ask?shop=ID`` of one shop."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import cast
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui

from api.deps import Parts
from api.problems import ProblemError
from api.questions import words
from api.questions.answers import Answer
from api.questions.measures import MEASURES
from api.questions.parser import MOST_CHARACTERS
from api.wall import render

CSS = (Path(__file__).parent.parent / "wall" / "wall.css").read_text() + (Path(__file__).parent / "ask.css").read_text()
MOST_ROWS = 100
CONNECT_S = 60
_FIRST = (
    *("gaps", "low", "sold_out", "backroom", "visitors", "revenue", "units", "conversion", "queue_max", "missing"),
    "dwell",
)


def install(app: FastAPI) -> None:
    """Add the page to the application."""

    @ui.page("/ask", title="Aisleflow: ask")
    async def ask(q: str = "", shop: str = "") -> None:
        desk = cast(Parts, app.state.parts).questions
        shops = frozenset({shop}) if shop else None
        ui.add_css(CSS)
        with ui.element("div").classes("wall ask"):
            with ui.element("header"):
                ui.html(render.BACK, sanitize=False)
                about = f"<small>about {escape(shop)}</small>" if shop else "<small>in plain words</small>"
                ui.html(f'<div class="brand">Ask{about}</div>', sanitize=False)
            with ui.element("form").props('action="/ask" role="search"') as form:
                field = ui.element("input").props(
                    f'name="q" maxlength={MOST_CHARACTERS} autocomplete="off" aria-label="Your question" autofocus '
                    'placeholder="What do I need to restock today?"'
                )
                field.props["value"] = q
                if shop:
                    hidden = ui.element("input").props('type="hidden" name="shop"')
                    hidden.props["value"] = shop
                ui.html("<button>Ask</button>", sanitize=False)
            form.classes("question")
            body = ui.html("", sanitize=False).classes("answer").props('aria-live="polite"')
        if q.strip():
            body.set_content('<p class="none">Looking …</p>')
        try:
            # A page must be there within 3 seconds, and ClickHouse, Kafka or a model may take longer.
            await ui.context.client.connected(timeout=CONNECT_S)
        except TimeoutError:  # nobody is there to be answered
            return
        try:
            if q.strip():
                body.set_content(answered(await desk.ask(q.strip()[:MOST_CHARACTERS], "page", shops), shop))
            else:
                names = await desk.names(shops)
                known = [one for name in _FIRST for one in words.examples_of(MEASURES[name], names)[:1]]
                body.set_content(render.panel("For example", _links(known, shop)))
        except ProblemError as problem:  # ClickHouse or Kafka is away
            body.set_content(f'<div class="banner away">{escape(problem.detail)}</div>')


def answered(answer: Answer, shop: str = "") -> str:
    """An answer as HTML. Everything of it is escaped."""
    if not answer.answered:
        near = render.panel("Ask for example", _links(answer.near, shop)) if answer.near else ""
        return f'<div class="banner late">{escape(answer.reason or "")}</div>{near}'
    notes = [f"Read “{wrong}” as “{right}”." for wrong, right in answer.corrections] + answer.notes
    told = "".join(f"<li>{escape(note)}</li>" for note in notes)
    measure = answer.measure
    meaning = (
        f'<p class="meaning">{escape(_capital(measure.title))}: {escape(measure.definition)}</p>' if measure else ""
    )
    rows = _figure(answer) if _is_figure(answer) else _table(answer)
    parameters = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in (answer.parameters or {}).items()
    )
    return (
        f'<section class="panel"><p class="understood">{escape(answer.understood or "")}</p>'
        f"{f'<ul>{told}</ul>' if told else ''}{rows}{meaning}"
        f"<details open><summary>How it was answered: SQL, {answer.took_ms} ms</summary>"
        f'<pre>{escape(answer.sql or "")}</pre><table class="values">{parameters}</table></details></section>'
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is_figure(answer: Answer) -> bool:
    return len(answer.rows) == 1 and answer.columns == ["value"]


def _figure(answer: Answer) -> str:
    unit = answer.measure.unit if answer.measure else ""
    value = words.cell("value", answer.rows[0]["value"], unit)
    shown = "" if unit == "%" else f" <small>{escape(unit)}</small>"
    return f'<p class="figure">{escape(value)}{shown}</p>'


def _table(answer: Answer) -> str:
    if not answer.rows:
        return '<p class="figure none">None</p>'
    unit = answer.measure.unit if answer.measure else ""
    # What people call it says enough; ids are in the answer of the API.
    hidden = {"store_id"} if "shop" in answer.columns else set()
    if "product" in answer.columns and all(row["product"] for row in answer.rows):
        hidden.add("sku")
    if answer.query is not None and len(answer.query.stores) == 1 and not answer.query.by:
        hidden.add("shop")
    columns = [column for column in answer.columns if column not in hidden]
    figures = [isinstance(answer.rows[0][column], int | float) for column in columns]
    head = "".join(
        f'<th class="{"number" if is_figure and column != "value" else ""}">{escape(words.heading(column, unit))}</th>'
        for column, is_figure in zip(columns, figures, strict=True)
    )
    most = max((abs(row["value"]) for row in answer.rows if isinstance(row.get("value"), int | float)), default=0)
    lines = []
    for row in answer.rows[:MOST_ROWS]:
        cells = []
        for column, is_figure in zip(columns, figures, strict=True):
            text = escape(words.cell(column, row[column], unit))
            if column == "product" and "sku" in hidden:
                text += f" <small>{escape(row['sku'])}</small>"
            if column == "value" and most and isinstance(row[column], int | float):
                share = 100 * abs(row[column]) / most
                cells.append(f'<td class="bar"><i style="width:{share:.1f}%"></i><b>{text}</b></td>')
            else:
                cells.append(f'<td class="{"number" if is_figure else ""}">{text}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    more = "<p class='meaning'>More rows are not shown.</p>" if len(answer.rows) > MOST_ROWS or answer.truncated else ""
    return f'<div class="rows"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>{more}'


def _links(questions: list[str], shop: str) -> str:
    about = f"&shop={quote(shop)}" if shop else ""
    links = "".join(f'<a href="/ask?q={quote(question)}{about}">{escape(question)}</a>' for question in questions)
    return f'<div class="near">{links}</div>'
