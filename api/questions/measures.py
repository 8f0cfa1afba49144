"""The semantic layer: what can be asked, what it is called, and what it is in SQL.

A ``Source`` is where rows come from and what its columns mean; a ``Measure`` is a figure over them, or a list of them. SQL here is
written by hand and holds no value of a question: those are parameters (``api.questions.sql``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["flow", "now", "list"]

LOW_DAYS = 2
"""An article is low when less is left than so many days sell."""
SALES_DAYS = 28
"""How many days tell what a shop sells in one."""

# A shop's clock: its layout's time zone, or UTC. toString takes a zone that differs from row to row; toTimeZone does not.
_ZONES = "(SELECT store_id AS zone_store, time_zone FROM store_layouts_final)"
_CLOCK = "toString({moment}, if(time_zone = '', 'UTC', time_zone))"


def _local(table: str, moment: str) -> str:
    """A table's rows with their business day and hour on the shop's clock, from ``moment``."""
    clock = _CLOCK.format(moment=moment)
    return (
        f"(SELECT *, toDate(substring({clock}, 1, 10)) AS day, toUInt8(substring({clock}, 12, 2)) AS hour\n"  # noqa: S608
        f"    FROM {table} LEFT JOIN {_ZONES} AS zones ON store_id = zone_store)"
    )


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        relation: what stands after FROM: a view, or a subquery with an alias.
        dimensions: the expression of each dimension that its rows know.
        moment: the column that a span of moments filters; empty where rows have none.
        day, hour: the expressions of business day and hour of day; empty where rows have none.
        where: what always holds.
        zone, sku: the columns that these filters use; empty where there are none.
        with_: what stands before SELECT.
    """

    relation: str
    dimensions: Mapping[str, str]
    moment: str = ""
    day: str = ""
    hour: str = ""
    where: str = ""
    zone: str = ""
    sku: str = ""
    with_: str = ""


_DAYS = {"shop": "store_id", "day": "business_day", "weekday": "toDayOfWeek(business_day)"}
_ARTICLES = {"shop": "store_id", "sku": "sku", "category": "category"}
_MOVED_DAYS = {"day": "day", "weekday": "toDayOfWeek(day)", "hour": "hour"}

# A balance is what was last counted and what has moved since (docs/stock.md); each movement with what it left on hand.
_BALANCES = """moved AS (
    SELECT store_id, sku, timestamp, quantity, shelf, backroom,
        kind = 'COUNT' AND location = 'SHELF' AS counts_shelf,
        kind = 'COUNT' AND location = 'BACKROOM' AS counts_backroom,
        (timestamp, kind = 'COUNT', toString(event_id)) AS place,
        sum(counts_shelf) OVER (PARTITION BY store_id, sku ORDER BY place) AS shelf_count,
        sum(counts_backroom) OVER (PARTITION BY store_id, sku ORDER BY place) AS backroom_count
    FROM stock_movements_final
    WHERE {scope}
),
balances AS (
    SELECT store_id, sku, timestamp, argMax(left_over, place) AS left_then
    FROM (
        SELECT store_id, sku, timestamp, place,
            sum(if(counts_shelf, quantity, shelf)) OVER (PARTITION BY store_id, sku, shelf_count ORDER BY place)
            + sum(if(counts_backroom, quantity, backroom)) OVER (PARTITION BY store_id, sku, backroom_count ORDER BY place) AS left_over
        FROM moved
    )
    GROUP BY store_id, sku, timestamp
),
emptied AS (
    SELECT store_id, sku, timestamp, left_then,
        lagInFrame(left_then) OVER (PARTITION BY store_id, sku ORDER BY timestamp ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS left_before
    FROM balances
)"""

