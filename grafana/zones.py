"""Zones by hour: where people stay, and when."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import Field, board, heat, lines, rows, store_variable, to_dashboard
from grafana.query import series, table
from grafana.shop import ZONE_FIELDS, ZONES

UID = "aisleflow-zones"
_ZONE_NAME = "${__field.labels.zone_id}"

_BY_HOUR = """
    SELECT assumeNotNull(toStartOfHour(started_at, {zone})) AS time, zone_id, {value} AS {name}
    FROM zone_visits FINAL
    WHERE {store} AND NOT is_staff AND {window}
    GROUP BY time, zone_id
    ORDER BY time, zone_id
"""


def by_hour(value: str, name: str) -> str:
    """A figure of each zone and hour."""
    return _BY_HOUR.format(zone=sql.ZONE, value=value, name=name, store=sql.ONE_STORE, window=sql.window("started_at"))


def zones() -> Dashboard:
    """The dashboard."""
    return board(
        UID,
        "Zones by hour",
        "Where people stay in one shop, hour by hour. Staff are left out, visitors missed at the door are in.",
        [
            (
                11,
                [
                    (
                        24,
                        heat(
                            "Zone visits, by zone and hour",
                            series(by_hour("count()", "visits")),
                            [Field("visits", _ZONE_NAME)],
                            says="Stays that began within the hour; darker means more, and the number says how many",
                            unit="locale",
                        ),
                    )
                ],
            ),
            (
                11,
                [
                    (
                        24,
                        heat(
                            "Mean stay, by zone and hour",
                            series(by_hour("avg(dwell_ms)", "dwell_ms")),
                            [Field("dwell_ms", _ZONE_NAME)],
                            says="How long people stayed on average",
                            unit="ms",
                        ),
                    )
                ],
            ),
            (
                9,
                [
                    (
                        10,
                        rows(
                            "Zones over the window",
                            table(ZONES),
                            ZONE_FIELDS,
                            says="Under 20 visits a figure says little",
                        ),
                    ),
                    (
                        14,
                        lines(
                            "Zone visits by hour",
                            [series(by_hour("count()", "visits"))],
                            says="The same figures as lines",
                            fields=[Field("visits", _ZONE_NAME)],
                        ),
                    ),
                ],
            ),
        ],
        variables=[store_variable(several=False)],
        links=[to_dashboard("Wall", "aisleflow-wall", keep_shop=False), to_dashboard("Shop's day", "aisleflow-shop")],
        tags=["shop"],
    )
