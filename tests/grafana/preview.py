"""Pictures of the dashboards without Grafana: ``python -m tests.grafana.preview FOLDER [UID ...]``.

A developer's tool. It fills a ClickHouse with a simulated day, asks each panel's queries as Grafana would, draws the panels at
the size that Grafana gives them, and photographs the page. Texts, figures, colours and places are those of the dashboards; fonts and
charts are only like Grafana's, so that a picture shows whether text fits and reads well, not what Grafana looks like.
"""

# ruff: noqa: E501 - markup and styles

from __future__ import annotations

import argparse
import html
import json
import re
import secrets
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from aisleflow.commands import migrate
from aisleflow.settings import Settings
from grafana import build
from grafana.panels import COLUMNS, GAP_PX, ROW_PX
from tests.conftest import free_port, running_clickhouse
from tests.grafana.macros import ALL, Choice, Window, as_sent
from tests.grafana.simulated import fill
from tests.grafana.test_queries import as_analyst, utc

WIDTH, HEIGHT, MARGIN, TOOLBAR = 1920, 1080, 16, 48
NAMED = {
    "green": "#73bf69",
    "orange": "#ff9830",
    "red": "#f2495c",
    "blue": "#5794f2",
    "text": "#d8d9da",
    "transparent": "transparent",
}
PALETTE = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#fade2a", "#96d98d", "#ca95e5"]
STYLE = """
body{margin:0;background:#111217;color:#ccccdc;font:14px Inter,DejaVu Sans,sans-serif}
.bar{height:48px;line-height:48px;padding:0 16px;font-size:16px;color:#fff}.bar span{float:right;color:#8e8e99;font-size:13px}
.panel{position:absolute;box-sizing:border-box;background:#181b1f;border:1px solid #2c3036;border-radius:2px;overflow:hidden}
.panel>h2{font-size:14px;font-weight:500;margin:0;padding:8px 8px 0;height:24px;color:#ccccdc}
.body{position:absolute;inset:8px}.panel>h2+.body{top:36px}.none{display:flex;height:100%;align-items:center;justify-content:center;color:#9fa7b3;text-align:center;padding:0 20px}
.figure{position:absolute;top:0;bottom:0;display:flex;flex-direction:column;align-items:center;justify-content:center;white-space:nowrap}
.line{position:absolute;left:0;right:0;display:flex;align-items:center;justify-content:space-between;padding:0 12px;border-radius:3px;color:#fff;box-sizing:border-box}
.line b{font-weight:500;white-space:nowrap;margin-left:16px}.line span{overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
table{border-collapse:collapse;width:100%;table-layout:fixed}td,th{height:35px;padding:0 6px;border-bottom:1px solid #25282d;text-align:left;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
th{color:#6e9fff;font-weight:500}td.n,th.n{text-align:right}svg text{fill:#9fa7b3;font-size:12px}
"""


def colour(name: str | None) -> str:
    """A colour of Grafana's by its name."""
    name = name or "text"
    return name if name.startswith("#") else NAMED.get(name, NAMED.get(name.rpartition("-")[2], "#8e8e8e"))


class Field:
    """How the dashboard shows one column: its defaults and the overrides of that name."""

    def __init__(self, panel: dict[str, Any], name: str) -> None:
        self.known = dict(panel["fieldConfig"]["defaults"])
        for override in panel["fieldConfig"].get("overrides", []):
            if override["matcher"]["options"] == name:
                self.known |= {entry["id"]: entry.get("value") for entry in override["properties"]}
        self.name = name

    def title(self, row: dict[str, Any] | None = None, label: str | None = None) -> str:
        told = str(self.known.get("displayName") or (label if label is not None else self.name))
        for key, value in (row or {}).items():
            told = told.replace(f"${{__data.fields.{key}}}", str(value))
        return re.sub(r"\$\{__field\.labels\.\w+\}", label or "", told)

    def text(self, value: Any) -> tuple[str, str | None]:
        """The words or figure, and the colour that mappings or thresholds give it."""
        found: str | None = None
        for mapping in self.known.get("mappings") or []:
            if mapping["type"] == "value" and (result := mapping["options"].get(str(value))):
                return result["text"], colour(result["color"])
            if mapping["type"] == "regex" and re.match(mapping["options"]["pattern"].strip("/"), str(value)):
                found = found or colour(mapping["options"]["result"]["color"])
        if (self.known.get("color") or {}).get("mode") == "thresholds" and isinstance(value, int | float):
            steps = self.known["thresholds"]["steps"]
            found = colour([step["color"] for step in steps if step.get("value") is None or value >= step["value"]][-1])
        if value is None:
            return str(self.known.get("noValue", "-")), None
        return formatted(value, self.known.get("unit"), self.known.get("decimals")), found