_AS_OF = """moved AS (
    SELECT store_id, sku, quantity, shelf, backroom,
        kind = 'COUNT' AND location = 'SHELF' AS counts_shelf,
        kind = 'COUNT' AND location = 'BACKROOM' AS counts_backroom,
        (timestamp, kind = 'COUNT', toString(event_id)) AS place,
        sum(counts_shelf) OVER later AS shelf_counts,
        sum(counts_backroom) OVER later AS backroom_counts
    FROM stock_movements_final
    WHERE {scope} AND timestamp <= {at}
    WINDOW later AS (PARTITION BY store_id, sku ORDER BY place DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
balances AS (
    SELECT store_id, sku,
        sumIf(if(counts_shelf, quantity, shelf), shelf_counts = counts_shelf) AS shelf,
        sumIf(if(counts_backroom, quantity, backroom), backroom_counts = counts_backroom) AS backroom
    FROM moved
    GROUP BY store_id, sku
)"""

# What a shop sells in a day: its sales of the last 28 days, or of as many as it has had any.
_SALES = f"""sales AS (
    SELECT store_id, sku, sum(quantity) AS sold
    FROM stock_movements_final
    WHERE {{scope}} AND kind = 'SALE' AND timestamp >= {{now}} - INTERVAL {SALES_DAYS} DAY AND timestamp <= {{now}}
    GROUP BY store_id, sku
),
selling AS (
    SELECT store_id AS selling_store,
        least({SALES_DAYS}, greatest(1, dateDiff('second', min(timestamp), {{now}}) / 86400)) AS days
    FROM stock_movements_final
    WHERE {{shops}} AND kind = 'SALE' AND timestamp <= {{now}}
    GROUP BY store_id
),
positions AS (
    SELECT *, shelf + backroom AS on_hand, greatest(0, sold) / if(days = 0, 1, days) AS sales_per_day
    FROM stock_positions_final
    LEFT JOIN sales USING (store_id, sku)
    LEFT JOIN selling ON store_id = selling_store
    WHERE {{scope}} AND (shelf_known OR backroom_known)
)"""  # noqa: S608 - numbers of this file

# As GET /stores/{id}/restock: what the positions say, with quantities where `aisleflow restock` has worked them out.
_TASKS = """plans AS (
    SELECT store_id, sku, model != '' AS is_planned, shelf AS shelf_then, on_order, fill_quantity, order_quantity, made_at
    FROM stock_outlook_final
    WHERE {scope}
),
tasks AS (
    SELECT store_id, sku, shelf, backroom, in_transit, on_order, sales_per_day, gap, gap_since, made_at, fill_quantity, order_quantity,
        is_planned AND fill_quantity > 0 AND backroom > 0 AND shelf <= shelf_then AS is_fill,
        is_planned AND order_quantity > 0 AS is_order,
        arrayJoin(arrayFilter(task -> task.1 != '', [
            (if(gap = 'FILL_SHELF' OR is_fill, 'FILL_SHELF', ''), if(is_fill, least(fill_quantity, toFloat64(backroom)), NULL)),
            (if(gap = 'COUNT', 'COUNT', ''), CAST(NULL, 'Nullable(Float64)')),
            (if(is_order OR (gap = 'ORDER' AND NOT (is_planned AND in_transit + on_order > 0)), 'ORDER', ''),
                if(is_order, order_quantity, NULL))
        ])) AS task,
        task.1 AS action, task.2 AS quantity, if(gap = action, gap_since, made_at) AS since
    FROM positions
    LEFT JOIN plans USING (store_id, sku)
)"""

