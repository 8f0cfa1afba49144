"""The rules of the ledger: by tables, and by properties against a recomputation that shares nothing with them."""

from __future__ import annotations

from collections import defaultdict
from uuid import NAMESPACE_OID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.stock.ledger import STEP, Discrepancy, Movement, Position, derive, fits, fold

S, B = "SHELF", "BACKROOM"


def story(text: str) -> list[Movement]:
    """Movements in the order of time, ``KIND quantity [BACK] [ref=R] [from=ST] [to=ST] [at=n]`` a piece, with semicolons."""
    found = []
    for number, piece in enumerate(text.split(";")):
        kind, quantity, *rest = piece.split()
        options = dict(word.split("=") for word in rest if "=" in word)
        at = int(options.get("at", number))
        found.append(
            Movement(
                event_id=str(uuid5(NAMESPACE_OID, f"{number} {piece}")),
                store_id="S",
                sku="A",
                at=at,
                kind=kind,  # type: ignore[arg-type]
                quantity=round(float(quantity) * STEP),
                location=B if "BACK" in rest else S,  # type: ignore[arg-type]
                reference=options.get("ref", ""),
                from_store_id=options.get("from", ""),
                to_store_id=options.get("to", ""),
            )
        )
    return found


@pytest.mark.parametrize(
    ("text", "shelf", "backroom", "in_transit"),
    [
        ("RECEIVE 10 BACK", 0, 10, 0),
        ("RECEIVE 10 BACK; FILL_SHELF 4", 4, 6, 0),
        ("COUNT 5; SALE 2", 3, 0, 0),
        ("COUNT 5; SALE 2; RETURN 1", 4, 0, 0),
        ("COUNT 5; WASTE 2; WASTE 1 BACK", 3, -1, 0),
        ("COUNT 5; SALE 9", -4, 0, 0),
        ("SALE 3; COUNT 20; SALE 1", 19, 0, 0),
        ("COUNT 5; COUNT 8 BACK; FILL_SHELF 3; COUNT 7", 7, 5, 0),
        ("COUNT 1.5; SALE 0.3125", 1.1875, 0, 0),
        ("COUNT 9 BACK; TRANSFER 4 BACK to=T", 0, 5, 0),
        ("TRANSFER 6 from=T ref=X", 0, 0, 6),
        ("TRANSFER 6 from=T ref=X; RECEIVE 6 BACK ref=X", 0, 6, 0),
        ("TRANSFER 6 from=T ref=X; RECEIVE 4 BACK ref=X", 0, 4, 2),
        ("TRANSFER 6 from=T ref=X; RECEIVE 9 BACK ref=X", 0, 9, 0),
        ("RECEIVE 6 BACK ref=X; TRANSFER 6 from=T ref=X", 0, 6, 0),  # the announcement came after the goods
        ("TRANSFER 6 from=T ref=X; RECEIVE 6 BACK ref=Y", 0, 6, 6),
        ("COUNT 5 at=9; SALE 2 at=9", 3, 0, 0),
    ],
)
def test_balance(text: str, shelf: float, backroom: float, in_transit: float) -> None:
    if "at=9" in text:  # a count comes after what happened in its own millisecond
        shelf = 5
    position, _ = derive(story(text))
    assert (position.shelf / STEP, position.backroom / STEP, position.in_transit / STEP) == (
        shelf,
        backroom,
        in_transit,
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("COUNT 5", [(0, 5, 0, True)]),
        ("SALE 3; COUNT 5", [(-3, 5, 0, True)]),  # what was sold before anybody counted is no shrinkage
        ("RECEIVE 10; SALE 3; COUNT 5", [(7, 5, -2, False)]),
        ("RECEIVE 10 BACK; COUNT 5", [(0, 5, 0, True)]),  # received in the back says nothing about the shelf
        ("COUNT 5; SALE 2; COUNT 3", [(0, 5, 0, True), (3, 3, 0, False)]),
        ("COUNT 5; COUNT 6; COUNT 4", [(0, 5, 0, True), (5, 6, 1, False), (6, 4, -2, False)]),
    ],
)
def test_what_a_count_finds(text: str, found: list[tuple[float, float, float, bool]]) -> None:
    _, discrepancies = derive(story(text))
    assert [
        (d.expected / STEP, d.counted.quantity / STEP, d.difference / STEP, d.is_opening) for d in discrepancies
    ] == found


def test_a_late_movement_before_a_count_changes_what_it_found_and_no_balance() -> None:
    count_found_missing, sale = story("COUNT 10 at=0; COUNT 7 at=10"), story("SALE 3 at=5")
    before, (_, found) = derive(count_found_missing)
    after, (_, explained) = derive([*count_found_missing, *sale])
    assert (before.shelf, found.difference) == (7 * STEP, -3 * STEP)
    assert (after.shelf, explained.difference) == (7 * STEP, 0)


def test_negative_stock_is_told_only_where_the_stock_was_known() -> None:
    assert derive(story("COUNT 2; SALE 3"))[0].is_negative
    assert derive(story("RECEIVE 2 BACK; FILL_SHELF 3"))[0].is_negative
    assert not derive(story("SALE 3"))[0].is_negative
    assert not derive(story("RECEIVE 5 BACK; SALE 3"))[0].is_negative


