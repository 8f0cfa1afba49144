"""The topic registry: every Kafka topic by name, with its key, size, retention and where its invalid records go."""

from __future__ import annotations

from dataclasses import dataclass

from schemas import events

DAY_MS = 24 * 3600 * 1000
# Everything keyed by store_id has the same number of partitions, so that one worker holds all of a store's facts. This
# many unless AISLEFLOW_STORE_PARTITIONS says otherwise.
STORE_PARTITIONS = 8


# Between the name of a topic of facts and a shop's: the topic that this shop's own producers write to, where Kafka lets
# nobody in without leave. What comes in there is checked and passed on (stream_processors/gate.py).
DOOR = ".from."


@dataclass(frozen=True)
class Topic:
    """One topic. ``key`` is the event's field that Kafka hashes; ``retention_ms`` -1 keeps records for ever."""

    name: str
    event: type[events.Event] | None
    description: str
    key: str = "store_id"
    partitions: int = STORE_PARTITIONS
    retention_ms: int = 30 * DAY_MS
    compacted: bool = False
    dead_letters: str | None = None
    max_message_bytes: int = 1_048_576

    def partitions_of(self, store_partitions: int) -> int:
        """Its partitions in an installation whose topics of facts have this many."""
        return self.partitions if self.event is None else store_partitions

    @property
    def config(self) -> dict[str, str]:
        """Topic settings as Kafka takes them."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(-1 if self.compacted else self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
            # A sender's clock must decide neither when Kafka forgets its facts, nor whether it takes them at all.
            "message.timestamp.type": "LogAppendTime",
        }


def _facts(
    name: str, event: type[events.Event], description: str, *, key: str = "store_id", compacted: bool = False
) -> tuple[Topic, Topic]:
    """A topic of facts and its dead letters, which keep the original key and bytes for as long."""
    dead = Topic(
        f"{name}.dlq",
        None,
        f"Records of {name} that could not be read.",
        partitions=1,
        retention_ms=90 * DAY_MS,
        max_message_bytes=2 * 1_048_576,  # the largest fact, and headers that say what is wrong with it
    )
    return Topic(name, event, description, key=key, compacted=compacted, dead_letters=dead.name), dead


VISIT_EVENTS, _visit_dead = _facts("visit-events", events.VisitEvent, "What cameras see of visitors.")
TRANSACTIONS, _transaction_dead = _facts("transactions", events.Transaction, "Till receipts.")
STORE_LAYOUTS, _layout_dead = _facts(
    "store-layouts", events.StoreLayout, "Zones, cameras, hours and time zone of each store.", compacted=True
)
STOCK_MOVEMENTS, _stock_dead = _facts("stock-movements", events.StockMovement, "Changes of stock.")
SHELF_SCANS, _scan_dead = _facts("shelf-scans", events.ShelfScan, "What shelf photos showed.")
ORDERS, _order_dead = _facts("orders", events.Order, "Orders to suppliers.")
PRODUCTS, _product_dead = _facts(
    "products", events.Product, "The catalogue: articles by name, category and pack.", key="sku", compacted=True
)
PRICES, _price_dead = _facts("prices", events.Price, "Prices from a time on.")
ALERTS, _alert_dead = _facts("alerts", events.Alert, "Anomalies opened, changed and closed, published by the workers.")
CAMERA_HEALTH, _health_dead = _facts("camera-health", events.CameraHealth, "How well each camera is.")
ACKNOWLEDGEMENTS, _acknowledgement_dead = _facts(
    "acknowledgements", events.Acknowledgement, "Anomalies that somebody has seen and sees to."
)
FORECASTS, _forecast_dead = _facts(
    "forecasts", events.DemandForecast, "Expected sales by SKU and day, made nightly and on request."
)
STOCK_OUTLOOK, _outlook_dead = _facts(
    "stock-outlook", events.StockOutlook, "What to order and to bring to the shelf, and what will run out, by SKU."
)
DELIVERIES, _delivery_dead = _facts(
    "deliveries",
    events.Delivery,
    "Records that go to a webhook or another system again; its dead letters are those undelivered.",
)
FORECAST_ACCURACY, _accuracy_dead = _facts(
    "forecast-accuracy", events.ForecastAccuracy, "How the forecasts of a week ago did, beside their backtests."
)

QUESTIONS, _question_dead = _facts(
    "questions", events.Question, "Questions that people asked, with the SQL that was run.", key="event_id"
)

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        *(VISIT_EVENTS, _visit_dead, TRANSACTIONS, _transaction_dead, STORE_LAYOUTS, _layout_dead),
        *(STOCK_MOVEMENTS, _stock_dead, SHELF_SCANS, _scan_dead, ORDERS, _order_dead, PRICES, _price_dead),
        *(PRODUCTS, _product_dead, QUESTIONS, _question_dead),
        *(ALERTS, _alert_dead, CAMERA_HEALTH, _health_dead, ACKNOWLEDGEMENTS, _acknowledgement_dead),
        *(FORECAST_ACCURACY, _accuracy_dead, FORECASTS, _forecast_dead, STOCK_OUTLOOK, _outlook_dead),
        *(DELIVERIES, _delivery_dead),
    )
}

# What the workers read. One derivation joins the first three, so one worker must hold the same partition of each.
DERIVED_TOPICS = (
    *(VISIT_EVENTS.name, TRANSACTIONS.name, STORE_LAYOUTS.name),
    *(CAMERA_HEALTH.name, ACKNOWLEDGEMENTS.name),
)
# The ledger of stock, which has a group of its own: a flood of counts must not hold the visits back.
STOCK_TOPICS = (
    *(STOCK_MOVEMENTS.name, TRANSACTIONS.name, SHELF_SCANS.name),
    *(ORDERS.name, FORECASTS.name, FORECAST_ACCURACY.name, STOCK_OUTLOOK.name, PRODUCTS.name),
    QUESTIONS.name,
)
