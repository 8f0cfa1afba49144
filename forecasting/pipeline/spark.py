"""All that needs Spark: a session, sales from each source as one table, and series by day made of them.

Sales are read in pieces by the executors; the driver sees series only, and only those it asks for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from forecasting.days import series_of, with_holidays
from forecasting.pipeline import sources
from forecasting.pipeline.sources import Source, SourceError
from forecasting.series import Series

if TYPE_CHECKING:
    import pyarrow
    from pyspark.sql import DataFrame, SparkSession

#: PostgreSQL's JDBC driver, fetched from Maven Central the first time.
DRIVER = "org.postgresql:postgresql:42.7.8"

#: A row of sales: what one product sold in one shop on one day, whatever the source.
ROWS = (
    "store string, product string, day date, quantity double, price double, promotion double, category string, "
    "high double, end double"
)
#: A series as Spark has it: a number a day in each list, or null where nothing is known of any day.
SERIES = "key string, category string, start date, quantity array<double>, promotion array<double>, price array<double>"
#: What is known of a day, as ``series_of`` has it too.
DAY = ("day", "quantity", "price", "promotion", "high", "end")
LISTS = ("quantity", "promotion", "price")
#: Movements that one query of ClickHouse goes through, about.
PIECE = 2_000_000


@contextmanager
def session(master: str = "local[*]", memory: str = "2g", packages: str = "", jars: str = "") -> Iterator[SparkSession]:
    """A Spark session until the block ends.

    Args:
        master: Spark's URL of a cluster, or ``local[*]`` for the cores of this machine.
        memory: of the driver, which with ``local[*]`` is all there is.
        packages: Maven coordinates to fetch, comma-separated.
        jars: files to take instead, comma-separated.

    Raises:
        SourceError: PySpark or Java is missing, or a package cannot be fetched.
    """
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError:
        raise SourceError("training needs PySpark and PyTorch: run `make training`") from None
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName("aisleflow train")
    options = {
        "spark.driver.memory": memory,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.legacy.javaCharsets": "true",  # files of all ages are windows-1252
        "spark.sql.execution.arrow.maxRecordsPerBatch": "256",  # a record is a whole series
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
        "spark.jars.packages": packages,
        "spark.jars": jars,
    }
    if master.startswith("local"):
        options["spark.sql.shuffle.partitions"] = "16"
        options["spark.driver.host"] = options["spark.driver.bindAddress"] = "127.0.0.1"
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    for name, value in options.items():
        if value:
            builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except PySparkRuntimeError as error:
        if "JAVA" not in str(error):
            raise
        raise SourceError(
            "Spark did not start: it needs Java 17 or newer (Debian: default-jre-headless)"
            + (
                f", and must reach Maven Central for {packages}, or be given the file by --driver-jar"
                if packages
                else ""
            )
        ) from error
    try:
        yield spark
    finally:
        spark.stop()


def read(spark: SparkSession, source: Source, settings: Settings) -> DataFrame:
    """The sales of a source, a row for each product, shop and day (``ROWS``).

    Raises:
        SourceError: they cannot be read.
    """
    reader = {"postgresql": _postgresql, "clickhouse": _clickhouse, "csv": _csv}[source.kind]
    return reader(spark, source, settings)


def series_table(rows: DataFrame) -> DataFrame:
    """A row for each product of a shop with its whole series (``SERIES``), made where the rows are."""
    from pyspark.sql import functions as f

    opened = rows.where("quantity > 0").groupBy("store").agg(f.collect_set("day").alias("open_days"))
    products = rows.groupBy("store", "product").agg(
        f.max("category").alias("category"), f.collect_list(f.struct(*DAY)).alias("days")
    )
    whole = products.where(f.exists("days", lambda day: day["quantity"] > 0)).join(opened, "store")

    def work(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        for batch in batches:
            yield packed(_made(batch))

    return whole.select("store", "product", "category", "open_days", "days").mapInArrow(work, SERIES)


def _made(batch: pyarrow.RecordBatch) -> list[Series]:
    opened, days = batch.column("open_days"), batch.column("days")
    open_values, open_ends = opened.values.to_numpy(zero_copy_only=False), opened.offsets.to_numpy()
    ends = days.offsets.to_numpy()
    column = {name: days.values.field(name).to_numpy(zero_copy_only=False) for name in DAY}
    stores, products, categories = (batch.column(name).to_pylist() for name in ("store", "product", "category"))
    return [
        series_of(
            f"{store}/{product}" if store else product,
            open_values[open_ends[row] : open_ends[row + 1]],
            **{name: column[name][ends[row] : ends[row + 1]] for name in DAY},
            category=categories[row] or "",
        )
        for row, (store, product) in enumerate(zip(stores, products, strict=True))
    ]


def packed(series: Sequence[Series]) -> pyarrow.RecordBatch:
    """Series as a batch of ``SERIES``."""
    import pyarrow

    numbers = pyarrow.list_(pyarrow.float64())
    return pyarrow.RecordBatch.from_arrays(
        [
            pyarrow.array([one.key for one in series]),
            pyarrow.array([one.category for one in series]),
            pyarrow.array([one.start for one in series], pyarrow.date32()),
            *(pyarrow.array([getattr(one, name) for one in series], numbers) for name in LISTS),
        ],
        names=["key", "category", "start", *LISTS],
    )


def unpacked(batch: pyarrow.RecordBatch, country: str = "") -> list[Series]:
    """The series of a batch of ``SERIES``, with a country's holidays if one is given."""
    keys, categories, starts = (batch.column(name).to_pylist() for name in ("key", "category", "start"))
    lists: dict[str, list[Any]] = {}
    for name in LISTS:
        column = batch.column(name)
        values, ends = column.values.to_numpy(zero_copy_only=False), column.offsets.to_numpy()
        known = column.is_valid().to_pylist()
        lists[name] = [values[ends[row] : ends[row + 1]] if known[row] else None for row in range(len(keys))]
    found = [
        Series(key, start, quantity, category, promotion, price)
        for key, start, category, quantity, promotion, price in zip(
            keys, starts, categories, *lists.values(), strict=True
        )
    ]
    return [with_holidays(one, country) for one in found] if country else found