SOURCES: dict[str, Source] = {
    "visitors": Source("visitors", _DAYS | {"hour": "local_hour"}, "started_at", "business_day", "local_hour"),
    "visits": Source("visits_final", _DAYS, "started_at", "business_day", where="NOT is_staff"),
    "stays": Source(
        "zone_visits_final",
        _DAYS | {"zone": "zone_id"},
        "started_at",
        "business_day",
        where="NOT is_staff",
        zone="zone_id",
    ),
    "waits": Source("queue_waits", _DAYS, "started_at", "business_day"),
    "queues": Source("queue_depth_final", _DAYS, "timestamp", "business_day"),
    "queues_now": Source(
        "(SELECT store_id, argMax(depth, timestamp) AS depth, max(timestamp) AS since FROM queue_depth_final\n"
        "    WHERE {shops} GROUP BY store_id) AS queues",
        {"shop": "store_id"},
    ),
    "receipts": Source("receipts", _DAYS | {"hour": "local_hour"}, "timestamp", "business_day", "local_hour"),
    "movements": Source(
        _local("stock_movements_final", "timestamp") + " AS movements",
        _ARTICLES | _MOVED_DAYS,
        *("timestamp", "day", "hour"),
        sku="sku",
    ),
    "counts": Source(
        _local("stock_discrepancies_final", "counted_at") + " AS counts",
        _ARTICLES | _MOVED_DAYS,
        *("counted_at", "day", "hour"),
        where="NOT is_opening",
        sku="sku",
    ),
    "positions": Source("stock_positions_final", _ARTICLES, sku="sku"),
    "positions_then": Source("balances", _ARTICLES, sku="sku", with_=_AS_OF),
    "selling": Source("positions", _ARTICLES, sku="sku", with_=_SALES),
    "tasks": Source("tasks", _ARTICLES, sku="sku", with_=f"{_SALES},\n{_TASKS}"),
    "outlook": Source("stock_outlook_final", {"shop": "store_id", "sku": "sku"}, sku="sku"),
    "emptied": Source(
        _local("emptied", "timestamp") + " AS emptied",
        _ARTICLES | _MOVED_DAYS,
        *("timestamp", "day", "hour"),
        where="left_then <= 0 AND left_before > 0",
        sku="sku",
        with_=_BALANCES,
    ),
    "anomalies": Source("anomalies_final", _DAYS, "detected_at", "business_day"),
}


@dataclass(frozen=True)
class Measure:
    """Something that can be asked.

    Attributes:
        title: what it is called in the sentence that repeats the question.
        definition: what it means, in one sentence.
        unit: of the figure; % figures are shares from 0 to 1.
        kind: ``flow`` adds up over days; ``now`` is what is so at a moment; ``list`` is rows.
        source: key of ``SOURCES``.
        value: the SQL of the figure; of a list, the SQL of its columns.
        phrases: what people call it, parted by |. With *, the word alone says little: it decides only where nothing else does.
        where: which rows of the source.
        current: which of them where no time is named.
        order: of a list: its order.
        extra: a further column that figures must be told apart by.
        listed: "what was delivered" asks for the articles, "how much" for the sum.
        examples: questions that it answers; what cannot be answered is shown the nearest of these.
        biggest: whether the largest comes first when a best one is asked for.
    """

    title: str
    definition: str
    unit: str
    kind: Kind
    source: str
    value: str
    phrases: str
    examples: tuple[str, ...]
    where: str = ""
    current: str = ""
    order: str = ""
    extra: str = ""
    listed: bool = False
    biggest: bool = True
    decimals: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """By what it can be asked."""
        return tuple(SOURCES[self.source].dimensions)

    @property
    def has_days(self) -> bool:
        """Whether it can be asked of days."""
        return bool(SOURCES[self.source].day)


_POSITION = "store_id, sku, shelf, backroom"

