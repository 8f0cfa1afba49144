"""What the stock workers read back from ClickHouse: positions, and all movements of an article."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from stream_processors.history import History, chunks
from stream_processors.stock.ledger import STEP, Movement, Position

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
