"""What the dashboards share: panels with their units, words beside colours and reasons for emptiness, and their place in the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_kinds

from grafana.query import DATASOURCE, Ask, ClickHouseQuery, clean, explore

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"
#: Backgrounds of large figures: dark enough for white letters.
SOLID = {GREEN: "#1a7f37", ORANGE: "#b35900", RED: "#b3121d", BLUE: "#1f5fa8", GREY: "#464c54"}

Words = Mapping[str, tuple[str, str]]
SEVERITY: Words = {"CRITICAL": ("Critical", RED), "WARN": ("Warning", ORANGE), "INFO": ("Note", BLUE)}
CAMERA: Words = {
    "ONLINE": ("Online", GREEN),
    "DEGRADED": ("Degraded", ORANGE),
    "FROZEN": ("Frozen", RED),
    "OFFLINE": ("Offline", RED),
    "UNHEARD": ("Not heard", RED),
    "ENDED": ("Ended", GREY),
}
NO_EVENTS = "No events in this window: choose a longer one, or see whether cameras and workers run (Pipeline health)"

#: Pixels of a row of the grid and of the gap between two.
ROW_PX, GAP_PX = 30, 8
COLUMNS = 24


def words(mapping: Words) -> list[models.ValueMapping]:
    """A value as a word and a colour."""
    results = {
        value: models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(mapping.items())
    }
    return [models.ValueMap(options=results)]


def beginnings(colours: Mapping[str, str]) -> list[models.ValueMapping]:
    """The colour of a text by how it begins; the text stays."""
    return [
        models.RegexMap(
            options=models.DashboardRegexMapOptions(
                pattern=f"/^{beginning}/", result=models.ValueMappingResult(color=colour, index=index)
            )
        )
        for index, (beginning, colour) in enumerate(colours.items())
    ]


def steps(base: str, *above: tuple[float, str]) -> dashboard.ThresholdsConfig:
    """Colours from a value on, over a base colour."""
    found = [models.Threshold(value=None, color=base)] + [
        models.Threshold(value=at, color=colour) for at, colour in above
    ]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


@dataclass(frozen=True)
class Field:
    """How one column of a panel is shown."""

    name: str
    title: str | None = None
    unit: str | None = None
    decimals: int | None = None
    width: int | None = None
    mappings: Sequence[models.ValueMapping] | None = None
    #: Colour the cell's background, or for a large figure its value.
    colours: dashboard.ThresholdsConfig | None = None
    links: Sequence[dashboard.DashboardLink] = ()
    hidden: bool = False
    empty: str | None = None
    colour: str | None = None

    def properties(self, cells: bool) -> list[models.DynamicConfigValue]:
        """As an override's properties; ``cells`` for a table, whose cells carry the colour."""
        found: list[tuple[str, Any]] = []
        for key, value in (
            ("displayName", self.title),
            ("unit", self.unit),
            ("decimals", self.decimals),
            ("mappings", self.mappings),
            ("custom.width", self.width),
            ("noValue", self.empty),
        ):
            if value is not None:
                found.append((key, value))
        if self.colours is not None:
            found.append(("thresholds", self.colours.build()))
            found.append(("color", {"mode": "thresholds"}))
        if self.colour is not None:
            found.append(("color", {"mode": "fixed", "fixedColor": self.colour}))
        if cells and (self.colours is not None or self.mappings is not None):
            found.append(("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
        if self.links:
            found.append(("links", [link.build() for link in self.links]))
        if self.hidden:
            # Grafana 12 has two tables, which call it by two names.
            found += [("custom.hidden", True), ("custom.hideFrom", {"viz": True, "legend": False, "tooltip": False})]
        return [models.DynamicConfigValue(id_val=key, value=value) for key, value in found]


def to_shop(title: str = "This shop's day") -> dashboard.DashboardLink:
    """A link from a row with ``store_id`` to the day of that shop."""
    return _link(title, "/d/aisleflow-shop/?var-store=${__data.fields.store_id}&${__url_time_range}")


def to_dashboard(title: str, uid: str, *, keep_shop: bool = True) -> dashboard.DashboardLink:
    """A link from one dashboard to another over the same window, and of the same shops if it has any."""
    variables = "${store:queryparam}&" if keep_shop else ""
    return _link(title, f"/d/{uid}/?{variables}${{__url_time_range}}")


def _link(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)


STORE_ID = Field("store_id", hidden=True)
SHOP = Field("shop", "Shop", width=170, links=(to_shop(),))


def _begin(
    panel: Any, title: str, says: str, empty: str, queries: Sequence[ClickHouseQuery], fields: Sequence[Field]
) -> Any:
    panel.title(title).description(says).datasource(DATASOURCE).no_value(empty).transparent(False)
    for query in queries:
        panel.with_target(Ask(query))
    if title:
        panel.links([_link(f"SQL {query.ref_id}", explore(query)).target_blank(True) for query in queries])
    for field in fields:
        panel.override_by_name(field.name, field.properties(isinstance(panel, table.Panel)))
    return panel


def figures(
    title: str, query: ClickHouseQuery, fields: Sequence[Field], *, says: str, empty: str = NO_EVENTS, size: int = 44
) -> stat.Panel:
    """Large figures side by side: the columns of one row."""
    panel: stat.Panel = _begin(stat.Panel(), title, says, empty, [query], fields)
    return (
        panel.reduce_options(common.ReduceDataOptions().values(False).calcs(["lastNotNull"]).fields("/.*/"))
        .text_mode(kinds.BigValueTextMode.VALUE_AND_NAME)
        .color_mode(kinds.BigValueColorMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .justify_mode(kinds.BigValueJustifyMode.CENTER)
        .orientation(kinds.VizOrientation.VERTICAL)
        .thresholds(steps(GREY))
        .text(common.VizTextDisplayOptions().title_size(18).value_size(size))
    )


def lines_of_text(
    title: str, query: ClickHouseQuery, *, says: str, empty: str, colours: Mapping[str, str], size: int = 22
) -> stat.Panel:
    """A line a row: the column ``line`` in large letters, the column ``state`` at its end, the colour by how the state begins."""
    state = Field("state", "${__data.fields.line}", mappings=beginnings(colours), links=(to_shop(),))
    panel: stat.Panel = _begin(stat.Panel(), title, says, empty, [query], [state])
    return (
        panel.reduce_options(common.ReduceDataOptions().values(True).limit(100).calcs([]).fields("/^state$/"))
        .text_mode(kinds.BigValueTextMode.VALUE_AND_NAME)
        .color_mode(kinds.BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .justify_mode(kinds.BigValueJustifyMode.AUTO)
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .wide_layout(True)
        .thresholds(steps(SOLID[GREY]))
        .text(common.VizTextDisplayOptions().title_size(size - 2).value_size(size))
    )


def rows(
    title: str, query: ClickHouseQuery, fields: Sequence[Field], *, says: str, empty: str = NO_EVENTS
) -> table.Panel:
    """A table."""
    panel: table.Panel = _begin(table.Panel(), title, says, empty, [query], fields)
    return panel.filterable(False).show_header(True).cell_height(kinds.TableCellHeight.SM)


def matrix(title: str, query: ClickHouseQuery, fields: Sequence[Field], *, says: str, empty: str) -> table.Panel:
    """Shares as a table of two keys: the query's first column names the rows, the second the columns, the third is the share (0 to
    1), as a number and as a colour.
    """
    row, column, value = fields
    options = {"rowField": row.name, "columnField": column.name, "valueField": value.name, "emptyValue": "null"}
    return (
        rows(title, query, fields, says=says, empty=empty)
        .unit("percentunit")
        .decimals(0)
        .thresholds(steps("transparent", (0.1, SOLID[BLUE]), (0.25, SOLID[ORANGE]), (0.5, SOLID[RED])))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .cell_options(kinds.TableColoredBackgroundCellOptions(mode=kinds.TableCellBackgroundDisplayMode.BASIC))
        .with_transformation(models.DataTransformerConfig(id_val="groupingToMatrix", options=options))
    )


def bars(
    title: str,
    query: ClickHouseQuery,
    *,
    says: str,
    empty: str = NO_EVENTS,
    unit: str = "locale",
    all_rows: bool = False,
) -> bargauge.Panel:
    """Bars side by side to compare: the columns of one row, or with ``all_rows`` the rows, each named by its text."""
    panel: bargauge.Panel = _begin(bargauge.Panel(), title, says, empty, [query], [])
    reduce = common.ReduceDataOptions().values(all_rows).calcs([] if all_rows else ["lastNotNull"]).fields("")
    return (
        panel.reduce_options(reduce.limit(25) if all_rows else reduce)
        .unit(unit)
        .min(0)
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
        .name_placement(kinds.BarGaugeNamePlacement.LEFT)
        .thresholds(steps("semi-dark-blue"))
        .show_unfilled(True)
        .sizing(kinds.BarGaugeSizing.MANUAL)
        .max_viz_height(56)
    )


def lines(
    title: str,
    queries: Sequence[ClickHouseQuery],
    *,
    says: str,
    empty: str = NO_EVENTS,
    unit: str = "locale",
    steps_held: bool = False,
    as_bars: bool = False,
    stacked: bool = False,
    maximum: float | None = None,
    fields: Sequence[Field] = (),
    legend: bool = True,
) -> timeseries.Panel:
    """Figures over time: lines, or bars. ``steps_held``: a value holds until the next."""
    panel: timeseries.Panel = _begin(timeseries.Panel(), title, says, empty, queries, fields)
    panel.unit(unit).min(0).line_width(2).fill_opacity(60 if as_bars else 10).show_points(kinds.VisibilityMode.AUTO)
    panel.draw_style(kinds.GraphDrawStyle.BARS if as_bars else kinds.GraphDrawStyle.LINE)
    panel.line_interpolation(kinds.LineInterpolation.STEP_AFTER if steps_held else kinds.LineInterpolation.LINEAR)
    # Queries give no row for an interval in which nothing happened.
    panel.span_nulls(steps_held or not as_bars)
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    if maximum is not None:
        panel.max(maximum)
    return panel.legend(
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM)
        .show_legend(legend)
        .calcs([])
    ).tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))


def heat(
    title: str, query: ClickHouseQuery, fields: Sequence[Field], *, says: str, unit: str, empty: str = NO_EVENTS
) -> heatmap.Panel:
    """A row for each line of the series, a column for each time, the colour and the number by the value."""
    panel: heatmap.Panel = _begin(heatmap.Panel(), title, says, empty, [query], fields)
    return (
        panel.calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_kinds.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heatmap_kinds.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.7)
            .steps(64)
            .reverse(True)
            .fill("dark-orange")
        )
        .cell_gap(2)
        .show_value(kinds.VisibilityMode.ALWAYS)
        .cell_values(heatmap.CellValues().unit(unit))
        .y_axis(heatmap.YAxisConfig().axis_placement(kinds.AxisPlacement.LEFT).axis_width(130))
        .show_legend()
    )