def some(table: DataFrame, most: int) -> DataFrame:
    """About so many series at most, where they are: those whose keys hash lowest, so that it is nearly the same ones each time."""
    from pyspark.sql import functions as f

    count = table.count()
    if count <= most:
        return table
    return table.where(f.pmod(f.xxhash64("key"), f.lit(1_000_000)) < 1_000_000 * most // count)


def collected(table: DataFrame, country: str = "") -> list[Series]:
    """Series on the driver, by their keys."""
    return sorted(
        (one for batch in table.toArrow().to_batches() for one in unpacked(batch, country)),
        key=lambda series: series.key,
    )


def per_series(
    table: DataFrame, country: str, rows_of: Callable[[Sequence[Series]], list[dict[str, Any]]], schema: str
) -> pyarrow.Table:
    """What a function says of each series, computed by the executors in batches of at most 256 series."""

    def work(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow

        for batch in batches:
            if rows := rows_of(unpacked(batch, country)):
                yield pyarrow.RecordBatch.from_pylist(rows)

    return table.mapInArrow(work, schema).toArrow()


def _postgresql(spark: SparkSession, source: Source, settings: Settings) -> DataFrame:
    from py4j.protocol import Py4JJavaError
    from pyspark.sql import functions as f

    reading = sources.postgresql(source)
    properties = {**reading.properties, "driver": "org.postgresql.Driver", "fetchsize": "20000"}
    try:
        rows = spark.read.jdbc(reading.url, reading.query, predicates=list(reading.pieces), properties=properties)
    except Py4JJavaError as error:
        if "ClassNotFoundException" not in str(error):
            raise
        raise SourceError(
            f"this Spark session has no PostgreSQL driver: let it fetch {DRIVER}, or give --driver-jar FILE"
        ) from error
    return _days(rows.withColumn("high", f.col("in_stock")))


def _days(rows: DataFrame) -> DataFrame:
    """Sales summed by day. ``end`` is not known: who says that something was on sale on a day says nothing of the next."""
    from pyspark.sql import functions as f

    return rows.groupBy("store", "product", "day").agg(
        f.sum("quantity").alias("quantity"),
        f.avg(f.when(f.col("quantity") > 0, f.col("price"))).alias("price"),
        f.max("promotion").alias("promotion"),
        f.max("category").alias("category"),
        f.max("high").alias("high"),
        f.lit(None).cast("double").alias("end"),
    )


def _csv(spark: SparkSession, source: Source, settings: Settings) -> DataFrame:
    from pyspark.sql import functions as f

    sheet = sources.sheet(source)
    options = {"sep": sheet.delimiter, "encoding": sheet.encoding, "quote": '"', "escape": '"', "multiLine": "true"}
    schema = ", ".join(f"c{number} string" for number in range(len(sheet.header)))
    text = (
        spark.read.options(header="true", enforceSchema="true", mode="PERMISSIVE", **options)
        .schema(schema)
        .csv(sheet.path.as_uri())
    )
    column = {role: f.trim(f.col(f"c{sheet.header.index(name)}")) for role, name in sheet.roles.items()}

    def number(role: str) -> Any:
        if role not in column:
            return f.lit(None).cast("double")
        plain = f.regexp_replace(column[role], ",", ".") if sheet.delimiter == ";" else column[role]
        return (
            f.when(f.lower(plain).isin("true", "yes", "y", "t"), 1.0)
            .when(f.lower(plain).isin("false", "no", "n", "f"), 0.0)
            .otherwise(plain.try_cast("double"))
        )

    def day(form: str) -> Any:
        return f.try_to_timestamp(f.substring_index(f.substring_index(column["at"], "T", 1), " ", 1), f.lit(form)).cast(
            "date"
        )

    form = source.date_format
    if not form:
        forms = sources.best(_fits(text.limit(10_000), day, sources.DATE_FORMATS))
        if len(forms) > 1:  # the first days of a month fit several: the rest of the file tells
            forms = sources.best(_fits(text, day, forms))
        form = sources.date_format(forms, sheet.roles["at"])
    rows = text.select(
        f.coalesce(column.get("store", f.lit("")), f.lit("")).alias("store"),
        column["product"].alias("product"),
        day(form).alias("day"),
        number("quantity").alias("quantity"),
        number("price").alias("price"),
        number("promotion").alias("promotion"),
        column.get("category", f.lit("")).alias("category"),
        number("in_stock").alias("high"),
    ).where("day IS NOT NULL AND quantity IS NOT NULL AND product != ''")
    last = rows.agg(f.max("day")).first()
    if last is None or last[0] is None:
        raise SourceError(
            f"{source.address}: no row has a product, a date as {form} and a number as quantity "
            f"(columns {', '.join(sheet.roles[role] for role in sources.NEEDED)})"
        )
    return _days(rows.where(f.col("day") > f.lit(last[0] - timedelta(days=source.days))))


def _fits(text: DataFrame, day: Callable[[str], Any], forms: Sequence[str]) -> dict[str, int]:
    """How many rows' dates have each form."""
    from pyspark.sql import functions as f

    counts = text.select(*(f.count(day(form)).alias(form) for form in forms)).first()
    return counts.asDict() if counts else {}


# Sales and what was on the shelf, by the shop's day, for the shops of one time zone and a part of their articles.
CLICKHOUSE = """
WITH moved AS (
    SELECT store_id, sku, kind, toDate32(timestamp, {time_zone:String}) AS day, shelf, backroom, quantity,
        kind = 'COUNT' AND location = 'SHELF' AS counts,
        (timestamp, kind = 'COUNT', toString(event_id)) AS place,
        sum(counts) OVER (PARTITION BY store_id, sku ORDER BY place) AS count,
        max(counts OR (kind = 'RECEIVE' AND location = 'SHELF')) OVER (PARTITION BY store_id, sku ORDER BY place) AS known
    FROM stock_movements FINAL
    WHERE store_id IN {stores:Array(String)} AND cityHash64(store_id, sku) % {pieces:UInt32} = {piece:UInt32} AND kind != 'SCAN'
), balanced AS (
    SELECT *, sum(if(counts, quantity, shelf)) OVER (PARTITION BY store_id, sku, count ORDER BY place) AS after
    FROM moved
), told AS (
    SELECT *, lagInFrame(after, 1, after) OVER (
        PARTITION BY store_id, sku ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before
    FROM balanced
), prices AS (
    SELECT store_id, line_sku AS sku, toDate32(timestamp, {time_zone:String}) AS day, avg(line_price) AS price
    FROM transactions FINAL
    ARRAY JOIN lines.sku AS line_sku, lines.unit_price AS line_price, lines.quantity AS line_quantity
    WHERE store_id IN {stores:Array(String)} AND cityHash64(store_id, line_sku) % {pieces:UInt32} = {piece:UInt32}
      AND line_quantity > 0
    GROUP BY store_id, sku, day
)
SELECT store_id AS store, sku AS product, day, quantity, toNullable(toFloat64(price)) AS price,
    CAST(NULL, 'Nullable(Float64)') AS promotion, category, high, end
FROM (
    SELECT store_id, sku, day, toFloat64(sumIf(-shelf - backroom, kind IN ('SALE', 'RETURN'))) AS quantity,
        if(max(known), toNullable(toFloat64(maxIf(greatest(before, after), known))), NULL) AS high,
        if(max(known), toNullable(toFloat64(argMax(after, place))), NULL) AS end
    FROM told
    GROUP BY store_id, sku, day
    HAVING day >= {first:Date32}
) AS sold
LEFT JOIN prices USING (store_id, sku, day)
LEFT JOIN (SELECT sku, category FROM products FINAL) AS named USING (sku)
SETTINGS join_use_nulls = 1
"""


def _clickhouse(spark: SparkSession, source: Source, settings: Settings) -> DataFrame:
    from clickhouse_connect.driver.exceptions import ClickHouseError

    try:
        with clickhouse_client(settings) as client:
            layouts = client.query("SELECT store_id, argMax(time_zone, timestamp) FROM store_layouts GROUP BY store_id")
            zones = {str(row[0]): str(row[1]) for row in layouts.result_rows}
            sold = client.query(
                "SELECT store_id, count(), toDate(max(timestamp)) FROM stock_movements WHERE kind = 'SALE' GROUP BY store_id"
            ).result_rows
    except (ClickHouseError, ValueError) as error:
        raise SourceError(f"ClickHouse cannot be read: {str(error).splitlines()[0]}") from error
    if not sold:
        raise SourceError(
            "ClickHouse has no sales of articles: publish receipts with lines, or SALE movements (docs/stock.md), then train"
        )
    first = max(day for _, _, day in sold) - timedelta(days=source.days)
    pieces = 1 + max(spark.sparkContext.defaultParallelism - 1, sum(count for _, count, _ in sold) // PIECE)
    by_zone: dict[str, list[str]] = {}
    for store, _, _ in sold:
        by_zone.setdefault(zones.get(store) or source.time_zone, []).append(store)
    tasks = [
        {"time_zone": zone, "stores": stores, "pieces": pieces, "piece": piece, "first": first}
        for zone, stores in sorted(by_zone.items())
        for piece in range(pieces)
    ]

    def fetch(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                with clickhouse_client(settings) as client:
                    yield from client.query_arrow(CLICKHOUSE, tasks[number], use_strings=True).to_batches(10_000)

    return spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(fetch, ROWS)


def span(series: Sequence[Series]) -> tuple[date, date]:
    """The earliest and the latest day of some series."""
    return min(one.start for one in series), max(one.end for one in series)


def known_days(series: Sequence[Series]) -> int:
    """Days of all series whose demand is known."""
    return int(sum(np.isfinite(one.quantity).sum() for one in series))
