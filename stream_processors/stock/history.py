"""What the stock workers read back from ClickHouse: positions, and all movements of an article."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from decimal import Decimal

from stream_processors.anomalies import STOCK_TYPES
from stream_processors.history import History, chunks
from stream_processors.stock.alerts import CLOSES_AT, AtRisk, Drift, Negative
from stream_processors.stock.ledger import STEP, Movement, Position

_IS_NEGATIVE = "((shelf_known AND shelf < 0) OR (backroom_known AND backroom < 0))"
#: Of a shop whose forecasts all go wrong, so many are named.
MOST_DRIFTING = 11
SkuKey = tuple[str, str]
"""(store_id, sku)"""


def whole(amount: str | Decimal) -> int:
    """A quantity of up to four decimals, as ten-thousandths."""
    return int(Decimal(amount) * STEP)


class StockHistory(History):
    """Queries over one ClickHouse connection. All methods block; call them from a thread."""

    def positions(self, keys: Collection[SkuKey]) -> dict[SkuKey, Position]:
        """The positions of these articles, as they were written last; one that was never written is absent."""
        found = {}
        query = """SELECT store_id, sku, toString(shelf), toString(backroom), shelf_known, backroom_known,
            mapApply((reference, quantity) -> (reference, toString(quantity)), on_the_way),
            toUnixTimestamp64Milli(moved_at), newest_count, newest_event, toUnixTimestamp64Milli(counted_at),
            seen_missing, gap, toUnixTimestamp64Milli(gap_since), version
            FROM stock_positions FINAL WHERE (store_id, sku) IN %(keys)s"""
        for chunk in chunks(tuple(keys)):
            for store_id, sku, shelf, backroom, on_shelf, in_back, ways, *rest in self._rows(query, {"keys": chunk}):
                at, is_count, event_id, counted_at, seen_missing, gap, gap_since, version = rest
                found[store_id, sku] = Position(
                    shelf=whole(shelf),
                    backroom=whole(backroom),
                    shelf_known=on_shelf,
                    backroom_known=in_back,
                    on_the_way={reference: whole(quantity) for reference, quantity in ways.items()},
                    newest=(at, is_count, event_id),
                    counted_at=counted_at,
                    seen_missing=seen_missing,
                    gap=gap,
                    gap_since=gap_since,
                    movements=version,
                )
        return found

    def movements(self, keys: Collection[SkuKey]) -> dict[SkuKey, list[Movement]]:
        """All stored movements of these articles."""
        found: dict[SkuKey, list[Movement]] = {key: [] for key in keys}
        query = """SELECT toString(event_id), store_id, sku, toUnixTimestamp64Milli(timestamp), kind, toString(quantity),
            location, reference, to_store_id, from_store_id, actor, reason, source
            FROM stock_movements FINAL WHERE (store_id, sku) IN %(keys)s"""
        for chunk in chunks(tuple(keys)):
            for event_id, store_id, sku, at, kind, quantity, *rest in self._rows(query, {"keys": chunk}):
                found[store_id, sku].append(Movement(event_id, store_id, sku, at, kind, whole(quantity), *rest))
        return found

    def moments(self, store_ids: Sequence[str]) -> dict[str, int]:
        """By store: the time of its newest movement or outlook, milliseconds since 1970."""
        query = """SELECT store_id, toUnixTimestamp64Milli(max(at)) FROM (
                SELECT store_id, moved_at AS at FROM stock_positions WHERE store_id IN %(stores)s
                UNION ALL SELECT store_id, made_at AS at FROM stock_outlook WHERE store_id IN %(stores)s
                UNION ALL SELECT store_id, made_at AS at FROM forecast_accuracy WHERE store_id IN %(stores)s
            ) GROUP BY store_id"""
        return {row[0]: row[1] for row in self._rows(query, {"stores": store_ids})}

    def negative(self, store_ids: Sequence[str]) -> dict[str, list[Negative]]:
        """By store: articles of which the ledger holds less than nothing where stock is known."""
        query = f"""SELECT store_id, sku, toFloat64(if(shelf_known, shelf, 0)), toFloat64(if(backroom_known, backroom, 0))
            FROM stock_positions FINAL WHERE store_id IN %(stores)s AND {_IS_NEGATIVE} ORDER BY store_id, sku"""  # noqa: S608
        found: dict[str, list[Negative]] = defaultdict(list)
        for store_id, *columns in self._rows(query, {"stores": store_ids}):
            found[store_id].append(Negative(*columns))
        return found

    def at_risk(self, store_ids: Sequence[str]) -> dict[str, list[AtRisk]]:
        """By store: articles that are likelier to run out within 48 hours than what closes an alert."""
        query = """SELECT store_id, sku, greatest(0, shelf) + greatest(0, backroom), in_transit + on_order, expected_48h,
            lost_48h, round(toFloat64(risk[24]), 4), round(toFloat64(risk[48]), 4), toUnixTimestamp64Milli(runs_out_at),
            order_quantity, packs, supplier
            FROM stock_outlook FINAL WHERE store_id IN %(stores)s AND risk[48] >= %(least)s ORDER BY store_id, sku"""
        found: dict[str, list[AtRisk]] = defaultdict(list)
        for store_id, *columns in self._rows(query, {"stores": store_ids, "least": CLOSES_AT}):
            found[store_id].append(AtRisk(*columns))
        return found

    def drifting(self, store_ids: Sequence[str]) -> dict[str, list[Drift]]:
        """By store: forecasts whose error has left its backtest's range, by the newest night; the store itself, and of its
        articles the worst.
        """
        query = """SELECT store_id, sku, days, error, usual_error, highest_error, scale, bias, outside
            FROM forecast_accuracy_newest
            WHERE store_id IN %(stores)s AND drifts
            ORDER BY store_id, sku != '', error - highest_error DESC
            LIMIT %(most)s BY store_id"""
        found: dict[str, list[Drift]] = defaultdict(list)
        for store_id, *columns in self._rows(query, {"stores": store_ids, "most": MOST_DRIFTING}):
            found[store_id].append(Drift(*columns))
        return found

    def stores_in_trouble(self) -> set[str]:
        """Stores in which something of stock may be wrong, or is said to be."""
        query = f"""SELECT DISTINCT store_id FROM (
                SELECT store_id FROM stock_positions FINAL WHERE {_IS_NEGATIVE}
                UNION ALL SELECT store_id FROM stock_outlook FINAL WHERE risk[48] >= %(least)s
                UNION ALL SELECT store_id FROM forecast_accuracy_newest WHERE drifts
                UNION ALL SELECT store_id FROM anomalies FINAL WHERE type IN %(types)s AND (closed_at IS NULL OR announced != 'CLOSED')
            )"""  # noqa: S608 - a constant condition
        return {row[0] for row in self._rows(query, {"least": CLOSES_AT, "types": tuple(STOCK_TYPES)})}
