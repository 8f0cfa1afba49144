"""The ledger of one SKU in one store: the rules, without I/O. Rules in words: ``docs/stock.md``.

``fold`` takes a movement that is newer than all that a position has seen; ``derive`` takes any set of movements. Both
give the same position, so every balance is a function of the set of movements, whatever their order of arrival.
Quantities are whole ten-thousandths (``STEP`` to one unit), since a scale sells 0.3125 kg and floats do not add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

STEP = 10_000
Kind = Literal["RECEIVE", "FILL_SHELF", "SALE", "RETURN", "WASTE", "TRANSFER", "COUNT", "SCAN"]
"""As in ``schemas.events.StockMovement``; a SCAN is what a photo of the shelf showed of an article, and moves nothing."""
Gap = Literal["", "FILL_SHELF", "ORDER", "COUNT"]
"""What is to be done about an article, empty when nothing is."""
Location = Literal["SHELF", "BACKROOM"]
Key = tuple[int, bool, str]
"""(milliseconds since 1970, is a count, event_id): a count comes after all that happened in its millisecond."""
NO_KEY: Key = (-1, False, "")


class Movement(NamedTuple):
    """One change of stock. ``from_store_id`` marks a transfer that another store has sent here. The quantity of a SCAN is
    the number of facings seen.
    """

    event_id: str
    store_id: str
    sku: str
    at: int
    kind: Kind
    quantity: int
    location: Location = "SHELF"
    reference: str = ""
    to_store_id: str = ""
    from_store_id: str = ""
    actor: str = ""
    reason: str = ""
    source: Literal["MOVEMENT", "TILL", "SCAN"] = "MOVEMENT"
    arrived: int = 0

    @property
    def key(self) -> Key:
        """Its place in the order of things."""
        return (self.at, self.kind == "COUNT", self.event_id)

    @property
    def sku_key(self) -> tuple[str, str]:
        """Which position it belongs to."""
        return (self.store_id, self.sku)

    @property
    def is_announcement(self) -> bool:
        """Says that stock is on its way here; it moves nothing on the shelf or in the back."""
        return self.kind == "TRANSFER" and bool(self.from_store_id)

    @property
    def changes(self) -> tuple[int, int]:
        """By how much it changes the shelf and the backroom; a count, a scan and an announcement change neither."""
        quantity = self.quantity
        match self.kind:
            case "COUNT" | "SCAN":
                return 0, 0
            case "FILL_SHELF":
                return quantity, -quantity
            case "SALE" | "WASTE":
                quantity = -quantity
            case "TRANSFER":
                quantity = 0 if self.from_store_id else -quantity
        return (quantity, 0) if self.location == "SHELF" else (0, quantity)


@dataclass(slots=True)
class Position:
    """What is on hand of one SKU in one store."""

    shelf: int = 0
    backroom: int = 0
    shelf_known: bool = False
    """The shelf was counted, or goods were received there: before, its balance only says what has moved."""
    backroom_known: bool = False
    on_the_way: dict[str, int] = field(default_factory=dict)
    """Sent to this store and not received yet, by reference."""
    newest: Key = NO_KEY
    counted_at: int | None = None
    """When the SKU was last counted, on the shelf or in the back."""
    seen_missing: bool = False
    """The last scan of the shelf saw none of it, and nothing has come to the shelf since."""
    gap: Gap = ""
    gap_since: int = 0
    """Time of the movement since which the gap is what it is, milliseconds since 1970."""
    movements: int = 0
    """Distinct movements known: the version of the rows."""

    @property
    def in_transit(self) -> int:
        """Sent to this store by others and not received yet."""
        return sum(self.on_the_way.values())

    @property
    def is_negative(self) -> bool:
        """The ledger says that less than nothing is there: something was not written down, or counted wrongly."""
        return (self.shelf_known and self.shelf < 0) or (self.backroom_known and self.backroom < 0)


def gap_of(position: Position) -> Gap:
    """What is to be done about an article: fill the shelf from the back, order it, or count it because the ledger cannot be
    right. Where the shelf was never counted nobody can tell.
    """
    if not position.shelf_known:
        return ""
    if position.is_negative:
        return "COUNT"
    if position.shelf == 0:
        return "FILL_SHELF" if position.backroom > 0 else "ORDER"
    return "COUNT" if position.seen_missing else ""


class Discrepancy(NamedTuple):
    """What a count found beside what the ledger held until then."""

    counted: Movement
    expected: int
    is_opening: bool
    """The first count of this place, before anything was received there: it finds out, it does not differ."""

    @property
    def difference(self) -> int:
        """Counted minus expected; 0 for an opening."""
        return 0 if self.is_opening else self.counted.quantity - self.expected


def fits(position: Position, movement: Movement) -> bool:
    """Whether ``fold`` may take it. What came late may change what earlier counts found; what is announced may have been
    received already, and what is taken back may be on its way again. For these the position must be derived anew.
    """
    takes_back = movement.kind == "RECEIVE" and movement.quantity < 0
    return movement.key > position.newest and not movement.is_announcement and not takes_back


def fold(position: Position, movement: Movement) -> Discrepancy | None:
    """Take a movement that ``fits``; a count tells what it found."""
    found = _apply(position, movement)
    if movement.kind == "RECEIVE" and movement.reference and movement.reference in position.on_the_way:
        left = position.on_the_way[movement.reference] - movement.quantity
        if left > 0:
            position.on_the_way[movement.reference] = left
        else:
            del position.on_the_way[movement.reference]
    return found


def derive(movements: Iterable[Movement]) -> tuple[Position, list[Discrepancy]]:
    """The position that a set of movements makes, in whatever order and however often they come, and what each count
    found.
    """
    position = Position()
    discrepancies = []
    announced: defaultdict[str, int] = defaultdict(int)
    received: defaultdict[str, int] = defaultdict(int)
    for movement in sorted({movement.event_id: movement for movement in movements}.values(), key=lambda m: m.key):
        if movement.is_announcement:
            announced[movement.reference] += movement.quantity
        elif movement.kind == "RECEIVE" and movement.reference:
            received[movement.reference] += movement.quantity
        if (found := _apply(position, movement)) is not None:
            discrepancies.append(found)
    position.on_the_way = {
        reference: quantity - received[reference]
        for reference, quantity in announced.items()
        if quantity > received[reference]
    }
    return position, discrepancies


def _apply(position: Position, movement: Movement) -> Discrepancy | None:
    position.movements += 1
    position.newest = movement.key
    found = _move(position, movement)
    if (gap := gap_of(position)) != position.gap:
        position.gap, position.gap_since = gap, movement.at
    return found


def _move(position: Position, movement: Movement) -> Discrepancy | None:
    on_shelf = movement.location == "SHELF"
    if movement.kind == "SCAN":
        position.seen_missing = movement.quantity == 0
        return None
    if movement.kind == "COUNT":
        position.counted_at = movement.at
        if on_shelf:
            found = Discrepancy(movement, position.shelf, not position.shelf_known)
            position.shelf, position.shelf_known, position.seen_missing = movement.quantity, True, False
        else:
            found = Discrepancy(movement, position.backroom, not position.backroom_known)
            position.backroom, position.backroom_known = movement.quantity, True
        return found
    shelf, backroom = movement.changes
    position.seen_missing &= shelf <= 0
    position.shelf += shelf
    position.backroom += backroom
    if movement.kind == "RECEIVE":
        position.shelf_known |= on_shelf
        position.backroom_known |= not on_shelf
    return None
