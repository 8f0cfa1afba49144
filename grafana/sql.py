"""SQL that several panels ask. What each figure means stands in docs/metrics.md; the macros are the plugin's.

Every table is read with ``FINAL``, in whole business days around Grafana's window, by which the tables are partitioned: a visit
lies in the window if its first event does, a zone visit if its start does.
"""

from __future__ import annotations

#: The shops chosen above a dashboard: one, or several of which none or all are all.
ONE_STORE = "store_id = ${store:sqlstring}"
STORES = "$__conditionalAll(store_id IN (${store:sqlstring}), $store)"

#: The time zone of the one shop that is chosen: its hours begin where it is.
ZONE = f"(SELECT if(max(time_zone) = '', 'UTC', max(time_zone)) FROM store_layouts FINAL WHERE {ONE_STORE})"

#: Every known shop with its name: those with a layout, and those that have sent something.
NAMES = """
    SELECT store_id, if(max(name) = '', store_id, max(name)) AS shop
    FROM (SELECT store_id, name FROM store_layouts FINAL UNION ALL SELECT store_id, '' FROM store_feed)
    GROUP BY store_id
"""


def window(column: str) -> str:
    """What lies in Grafana's window, for tables with a business day."""
    return f"business_day BETWEEN toDate($__fromTime) - 1 AND toDate($__toTime) + 1 AND $__timeFilter({column})"


def week_before(column: str) -> str:
    """The same window of the week before."""
    shifted = f"{column} + INTERVAL 7 DAY"
    return f"business_day BETWEEN toDate($__fromTime) - 8 AND toDate($__toTime) - 6 AND $__timeFilter({shifted})"


def ago(seconds: str) -> str:
    """A number of seconds in short words: 42 s, 5 min, 3 h, 2 days."""
    return (
        f"multiIf({seconds} < 120, concat(toString({seconds}), ' s'), {seconds} < 7200, concat(toString(intDiv({seconds}, 60)), ' min'), "
        f"{seconds} < 172800, concat(toString(intDiv({seconds}, 3600)), ' h'), concat(toString(intDiv({seconds}, 86400)), ' days'))"
    )


#: 1 for the worst severity, 4 for one that is not known.
SEVERITY_RANK = "if(severity IN ('CRITICAL', 'WARN', 'INFO'), indexOf(['CRITICAL', 'WARN', 'INFO'], severity), 4)"

#: What somebody has acknowledged, and who: it does not shout until it is over, or until the time they gave.
SEEN = """
    SELECT store_id, anomaly_id, argMax(by, timestamp) AS seen_by
    FROM acknowledgements FINAL
    GROUP BY store_id, anomaly_id
    HAVING argMax(tuple(until), timestamp).1 IS NULL OR argMax(tuple(until), timestamp).1 > now64(3)
"""

#: What visitors did, over the visits of a window; staff are left out, and counted beside.
VISIT_FIGURES = """
    countIf(is_visitor) AS visitors,
    countIf(is_visitor AND purchased) AS buyers,
    if(visitors = 0, 0, buyers / visitors) AS conversion_rate,
    if(visitors = 0, 0, countIf(is_visitor AND attributed_transaction_id != '') / visitors) AS attributed_conversion_rate,
    countIf(NOT is_staff AND joined_queue) AS joined,
    countIf(NOT is_staff AND abandoned_queue) AS abandoned,
    if(joined = 0, 0, abandoned / joined) AS abandonment_rate,
    countIf(is_staff) AS staff_visits,
    countIf(NOT is_staff AND NOT is_visitor) AS unmatched_visitors
"""

FUNNEL = """
    countIf(is_visitor) AS `Came in`,
    countIf(is_visitor AND (zone_visits > 0 OR has_billing_presence)) AS `Stopped at a zone`,
    countIf(is_visitor AND has_billing_presence) AS `Went to pay`,
    countIf(is_visitor AND purchased) AS `Bought`
"""

#: From this on it is said that figures are behind, as the API and the wall's page do.
WORTH_SAYING_S = 10

#: Workers are named by what they derive: one topic may be read for visits and for stock.
DERIVES = "if(startsWith(worker, 'worker-'), 'visits', extract(worker, '^[a-z]+'))"
#: A topic, and in brackets for what else than visits it is read.
READ_FOR = f"if({DERIVES} = 'visits', topic, concat(topic, ' (', {DERIVES}, ')'))"

#: How far behind each partition of each topic is now. One that nobody has confirmed anything of for half a minute grows older by
#: the clock; after a quarter of an hour without a worker there are no rows.
LAG = f"""
    SELECT
        topic,
        partition,
        {DERIVES} AS derives,
        argMax(worker, at) AS holder,
        argMax(lag_records, at) AS lag_records,
        dateDiff('second', max(at), toDateTime64($__toTime, 3)) AS silent_s,
        toUInt32(intDiv(argMax(behind_ms, at), 1000) + if(silent_s > 30, silent_s, 0)) AS behind_s,
        derives = 'visits' AS is_of_shops,
        max(partition) OVER (PARTITION BY topic) + 1 AS partitions
    FROM topic_lag FINAL
    WHERE at >= $__toTime - INTERVAL 15 MINUTE AND at <= $__toTime
    GROUP BY topic, partition, derives
"""