MEASURES: dict[str, Measure] = {
    "visitors": Measure(
        "visitors",
        "People seen at the entrance who are not staff; one who comes back the same day counts once.",
        *("people", "flow", "visitors", "count()"),
        phrases=(
            "visitor|footfall|foot fall|foot traffic|traffic|come in|came in|come into|came into|come to|came to|"
            "walk in|walked in|walk into|walked into|entered|enter|*visit|*visited|*people|*customer|*shopper|"
            "*person"
        ),
        examples=(
            "How many visitors did {shop} have yesterday?",
            "Visitors by shop last week",
            "Which shop was busiest last week?",
        ),
    ),
    "conversion": Measure(
        "conversion rate",
        "Share of the visitors who were at a till within 5 minutes before a receipt (docs/metrics.md: purchased).",
        *("%", "flow", "visitors", "round(avg(purchased), 4)"),
        phrases=(
            "conversion|conversion rate|convert|share of visitor buy|share of visitor bought|*bought|*buy something"
        ),
        examples=("What was the conversion rate in {shop} yesterday?", "Conversion by shop this week"),
        decimals=4,
    ),
    "stay": Measure(
        "mean time in the shop",
        "From the first to the last sight of each visitor, on average.",
        *("min", "flow", "visitors", "round(avg(stay_ms) / 60000, 1)"),
        phrases="time in the shop|time in store|time in shop|stay|*spend in the shop|visit length|visit duration",
        examples=("How long do people stay in {shop}?",),
        decimals=1,
    ),
    "dwell": Measure(
        "mean dwell time",
        "How long people stay in a zone, on average over zone visits, staff left out.",
        *("s", "flow", "stays", "round(avg(dwell_ms) / 1000, 1)"),
        phrases="dwell|dwell time|dwelling|linger|stay|*stand|*spend|*stop",
        examples=(
            "Average dwell time per zone in {shop} yesterday",
            "Where do people linger longest in {shop} this week?",
        ),
        decimals=1,
    ),
    "zone_visits": Measure(
        "zone visits",
        "Stays in zones, staff left out; a person who comes again to a zone counts again.",
        *("stays", "flow", "stays", "count()"),
        phrases="zone visit|visit to zone|*visit|*visited|*popular|*people|*customer",
        examples=("Most popular zones in {shop} last week",),
    ),
    "queue_now": Measure(
        "queue now",
        "People waiting at the tills, as of each shop's newest fact.",
        *("people", "now", "queues_now", "sum(depth)"),
        phrases="queue|line|in line|in the queue|queue length|longest queue|current queue|*waiting",
        examples=("How long is the queue in {shop} right now?", "Current queue per shop"),
    ),
    "queue_max": Measure(
        "longest queue",
        "The most people who waited at the tills at once.",
        *("people", "flow", "queues", "max(depth)"),
        phrases=(
            "longest queue|queue|line|in line|in the queue|queue length|maximum queue|biggest queue|queue at most|"
            "*waiting"
        ),
        examples=("Longest queue yesterday by shop",),
    ),
    "gave_up": Measure(
        "people who gave up queueing",
        "They joined the queue, left it after, and did not buy.",
        *("people", "flow", "visits", "countIf(abandoned_queue)"),
        phrases=(
            "gave up|give up|gave up queueing|gave up queue|gave up waiting|left the queue|leave the queue|"
            "abandon the queue|abandoned the queue|abandon queue|abandoned|walked away|walk away|queue abandon"
        ),
        examples=("How many customers gave up queueing in {shop} last week?",),
    ),
    "abandonment": Measure(
        "queue abandonment rate",
        "Those who gave up, of those who joined the queue.",
        *(
            "%",
            "flow",
            "visits",
            "if(countIf(joined_queue) = 0, 0, round(countIf(abandoned_queue) / countIf(joined_queue), 4))",
        ),
        phrases=(
            "abandonment|abandonment rate|queue abandonment|rate of abandonment|share abandon|"
            "share of people abandon|share of people abandon the queue|share of customer abandon the queue|"
            "share gave up|share of people gave up|share of customer gave up|share of customer abandoned|"
            "share of people give up"
        ),
        examples=("Abandonment rate per shop yesterday",),
        decimals=4,
    ),
    "wait": Measure(
        "mean time at the till",
        "Queueing and being served, on average over stays at the tills, staff left out.",
        *("s", "flow", "waits", "round(avg(wait_ms) / 1000, 1)"),
        phrases=(
            "wait|wait at the till|waiting time|wait time|waiting time at the till|time at the till|wait at checkout|"
            "wait in the queue|wait in line|queueing time|queue time|wait to pay|*waiting"
        ),
        examples=("Average wait at the till in {shop} yesterday",),
        decimals=1,
    ),
    "revenue": Measure(
        "revenue",
        "Sum of the receipts, in the currency they were paid in.",
        *("currency", "flow", "receipts", "sum(basket_value)"),
        phrases="revenue|turnover|taking|take|took|money|earn|earned|sale value|income|*sale|*make|*made|*ring up",
        examples=("Revenue yesterday by shop", "How much did we take in {shop} last week?"),
        extra="currency",
        decimals=2,
    ),
    "receipts": Measure(
        "receipts",
        "Till receipts.",
        *("receipts", "flow", "receipts", "count()"),
        phrases="receipt|transaction|ticket|purchase|basket|number of sale|checkout",
        examples=("How many receipts in {shop} yesterday?",),
    ),
    "basket": Measure(
        "mean receipt",
        "Revenue divided by receipts, in the currency they were paid in.",
        *("currency", "flow", "receipts", "round(avg(basket_value), 2)"),
        phrases=(
            "average basket|average basket value|basket value|basket size|average receipt|average transaction|"
            "average transaction value|average spend|average spend per customer|average ticket|spend per customer|"
            "spend per visitor|average purchase|mean basket|mean receipt|average sale"
        ),
        examples=("Average basket by shop yesterday",),
        extra="currency",
        decimals=2,
    ),
    "units": Measure(
        "units sold",
        "Quantities of what was sold: the lines of receipts, and SALE movements; what came back over the till is taken off.",
        *("units", "flow", "movements", "sum(quantity)"),
        phrases=(
            "unit sold|sold|sell|selling|seller|best seller|best selling|bestseller|shift|shifted|unit sale|"
            "sale in unit|sale unit|*sale|*unit|*unit of"
        ),
        examples=(
            "How many units of {sku} were sold in {shop} last week?",
            "Top 5 products last week",
            "Units sold by category yesterday",
        ),
        where="kind = 'SALE'",
        listed=True,
        decimals=4,
    ),
    "returned": Measure(
        "units returned",
        "What customers brought back: RETURN movements, and till lines below zero.",
        *("units", "flow", "movements", "sum(abs(quantity))"),
        phrases="returned|return|brought back|customer return",
        examples=("How many units were returned in {shop} last week?",),
        where="(kind = 'RETURN' OR (kind = 'SALE' AND quantity < 0))",
        listed=True,
        decimals=4,
    ),
    "received": Measure(
        "units received",
        "Goods that arrived: RECEIVE movements, from suppliers and other shops.",
        *("units", "flow", "movements", "sum(quantity)"),
        phrases=(
            "received|receive|delivered|delivery|unit delivered|goods in|arrived|arrive|came from supplier|"
            "got delivered"
        ),
        examples=("What was delivered to {shop} yesterday?",),
        where="kind = 'RECEIVE'",
        listed=True,
        decimals=4,
    ),
    "wasted": Measure(
        "units wasted",
        "Thrown away, broken or given away: WASTE movements.",
        *("units", "flow", "movements", "sum(quantity)"),
        phrases=(
            "waste|wasted|unit wasted|wastage|thrown away|throw away|threw away|written off|write off|wrote off|"
            "write-off|spoiled|spoilage|binned|bin|damaged"
        ),
        examples=("Waste by product this month", "How much did we throw away in {shop} last week?"),
        where="kind = 'WASTE'",
        listed=True,
        decimals=4,
    ),
    "transferred": Measure(
        "units sent to other shops",
        "What shops sent to other shops: TRANSFER movements of the sender.",
        *("units", "flow", "movements", "sum(quantity)"),
        phrases=(
            "transferred|transfer|sent to other shop|send to other shop|sent to other store|sent away|"
            "transferred to other shop"
        ),
        examples=("How much did {shop} send to other shops this month?",),
        where="kind = 'TRANSFER' AND to_store_id != ''",
        listed=True,
        decimals=4,
    ),
    "missing": Measure(
        "units missing",
        "What counts found too little, net of what they found too much; opening counts left out.",
        *("units", "flow", "counts", "-sum(difference)"),
        phrases=(
            "missing|went missing|gone missing|unit missing|unit went missing|shrinkage|shrink|lost|disappeared|"
            "went missing according to the count|missing according to the count|count find missing|"
            "count found missing"
        ),
        examples=("Shrinkage by shop this month", "Missing units in {shop} this month"),
        decimals=4,
    ),
    "discrepancies": Measure(
        "discrepancies",
        "Counts that disagreed with the ledger, the largest first.",
        *("counts", "list", "counts", "store_id, sku, location, counted_at, expected, counted, difference"),
        phrases=(
            "discrepancy|stock discrepancy|count difference|count discrepancy|miscount|wrong count|stock difference|"
            "count that disagree"
        ),
        examples=("Stock discrepancies in {shop} last week",),
        where="difference != 0",
        order="abs(difference) DESC, counted_at DESC, store_id, sku, location",
    ),
    "on_hand": Measure(
        "stock on hand",
        "On the shelf and in the backroom together.",
        *("units", "now", "positions", "sum(shelf + backroom)"),
        phrases=(
            "stock|inventory|on hand|in stock|stock on hand|stock level|stock of|left in stock|do we have|have left|"
            "we have|*have|*left|*is there any|*are there|*available|*remaining|*there"
        ),
        examples=("How much {category} do we have?", "Stock of {sku} by shop"),
        listed=True,
        decimals=4,
    ),
    "shelf": Measure(
        "stock on the shelf",
        "What the ledger holds on the shelf.",
        *("units", "now", "positions", "sum(shelf)"),
        phrases=(
            "on the shelf|on shelf|shelf stock|on the sales floor|on the floor|on display|in the shelf|"
            "stock on the shelf|*shelf"
        ),
        examples=("How many {sku} are on the shelf in {shop}?",),
        listed=True,
        decimals=4,
    ),
    "backroom": Measure(
        "stock in the backroom",
        "What the ledger holds in the backroom.",
        *("units", "now", "positions", "sum(backroom)"),
        phrases=(
            "in the back|in the backroom|in the back room|backroom|back room|backroom stock|stockroom|"
            "in the stockroom|back stock|stock in the back|stock in the backroom|out back|in back"
        ),
        examples=("How much of SKU {sku} is in the back in {shop}?",),
        listed=True,
        decimals=4,
    ),
    "in_transit": Measure(
        "stock on its way",
        "Sent by other shops and not received yet.",
        *("units", "now", "positions", "sum(in_transit)"),
        phrases="in transit|on its way|on the way|on their way|underway|coming|unit in transit|stock on its way",
        examples=("What is on its way to {shop}?",),
        where="in_transit != 0",
        listed=True,
        decimals=4,
    ),
    "gaps": Measure(
        "what to do about stock",
        "Shelves to fill from the back, articles to count because the ledger cannot be right, and those to order; of each the best sellers "
        "first. Quantities are those of aisleflow restock, where it has worked them out.",
        *(
            "articles",
            "list",
            "tasks",
            f"store_id, sku, action, quantity, {_POSITION.removeprefix('store_id, sku, ')}, in_transit, on_order, since, "
            "round(sales_per_day, 2) AS sales_a_day",
        ),
        phrases=(
            "restock|restocked|need restock|replenish|replenishment|refill|refilled|to do|fill|filled|fill list|"
            "fill the shelf|fill up|shelf be filled|filled from the backroom|filled from the back|fill from the back|"
            "shelf should be filled|need filling|filling|topped up|top up|order|ordered|ordering|reorder|buy in|"
            "need ordering|order list|counted|count|counting|need counting|recount|stock gap|gap|restock list"
        ),
        examples=(
            "What do I need to restock today in {shop}?",
            "What needs ordering in {shop}?",
            "What has to be counted?",
        ),
        order="indexOf(['FILL_SHELF', 'COUNT', 'ORDER'], action), sales_per_day DESC, since, store_id, sku",
    ),
    "empty_shelf": Measure(
        "empty shelves",
        "Articles of which the shelf is known to hold none.",
        *("articles", "list", "selling", f"{_POSITION}, round(sales_per_day, 2) AS sales_a_day"),
        phrases=(
            "empty shelf|shelf empty|shelf are empty|shelf is empty|shelf gap|gap on the shelf|nothing on the shelf|"
            "empty"
        ),
        examples=("Which shelves are empty in {shop}?",),
        where="shelf_known AND shelf <= 0",
        order="sales_per_day DESC, store_id, sku",
    ),
    "low": Measure(
        "what is low",
        "Articles of which less is left, shelf and backroom together, "
        f"than {LOW_DAYS} days sell (mean of the last {SALES_DAYS} days), or nothing.",
        *("articles", "list", "selling", f"{_POSITION}, on_hand, round(sales_per_day, 2) AS sales_a_day"),
        phrases=(
            "low|low on|low stock|stock low|running low|run low|running low on|nearly out|almost out|running out|"
            "running out of|short of|short on|low in stock|low on stock|nearly sold out"
        ),
        examples=("Which shops are low on {category}?", "What are we running low on in {shop}?"),
        where=f"(on_hand <= 0 OR on_hand < {LOW_DAYS} * sales_per_day)",
        order="on_hand / if(sales_per_day = 0, 1, sales_per_day), store_id, sku",
    ),
    "out": Measure(
        "what is out of stock",
        "Articles of which neither the shelf nor the backroom holds any.",
        *("articles", "list", "selling", f"{_POSITION}, round(sales_per_day, 2) AS sales_a_day"),
        phrases="out of stock|out of|stocked out|have no|have none|have run out of|no stock|no more|is out|are out",
        examples=("What is out of stock in {shop}?", "Which shops are out of {category}?"),
        where="on_hand <= 0",
        order="sales_per_day DESC, store_id, sku",
    ),
    "stockouts": Measure(
        "what will run out",
        "Articles that are more likely than not to have run out by then, shelf and backroom together, by forecast, stock and what is on "
        "order, as aisleflow restock last worked it out.",
        *(
            "articles",
            "list",
            "outlook",
            "store_id, sku, round(risk[{ahead:UInt8}], 3) AS probability, runs_out_at, shelf, backroom, on_order, made_at AS worked_out_at",
        ),
        phrases="run out|run out of|running out|running out of|sell out|sell out of|selling out|stock out|stockout|stock-out|sold out",
        examples=("What will run out in the next 48 hours?", "What will run out in {shop} tomorrow?"),
        where="risk[{ahead:UInt8}] >= 0.5",
        order="probability DESC, runs_out_at, store_id, sku",
    ),
    "sold_out": Measure(
        "what sold out",
        "Each time that the last of an article left a shop, shelf and backroom together.",
        *("times", "list", "emptied", "store_id, sku, timestamp AS sold_out_at"),
        phrases=(
            "sold out|sell out|selling out|sold out of|sell out of|ran out|ran out of|run out|run out of|stock out|"
            "stockout|stock-out|went out of stock|gone out of stock|was out of stock|were out of stock|"
            "been out of stock"
        ),
        examples=("What sold out last week?", "What sold out in {shop} yesterday?"),
        order="sold_out_at DESC, store_id, sku",
    ),
    "alerts": Measure(
        "alerts",
        "What was out of the ordinary, and is not over where no time is named: queues, conversion, dead zones, cameras, silence.",
        *("alerts", "list", "anomalies", "store_id, severity, type, subject, message, suggested_action, detected_at"),
        phrases="alert|anomaly|warning|alarm|open alert|out of the ordinary|what is wrong|wrong|problem",
        examples=("Which alerts are open in {shop}?",),
        current="isNull(closed_at)",
        order="multiIf(severity = 'CRITICAL', 0, severity = 'WARN', 1, 2), detected_at DESC, store_id",
    ),
}
