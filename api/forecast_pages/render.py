"""From forecasts to HTML. No I/O; everything that comes from outside is escaped. Words stand beside every colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from api.database import Row

if TYPE_CHECKING:
    from forecasting.service import Answer

WIDTH, HEIGHT = 1000, 300
NOTHING = (
    '<div class="panel"><p class="none">No forecasts yet: they are made once the first day of sales is over, or at once by '
    "<code>aisleflow forecast</code>.</p></div>"
)


@dataclass(frozen=True)
class Sold:
    """A day of sales; None where demand is not known."""

    day: date
    units: float | None


def list_link(store_id: str) -> str:
    """The address of a shop's page of forecasts."""
    return f"/shops/{quote(store_id, safe='')}/forecasts"


def article_link(store_id: str, sku: str) -> str:
    """The address of an article's forecast."""
    return f"/shops/{quote(store_id, safe='')}/forecast?{urlencode({'sku': sku})}"


def units(value: float) -> str:
    """A quantity with as many digits as say something: 0.35, 4.2, 1,234."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def fan(sold: Sequence[Sold], before: Mapping[date, float], answer: Answer) -> str:
    """Sales as bars, what was published for them as a line, and the days to come with their intervals.

    Args:
        sold: days of history, in their order without holes.
        before: by day what had been published for it.
        answer: the days to come, which follow ``sold``.
    """
    forecast = answer.forecast
    days = len(sold) + len(forecast.mean)
    first = sold[0].day if sold else forecast.start
    top = max([1.0, *(one.units or 0 for one in sold), *before.values(), *map(float, forecast.quantiles[0.975])])
    step = WIDTH / days

    def x(at: float) -> str:
        return f"{at * step:.1f}"

    def y(value: float) -> str:
        return f"{HEIGHT - min(value / top, 1) * HEIGHT:.1f}"

    bars = "".join(
        f'<rect x="{x(at + 0.12)}" y="{y(one.units)}" width="{step * 0.76:.1f}" height="{HEIGHT * one.units / top:.1f}"/>'
        for at, one in enumerate(sold)
        if one.units
    )
    middle = [len(sold) + at + 0.5 for at in range(len(forecast.mean))]

    def band(low: float, high: float, name: str) -> str:
        above = [f"{x(at)},{y(float(value))}" for at, value in zip(middle, forecast.quantiles[high], strict=True)]
        below = [f"{x(at)},{y(float(value))}" for at, value in zip(middle, forecast.quantiles[low], strict=True)]
        return f'<polygon class="{name}" points="{" ".join([*above, *below[::-1]])}"/>'

    mean = " ".join(f"{x(at)},{y(float(value))}" for at, value in zip(middle, forecast.mean, strict=True))
    told = " ".join(
        f"{x((day - first).days + 0.5)},{y(value)}"
        for day, value in sorted(before.items())
        if first <= day < forecast.start
    )
    total = float(forecast.mean.sum())
    words = (
        f"Units a day: {len(sold)} days sold, then {len(forecast.mean)} days expected, {units(total)} units in all, each with its "
        "80 and 95 % interval"
    )
    old = '<span><i class="old"></i>had been forecast</span>' if told else ""
    return (
        '<div class="fan"><div class="key"><span><i class="sold"></i>sold</span>'
        f'{old}<span><i class="mean"></i>expected</span><span><i class="half"></i>80 %</span>'
        '<span><i class="wide"></i>95 %</span></div>'
        f'<div class="plot"><div class="scale"><span>{units(top)}</span><span>{units(top / 2)}</span><span>0</span></div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{words}">'
        f"{bars}{band(0.025, 0.975, 'wide')}{band(0.1, 0.9, 'half')}"
        + (f'<polyline class="old" points="{told}"/>' if told else "")
        + f'<polyline class="mean" points="{mean}"/>'
        f'<line x1="{x(len(sold))}" x2="{x(len(sold))}" y1="0" y2="{HEIGHT}"/></svg></div>'
        f'<div class="times"><span>{first:%d %b}</span><span style="left:{100 * len(sold) / days:.1f}%">{forecast.start:%d %b}</span>'
        f"<span>{forecast.start + timedelta(days=len(forecast.mean) - 1):%d %b}</span></div></div>"
    )


def head(answer: Answer, name: str) -> str:
    """What is expected, in figures."""
    forecast = answer.forecast
    week = float(forecast.mean[:7].sum())
    days = len(forecast.mean)
    low, high = (float(forecast.quantiles[level][0]) for level in (0.1, 0.9))
    figures = (
        ("next 7 days", units(week)),
        (f"next {days} days", units(float(forecast.mean.sum()))),
        ("first day, 80 % interval", f"{units(low)} to {units(high)}"),
        ("confidence in the total", f"{answer.confidence:.0%}"),
    )
    cells = "".join(f'<div class="kpi"><b>{value}</b><small>{words}</small></div>' for words, value in figures)
    return f'<div class="panel"><h2>{escape(name)}</h2><div class="kpis now">{cells}</div></div>'


def facts(answer: Answer, accuracy: Row | None) -> str:
    """What changed the forecast, how the model did, how the last forecasts did, and what to know."""
    changes = [
        f"<li>{escape(moved.effect.note)}{f' · {moved.units:+.1f} units' if abs(moved.units) >= 0.05 else ''}</li>"
        for moved in answer.moved
    ] or ["<li>Nothing beyond the product's own past: no promotion or season is known of these days.</li>"]
    why = f'<div class="panel"><h2>What changed it</h2><ul>{"".join(changes)}</ul></div>'
    model = (
        f'<div class="panel"><h2>Model: {escape(answer.forecast.model)}</h2><p class="soft">{escape(answer.forecast.reason)}</p>'
        f"{_backtest(answer)}</div>"
    )
    live = f'<div class="panel"><h2>Last week\'s forecast</h2>{_live(accuracy)}</div>'
    know = ""
    if answer.warnings:
        know = f'<div class="panel"><h2>To know</h2><ul>{"".join(f"<li>{escape(one)}</li>" for one in answer.warnings)}</ul></div>'
    return f'<div class="facts">{why}{model}{live}{know}</div>'


def _backtest(answer: Answer) -> str:
    tested = answer.backtest
    if tested is None:
        return '<p class="soft">No backtest: the history is too short.</p>'

    def share(value: float | None, plus: str = "") -> str:
        return "not known" if value is None else f"{value:{plus}.0%}"

    rows = (
        ("windows of the past", f"{len(tested.errors())} of {tested.days} days"),
        ("wrong by, units a day", units(tested.mae)),
        ("of 'as a week ago' (MASE)", "not known" if tested.mase is None else f"{tested.mase:.2f}"),
        ("wrong by, share of sales", share(tested.wape)),
        ("too high or too low", share(tested.bias, "+")),
        ("days within 80 %", share(tested.coverage_80)),
        ("days within 95 %", share(tested.coverage_95)),
    )
    return "<dl>" + "".join(f"<dt>{words}</dt><dd>{value}</dd>" for words, value in rows) + "</dl>"


def _live(accuracy: Row | None) -> str:
    if accuracy is None:
        return '<p class="soft">Not compared yet: it takes a forecast that is a week old.</p>'
    state = '<b class="state late">▲ drifts</b>' if accuracy["drifts"] else '<b class="state live">● as usual</b>'
    return (
        f"<p>{state}</p><dl><dt>wrong by, units a day</dt><dd>{units(accuracy['error'])}</dd>"
        f"<dt>usual in the backtest</dt><dd>{units(accuracy['usual_error'])}</dd>"
        f"<dt>at most there</dt><dd>{units(accuracy['highest_error'])}</dd>"
        f"<dt>{'too high' if accuracy['bias'] > 0 else 'too low'} by</dt><dd>{units(abs(accuracy['bias']))}</dd></dl>"
    )


def outlooks(rows: Sequence[Row], store_id: str) -> str:
    """A shop's articles with what they will sell: those that drift first, then the largest."""
    if not rows:
        return NOTHING
    items = []
    for row in rows:
        name = row["name"] or row["sku"]
        sku = f"<small>{escape(row['sku'])}</small>" if name != row["sku"] else ""
        state = '<span class="state late">▲ drifts</span>' if row["drifts"] else ""
        items.append(
            f'<li><a href="{article_link(store_id, row["sku"])}"><span>{escape(name)}{sku}</span>'
            f"<b>{units(row['week'])}<small>next 7 days</small></b>"
            f"<span>{units(row['low'])} to {units(row['high'])}<small>first day, 80 %</small></span>"
            f"<span>{state}<small>{escape(row['model'])}</small></span></a></li>"
        )
    return f'<div class="panel"><ul class="outlooks">{"".join(items)}</ul></div>'


def accuracy_note(row: Row | None) -> str:
    """How the shop's forecasts did together."""
    if row is None or not row["days"]:
        return ""
    mase = f" ({row['error'] / row['scale']:.2f} of what repeating the week before would)" if row["scale"] > 0 else ""
    state = "Forecasts drift" if row["drifts"] else "Forecasts do as usual"
    kind = "late" if row["drifts"] else "live"
    return (
        f'<div class="panel"><p><b class="state {kind}">{state}</b></p><p class="soft">All articles together were wrong by '
        f"{units(row['error'])} units a day in the week until {row['day']:%d %b}{mase}; usual is {units(row['usual_error'])}, and beyond "
        f"{units(row['highest_error'])} something has changed.</p></div>"
    )