def states(
    title: str, query: ClickHouseQuery, fields: Sequence[Field], *, says: str, empty: str
) -> statetimeline.Panel:
    """What something was, from when to when."""
    panel: statetimeline.Panel = _begin(statetimeline.Panel(), title, says, empty, [query], fields)
    return (
        panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(steps(GREY))
        .merge_values(True)
        .row_height(0.8)
        .show_value(kinds.VisibilityMode.AUTO)
        .span_nulls(True)
    )


def store_variable(*, several: bool) -> dashboard.QueryVariable:
    """Which shop, or shops. Shown by name, used by id: the list holds "Name (id)", which the expression takes apart."""
    variable = (
        dashboard.QueryVariable("store")
        .label("Shops" if several else "Shop")
        .datasource(DATASOURCE)
        .query(
            {
                "refId": "store",
                "editorType": "sql",
                "queryType": "sql",
                "rawSql": clean(STORES_TO_CHOOSE),
            }
        )
        .regex(r"/^(?<text>.*) \((?<value>[^()]*)\)$/")
        .refresh(models.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(several)
        .include_all(several)
    )
    if several:
        variable.current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    return variable


STORES_TO_CHOOSE = """
    SELECT concat(if(max(name) = '', store_id, max(name)), ' (', store_id, ')') AS store
    FROM (SELECT store_id, name FROM store_layouts FINAL UNION ALL SELECT store_id, '' FROM store_feed)
    GROUP BY store_id
    ORDER BY store
    LIMIT 5000
"""

#: Panels of one height side by side, each with its width in columns.
Row = tuple[int, Sequence[tuple[int, Any]]]


def board(
    uid: str,
    title: str,
    says: str,
    layout: Sequence[Row],
    *,
    variables: Sequence[Any] = (),
    links: Sequence[dashboard.DashboardLink] = (),
    since: str = "now-24h",
    tags: Sequence[str] = (),
) -> models.Dashboard:
    """A dashboard of rows of panels; ids are given in their order, so that a panel keeps its own while its dashboard is the same."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(says)
        .tags(["aisleflow", *tags])
        .timezone("browser")
        .time(since, "now")
        .refresh("10s")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .links(list(links))
    )
    for variable in variables:
        made.with_variable(variable)
    number, y = 1, 0
    for height, places in layout:
        x = 0
        for width, panel in places:
            panel.id(number).grid_pos(models.GridPos(h=height, w=width, x=x, y=y))
            made.with_panel(panel)
            number, x = number + 1, x + width
        y += height
    return made.build()
