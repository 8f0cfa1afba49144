"""Which facts ClickHouse already holds, so that duplicates are told from new ones."""

from __future__ import annotations

from collections.abc import Sequence

from api.database import Database

# One text, which ClickHouse parses ten times as fast as a list of quoted ids.
KNOWN_EVENTS = """
SELECT DISTINCT toString(event_id)
FROM event_ids
WHERE event_id IN (SELECT arrayJoin(splitByChar(',', {ids:String})::Array(UUID)))
"""

KNOWN_TRANSACTIONS = """
SELECT DISTINCT store_id, transaction_id
FROM transactions
WHERE store_id IN {stores:Array(String)} AND transaction_id IN {ids:Array(String)}
"""


async def known_events(database: Database, ids: Sequence[str]) -> set[str]:
    """Those of the event ids (lower case) that are stored."""
    return set(await database.words(KNOWN_EVENTS, {"ids": ",".join(ids)}))


async def known_transactions(database: Database, ids: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the (store, transaction) pairs that are stored."""
    stores, transactions = {store for store, _ in ids}, {transaction for _, transaction in ids}
    rows = await database.rows(KNOWN_TRANSACTIONS, {"stores": list(stores), "ids": list(transactions)})
    return {(row["store_id"], row["transaction_id"]) for row in rows}
