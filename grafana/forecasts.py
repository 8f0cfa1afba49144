"""Forecasts: what was expected beside what was sold, and whether the error is still what the backtest promised."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import (
    GREEN,
    ORANGE,
    RED,
    Field,
    board,
    figures,
    lines,
    rows,
    steps,
    store_variable,
    to_dashboard,
    words,
)
from grafana.query import series, table

UID = "aisleflow-forecasts"
NONE_YET = (
    "No forecasts yet: they are made once a day of sales is over (`aisleflow forecast`, docs/forecast_service.md)"
)
NOT_COMPARED = "Nothing to compare yet: it takes forecasts that are a week old (docs/forecast_service.md)"

NOW = f"""
    SELECT
        (SELECT sum(mean) FROM forecasts_newest WHERE {sql.ONE_STORE} AND day BETWEEN today() AND today() + 6) AS `Next 7 days`,
        countIf(sku != '') AS `Articles compared`,
        countIf(sku != '' AND drifts) AS `Articles that drift`,
        maxIf(if(scale > 0, error / scale, 0), sku = '') AS `Error of a week ago's`,
        maxIf(if(error > 0, bias / error, 0), sku = '') AS `Too high or low`
    FROM forecast_accuracy_newest
    WHERE {sql.ONE_STORE} AND days > 0
    HAVING count() > 0
"""

# The newest forecast of a day beside what was sold on it, of all articles that were forecast for it.
BESIDE = f"""
    SELECT toDateTime(told.day) AS time, name, units
    FROM (
        SELECT day, sum(mean) AS expected FROM forecasts_newest
        WHERE {sql.ONE_STORE} AND day BETWEEN toDate($__fromTime) AND toDate($__toTime)
        GROUP BY day
    ) AS told
    LEFT JOIN (
        SELECT toDate(timestamp, {sql.ZONE}) AS day, toFloat64(sum(-shelf - backroom)) AS sold
        FROM stock_movements FINAL
        WHERE {sql.ONE_STORE} AND kind IN ('SALE', 'RETURN') AND timestamp >= $__fromTime - INTERVAL 1 DAY
          AND timestamp <= $__toTime + INTERVAL 1 DAY
        GROUP BY day
    ) AS sales ON sales.day = told.day
    ARRAY JOIN ['expected', 'sold'] AS name, [expected, sold] AS units
    WHERE (name = 'expected' OR told.day < today()) AND $__timeFilter(time)
    ORDER BY time, name
"""

ERRORS = f"""
    SELECT toDateTime(day) AS time, name, units
    FROM forecast_accuracy FINAL
    ARRAY JOIN ['error', 'usual', 'limit'] AS name, [error, usual_error, highest_error] AS units
    WHERE {sql.ONE_STORE} AND sku = '' AND days > 0 AND $__timeFilter(time)
    ORDER BY time, name
"""

ARTICLES = f"""
    SELECT if(name = '', sku, name) AS article, toUInt8(drifts) AS state, error, usual_error, highest_error, bias, outside
    FROM forecast_accuracy_newest
    LEFT JOIN (SELECT sku, name FROM products FINAL) AS products USING (sku)
    WHERE {sql.ONE_STORE} AND sku != ''
    ORDER BY drifts DESC, error - highest_error DESC, sku
    LIMIT 200
"""

_DRIFTS = words({"1": ("Drifts", RED), "0": ("As usual", GREEN)})


def _units(name: str, title: str) -> Field:
    return Field(name, title, unit="short", decimals=1, width=110)


def forecasts() -> Dashboard:
    """The dashboard."""
    return board(
        UID,
        "Forecasts",
        "What was expected beside what was sold, and whether forecasts still do as well as their backtests.",
        [
            (
                4,
                [
                    (
                        24,
                        figures(
                            "",
                            table(NOW),
                            [
                                Field("Next 7 days", unit="locale", decimals=0),
                                Field("Articles compared", unit="locale"),
                                Field("Articles that drift", unit="locale", colours=steps(GREEN, (1, RED))),
                                Field(
                                    "Error of a week ago's",
                                    unit="percentunit",
                                    decimals=0,
                                    colours=steps(GREEN, (1, ORANGE)),
                                ),
                                Field("Too high or low", unit="percentunit", decimals=0),
                            ],
                            says="Units expected in the next 7 days. Error: of the forecasts made a week ago, over that of repeating "
                            "the week before (MASE): above 100 % they were worse. Too high or low: predicted less sold, over the error",
                            empty=NOT_COMPARED,
                        ),
                    )
                ],
            ),
            (
                12,
                [
                    (
                        14,
                        lines(
                            "Forecast against actual, units a day",
                            [series(BESIDE)],
                            says="All articles of the shop: what the newest forecast of each day said, and what was sold by the shop's day",
                            empty=NONE_YET,
                            fields=[Field("units", "${__field.labels.name}")],
                        ),
                    ),
                    (
                        10,
                        lines(
                            "Error of a week's forecasts beside the backtest",
                            [series(ERRORS)],
                            says="Units a day, all articles added up: the error of the forecasts made a week before, the usual one of the "
                            "backtest, and the limit beyond which they drift (docs/forecast_service.md)",
                            empty=NOT_COMPARED,
                            fields=[Field("units", "${__field.labels.name}")],
                        ),
                    ),
                ],
            ),
            (
                14,
                [
                    (
                        24,
                        rows(
                            "Articles, those that drift first",
                            table(ARTICLES),
                            [
                                Field("article", "Article"),
                                Field("state", "State", width=120, mappings=_DRIFTS),
                                _units("error", "Error a day"),
                                _units("usual_error", "Usual"),
                                _units("highest_error", "At most"),
                                _units("bias", "Too high by"),
                                Field("outside", "Days outside 95 %", width=150),
                            ],
                            says="The week until last night, beside the windows of each article's backtest: it drifts when its error is "
                            "larger than in all of them and too many days lie outside the interval for chance",
                            empty=NOT_COMPARED,
                        ),
                    )
                ],
            ),
        ],
        variables=[store_variable(several=False)],
        links=[to_dashboard("Stock gaps", "aisleflow-stock")],
        since="now-30d",
        tags=["shops"],
    )