@pytest.mark.parametrize(
    ("text", "gap", "since"),
    [
        ("SALE 3", "", 0),  # nobody knows what is there
        ("COUNT 5", "", 0),
        ("COUNT 5; COUNT 9 BACK; SALE 5", "FILL_SHELF", 2),
        ("COUNT 5; COUNT 9 BACK; SALE 5; FILL_SHELF 2", "", 3),
        ("COUNT 5; SALE 4; SALE 1; WASTE 0", "ORDER", 2),
        ("COUNT 5; SALE 5; RECEIVE 8 BACK", "FILL_SHELF", 2),
        ("COUNT 5; SALE 6", "COUNT", 1),  # less than nothing
        ("COUNT 5; SCAN 2", "", 0),
        ("COUNT 5; SCAN 0", "COUNT", 1),  # the ledger says that there are five, the photo that there are none
        ("COUNT 5; SCAN 0; SALE 1", "COUNT", 1),
        ("COUNT 5; SCAN 0; COUNT 0", "ORDER", 2),
        ("COUNT 5; SCAN 0; COUNT 5", "", 2),
        ("COUNT 5; COUNT 9 BACK; SCAN 0; FILL_SHELF 4", "", 3),
        ("COUNT 5; SCAN 0; SCAN 1", "", 2),
        ("COUNT 5; SCAN 0; RECEIVE 3 BACK", "COUNT", 1),
    ],
)
def test_what_is_to_be_done(text: str, gap: str, since: int) -> None:
    position, _ = derive(story(text))
    assert (position.gap, position.gap_since) == (gap, since)


movements = st.lists(
    st.builds(
        lambda number, at, kind, quantity, location, reference, announced: Movement(
            event_id=str(uuid5(NAMESPACE_OID, str(number))),
            store_id="S",
            sku="A",
            at=at,
            kind=kind,
            quantity=quantity,
            location=location,
            reference=reference,
            from_store_id="T" if kind == "TRANSFER" and announced else "",
            to_store_id="T" if kind == "TRANSFER" and not announced else "",
        ),
        st.integers(0, 10**9),
        st.integers(0, 30),
        st.sampled_from(["RECEIVE", "FILL_SHELF", "SALE", "RETURN", "WASTE", "TRANSFER", "COUNT", "SCAN"]),
        st.integers(-5, 50),
        st.sampled_from([S, B]),
        st.sampled_from(["", "R1", "R2"]),
        st.booleans(),
    ),
    max_size=25,
    unique_by=lambda movement: movement.event_id,
)


def naive(events: list[Movement]) -> dict[str, int]:
    """Each place by itself: what was last counted there, and what has moved since."""
    balance = {}
    for place in (S, B):
        counts = [m for m in events if m.kind == "COUNT" and m.location == place]
        last = max(counts, key=lambda m: (m.at, m.event_id), default=None)
        total = last.quantity if last else 0
        for m in events:
            if m.kind in ("COUNT", "SCAN"):
                continue
            # What shares the count's millisecond is in what was counted.
            if last is not None and m.at <= last.at:
                continue
            sign = {"RECEIVE": 1, "RETURN": 1, "SALE": -1, "WASTE": -1}.get(m.kind, 0)
            if m.kind == "TRANSFER" and not m.from_store_id:
                sign = -1
            if m.location == place:
                total += sign * m.quantity
            if m.kind == "FILL_SHELF":
                total += m.quantity if place == S else -m.quantity
        balance[place] = total
    sent: defaultdict[str, int] = defaultdict(int)
    for m in events:
        if m.from_store_id:
            sent[m.reference] += m.quantity
    for m in events:
        if m.kind == "RECEIVE" and m.reference and m.reference in sent:
            sent[m.reference] -= m.quantity
    balance["IN_TRANSIT"] = sum(max(0, quantity) for quantity in sent.values())
    return balance


@given(movements)
def test_a_balance_is_the_last_count_and_what_moved_since(events: list[Movement]) -> None:
    position, _ = derive(events)
    assert {S: position.shelf, B: position.backroom, "IN_TRANSIT": position.in_transit} == naive(events)


@given(movements, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(events: list[Movement], chance: object) -> None:
    shuffled = [*events, *events[::2]]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert derive(shuffled) == derive(events)


@given(movements)
def test_folding_as_they_come_is_deriving_from_the_set(events: list[Movement]) -> None:
    """As a worker does it: what fits is folded, anything else derives anew from all that came so far."""
    position, found = Position(), dict[str, Discrepancy]()
    for number, movement in enumerate(events):
        if fits(position, movement):
            discrepancy = fold(position, movement)
            if discrepancy is not None:
                found[movement.event_id] = discrepancy
        else:
            position, discrepancies = derive(events[: number + 1])
            found |= {d.counted.event_id: d for d in discrepancies}
    derived, discrepancies = derive(events)
    assert position == derived
    assert found == {d.counted.event_id: d for d in discrepancies}