def formatted(value: Any, unit: str | None, decimals: int | None) -> str:
    """A value with its unit, as Grafana writes it."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if unit and unit.startswith("time:"):
        return f"{datetime.fromtimestamp(value / 1000, UTC):%H:%M:%S}"
    scales = {
        "s": ((86400, "days"), (3600, "hours"), (60, "mins"), (1, "s")),
        "m": ((1440, "days"), (60, "hours"), (1, "mins")),
        "ms": ((3600_000, "hours"), (60_000, "mins"), (1000, "s"), (1, "ms")),
        "bytes": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1, "B")),
    }
    if unit in scales:
        size, word = next(((size, word) for size, word in scales[unit] if abs(value) >= size), scales[unit][-1])
        return f"{value / size:.{1 if decimals is None else decimals}f} {word}"
    if unit in {"percentunit", "percent"}:
        return f"{value * (100 if unit == 'percentunit' else 1):.{1 if decimals is None else decimals}f}%"
    return f"{value:,.{decimals if decimals is not None else (0 if value == int(value) else 2)}f}"


Result = tuple[list[str], list[tuple[Any, ...]]]


def draw(panel: dict[str, Any], results: list[Result], width: int, height: int) -> str:
    """The inside of a panel."""
    if not any(rows for _, rows in results):
        return f'<div class="none">{html.escape(panel["fieldConfig"]["defaults"]["noValue"])}</div>'
    kind, options = panel["type"], panel.get("options", {})
    names, rows = results[0]
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if kind == "stat" and options["reduceOptions"].get("values"):
        return text_lines(panel, records, height)
    if kind == "stat":
        return large(panel, records[0], width)
    if kind == "table":
        return grid(panel, names, records, height)
    if kind == "bargauge":
        return bars(panel, records, width, height)
    lines = long_to_wide(panel, results)
    return {"timeseries": chart, "heatmap": heat, "state-timeline": timeline}[kind](panel, lines, width, height)


def text_lines(panel: dict[str, Any], records: list[dict[str, Any]], height: int) -> str:
    sizes, field = panel["options"]["text"], Field(panel, "state")
    each = (height - GAP_PX * (len(records) - 1)) / len(records)
    made = []
    for number, record in enumerate(records):
        text, back = field.text(record["state"])
        made.append(
            f'<div class="line" style="top:{number * (each + GAP_PX):.1f}px;height:{each:.1f}px;background:{back}">'
            f'<span style="font-size:{sizes["titleSize"]}px">{html.escape(field.title(record))}</span>'
            f'<b style="font-size:{sizes["valueSize"]}px">{html.escape(text)}</b></div>'
        )
    return "".join(made)


def large(panel: dict[str, Any], record: dict[str, Any], width: int) -> str:
    sizes, each, made = panel["options"]["text"], width / len(record), []
    for number, (name, value) in enumerate(record.items()):
        text, shade = Field(panel, name).text(value)
        made.append(
            f'<div class="figure" style="left:{number * each:.0f}px;width:{each:.0f}px">'
            f'<span style="font-size:{sizes["titleSize"]}px">{html.escape(name)}</span>'
            f'<b style="font-size:{sizes["valueSize"]}px;color:{shade or "#d8d9da"}">{html.escape(text)}</b></div>'
        )
    return "".join(made)


def grid(panel: dict[str, Any], names: list[str], records: list[dict[str, Any]], height: int) -> str:
    fields = [field for name in names if not (field := Field(panel, name)).known.get("custom.hidden")]
    numbers = {field.name for field in fields if isinstance(records[0][field.name], int | float)}
    head = "".join(
        f'<th class="{"n" * (f.name in numbers)}" style="width:{f.known.get("custom.width") or "auto"}px">{html.escape(f.title())}</th>'
        for f in fields
    )
    made = []
    for record in records[: max(1, height // 36 - 1)]:
        cells = ""
        for field in fields:
            text, back = field.text(record[field.name])
            paint = (
                f"background:{back};color:#111"
                if back and "custom.cellOptions" in field.known and back != "transparent"
                else ""
            )
            cells += f'<td class="{"n" * (field.name in numbers)}" style="{paint}">{html.escape(text)}</td>'
        made.append(f"<tr>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(made)}</table>"


def bars(panel: dict[str, Any], records: list[dict[str, Any]], width: int, height: int) -> str:
    if panel["options"]["reduceOptions"].get("values"):
        pairs = [
            (
                " ".join(v for v in r.values() if isinstance(v, str)),
                next(v for v in r.values() if not isinstance(v, str)),
            )
            for r in records
        ]
    else:
        pairs = list(records[0].items())
    most, each = max(value for _, value in pairs) or 1, min(60, height / len(pairs))
    field, made = Field(panel, ""), []
    for number, (name, value) in enumerate(pairs):
        y, inner = number * each, width - 260
        made.append(
            f'<text x="150" y="{y + each / 2 + 4:.0f}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="160" y="{y + 4:.0f}" width="{inner}" height="{each - 8:.0f}" fill="#22252b"/>'
            f'<rect x="160" y="{y + 4:.0f}" width="{inner * value / most:.0f}" height="{each - 8:.0f}" fill="#3274d9"/>'
            f'<text x="{width - 90}" y="{y + each / 2 + 6:.0f}" style="font-size:18px;fill:#5794f2">{html.escape(field.text(value)[0])}</text>'
        )
    return f'<svg width="{width}" height="{height}">{"".join(made)}</svg>'


Lines = dict[str, list[tuple[float, float]]]


def long_to_wide(panel: dict[str, Any], results: list[Result]) -> Lines:
    """Lines by their names, as the plugin makes them of rows."""
    found: Lines = {}
    for names, rows in results:
        for row in rows:
            record = dict(zip(names, row, strict=True))
            at = utc(record.pop("time")).timestamp()
            label = next((value for value in record.values() if isinstance(value, str)), None)
            for name, value in record.items():
                if not isinstance(value, str):
                    found.setdefault(Field(panel, name).title(label=label), []).append((at, float(value)))
    return found


def chart(panel: dict[str, Any], lines: Lines, width: int, height: int) -> str:
    times = [at for line in lines.values() for at, _ in line]
    first, end, left, bottom = min(times), max(times) + 1, 60, height - 44
    defaults = panel["fieldConfig"]["defaults"]
    custom, made = defaults["custom"], []
    stacked = (custom.get("stacking") or {}).get("mode") == "normal"
    floor: dict[float, float] = {}
    top = defaults.get("max") or max(value for line in lines.values() for _, value in line) or 1
    if stacked:
        top = max(sum(dict(line).get(at, 0) for line in lines.values()) for at in set(times))
    field = Field(panel, "")
    for step in range(5):
        y = bottom - (bottom - 10) * step / 4
        made.append(f'<line x1="{left}" x2="{width}" y1="{y:.0f}" y2="{y:.0f}" stroke="#25282d"/>')
        made.append(
            f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{html.escape(field.text(top * step / 4)[0])}</text>'
        )
    for step in range(9):
        at = first + (end - first) * step / 8
        made.append(
            f'<text x="{left + (width - left) * step / 8 - 16:.0f}" y="{bottom + 16}">{datetime.fromtimestamp(at, UTC):%H:%M}</text>'
        )
    legend, x = "", left
    gap = min((b - a for line in lines.values() for (a, _), (b, _) in pairwise(line) if b > a), default=60)
    for number, (name, line) in enumerate(lines.items()):
        shade = PALETTE[number % len(PALETTE)]
        for override in panel["fieldConfig"].get("overrides", []):
            fixed = next((e["value"].get("fixedColor") for e in override["properties"] if e["id"] == "color"), None)
            shade = colour(fixed) if fixed and override["matcher"]["options"] == name else shade
        points = []
        for at, value in line:
            px = left + (width - left) * (at - first) / (end - first)
            low = floor.get(at, 0) if stacked else 0
            floor[at] = low + value
            py, base = bottom - (bottom - 10) * (low + value) / top, bottom - (bottom - 10) * low / top
            if custom["drawStyle"] == "bars":
                wide = (width - left) * gap / (end - first) * 0.8 / (1 if stacked else len(lines))
                shift = 0 if stacked else number * wide
                made.append(
                    f'<rect x="{px + shift:.1f}" y="{py:.1f}" width="{wide:.1f}" height="{max(0, base - py):.1f}" fill="{shade}"/>'
                )
            elif points and custom["lineInterpolation"] == "stepAfter":
                points.append(f"{px:.1f},{points[-1].split(',')[1]}")
            points.append(f"{px:.1f},{py:.1f}")
        if custom["drawStyle"] != "bars":
            made.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{shade}" stroke-width="2"/>')
        legend += f'<rect x="{x}" y="{height - 14}" width="14" height="4" fill="{shade}"/><text x="{x + 18}" y="{height - 8}">{html.escape(name)}</text>'
        x += 40 + 7 * len(name)
    return f'<svg width="{width}" height="{height}">{"".join(made)}{legend}</svg>'


def heat(panel: dict[str, Any], lines: Lines, width: int, height: int) -> str:
    times = sorted({at for line in lines.values() for at, _ in line})
    hours = int((times[-1] - times[0]) // 3600) + 1
    most, made, left = max(value for line in lines.values() for _, value in line) or 1, [], 150
    each, wide = (height - 24) / len(lines), (width - left) / hours
    unit = panel["options"].get("cellValues", {}).get("unit")
    for row, (name, line) in enumerate(sorted(lines.items(), reverse=True)):
        made.append(
            f'<text x="{left - 8}" y="{each * (row + 0.5) + 4:.0f}" text-anchor="end">{html.escape(name)}</text>'
        )
        for at, value in line:
            x, share = left + wide * (at - times[0]) / 3600, (value / most) ** 0.7
            red, green, blue = (round(a + (b - a) * share) for a, b in zip((60, 40, 30), (255, 152, 48), strict=True))
            made.append(
                f'<rect x="{x + 1:.0f}" y="{each * row + 1:.0f}" width="{wide - 2:.0f}" height="{each - 2:.0f}" fill="rgb({red},{green},{blue})"/>'
            )
            made.append(
                f'<text x="{x + wide / 2:.0f}" y="{each * (row + 0.5) + 4:.0f}" text-anchor="middle" style="fill:#fff">{html.escape(formatted(value, unit, None))}</text>'
            )
    for hour in range(0, hours, 2):
        made.append(
            f'<text x="{left + wide * hour:.0f}" y="{height - 6}">{datetime.fromtimestamp(times[0] + 3600 * hour, UTC):%H:%M}</text>'
        )
    return f'<svg width="{width}" height="{height}">{"".join(made)}</svg>'


def timeline(panel: dict[str, Any], lines: Lines, width: int, height: int) -> str:
    first, end = min(line[0][0] for line in lines.values()), max(line[-1][0] for line in lines.values()) + 300
    each, left, made, field = min(60, (height - 24) / len(lines)), 190, [], Field(panel, "state")
    for row, (name, line) in enumerate(lines.items()):
        made.append(
            f'<text x="{left - 8}" y="{each * (row + 0.5) + 4:.0f}" text-anchor="end">{html.escape(name)}</text>'
        )
        before = None
        for (at, value), (until, _) in zip(line, [*line[1:], (end, 0.0)], strict=True):
            text, shade = field.text(int(value))
            x = left + (width - left) * (at - first) / (end - first)
            made.append(
                f'<rect x="{x:.1f}" y="{each * row + 4:.0f}" width="{(width - left) * (until - at) / (end - first) + 0.5:.1f}" height="{each - 8:.0f}" fill="{shade}"/>'
            )
            if text != before:
                made.append(f'<text x="{x + 6:.0f}" y="{each * (row + 0.5) + 4:.0f}" style="fill:#111">{text}</text>')
            before = text
    return f'<svg width="{width}" height="{height}">{"".join(made)}</svg>'


def page(
    board: dict[str, Any], client: Client, window: Window, shops: list[str], width: int, *, toolbar: bool
) -> tuple[str, int]:
    """A dashboard as HTML, and how high it is."""
    many = {
        v["name"]: Choice([ALL] if v.get("includeAll") else shops[0], shops)
        for v in board["templating"].get("list", [])
    }
    column = (width - 2 * MARGIN + GAP_PX) / COLUMNS
    top = TOOLBAR if toolbar else 0
    made, bottom = [], 0
    for panel in board["panels"]:
        place = panel["gridPos"]
        w, h = round(place["w"] * column - GAP_PX), place["h"] * (ROW_PX + GAP_PX) - GAP_PX
        x, y = round(MARGIN + place["x"] * column), top + MARGIN + place["y"] * (ROW_PX + GAP_PX)
        results: list[Result] = []
        for target in panel["targets"]:
            span = window.end - window.start
            sent = as_sent(
                target["rawSql"],
                Window(window.start, window.end, max(span / max(w / 3, 1), timedelta(seconds=15))),
                many,
            )
            answer = client.query(sent)
            results.append((list(answer.column_names), list(answer.result_rows)))
        inside = draw(panel, results, w - 18, h - 18 - (28 if panel.get("title") else 0))
        head = f"<h2>{html.escape(panel['title'])}</h2>" if panel.get("title") else ""
        made.append(
            f'<div class="panel" style="left:{x}px;top:{y}px;width:{w}px;height:{h}px">{head}<div class="body">{inside}</div></div>'
        )
        bottom = max(bottom, y + h)
    bar = (
        f'<div class="bar">{html.escape(board["title"])}<span>preview with simulated shops, not Grafana</span></div>'
        if toolbar
        else ""
    )
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{bar}{''.join(made)}", bottom + MARGIN


def photograph(folder: Path, client: Client, shops: list[str], uids: list[str]) -> None:
    """Each dashboard as a picture; the wall as its kiosk shows it at 1920 by 1080, and at 3840 by 2160 with a device scale factor of 2."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for uid in uids:
            board = build.dashboards()[uid]
            now = datetime.now(UTC)
            hours = 3 if board["time"]["from"] == "now-3h" else 24
            text, height = page(
                board, client, Window(now - timedelta(hours=hours), now), shops, WIDTH, toolbar=uid != "aisleflow-wall"
            )
            (folder / f"{uid}.html").write_text(text)
            for scale in (1, 2) if uid == "aisleflow-wall" else (1,):
                size = {"width": WIDTH, "height": HEIGHT if uid == "aisleflow-wall" else height}
                shot = browser.new_page(viewport=size, device_scale_factor=scale)  # type: ignore[arg-type]
                shot.set_content(text)
                wide = json.loads(
                    shot.evaluate(
                        "JSON.stringify([...document.querySelectorAll('.line span, .figure, td, th')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent))"
                    )
                )
                shot.screenshot(path=folder / (f"{uid}.png" if scale == 1 else f"{uid}-4k.png"))
                shot.close()
            print(f"{uid}: {height} px high; cut off: {wide or 'nothing'}")
        browser.close()


def main() -> None:
    """Fill a ClickHouse, or look at one that is running, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("uids", nargs="*", default=list(build.dashboards()))
    parser.add_argument("--shops", type=int, default=20)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="aisleflow-preview-") as name,
        running_clickhouse(Path(name) / "data", free_port(), secrets.token_hex(8)) as url,
    ):
        settings = Settings(_env_file=None, kafka="127.0.0.1:1", clickhouse_url=f"{url}/aisleflow", data_dir=Path(name))  # type: ignore[arg-type]
        migrate.apply(settings)
        shops = [shop.store_id for shop in fill(settings, chosen.shops)]
        assert urlsplit(url).port
        with as_analyst(settings) as client:
            photograph(chosen.folder, client, shops, chosen.uids or list(build.dashboards()))


if __name__ == "__main__":
    main()
