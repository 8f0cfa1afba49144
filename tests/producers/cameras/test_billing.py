"""The queue by tables of comings and goings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.billing import Queue
from schemas.events import BillingRules

Step = tuple[int, str, str]


def run(*steps: Step) -> list[str]:
    """Steps are (second, "+" or "-", person); a person's party is the digit after the letter, or the person alone. What
    comes out is each joining, "a joins", and each leaving before the turn, "a abandons".
    """
    queue = Queue.of(BillingRules(service_s=5))
    told = []
    for second, what, who in steps:
        if what == "+":
            if queue.enter(who, who[1:] or who, 1000 * second):
                told.append(f"{who} joins")
        elif queue.leave(who, 1000 * second):
            told.append(f"{who} abandons")
    return told


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        # Alone at the till: no queue, and nothing to abandon.
        (((0, "+", "a"), (2, "-", "a")), []),
        (((0, "+", "a"), (20, "-", "a"), (21, "+", "b"), (40, "-", "b")), []),
        # The second waits for their turn, and has it for as long as service takes.
        (((0, "+", "a"), (5, "+", "b"), (20, "-", "a"), (30, "-", "b")), ["b joins"]),
        # Gone before the turn, or hardly after it has come.
        (((0, "+", "a"), (5, "+", "b"), (15, "-", "b"), (20, "-", "a")), ["b joins", "b abandons"]),
        (((0, "+", "a"), (5, "+", "b"), (20, "-", "a"), (23, "-", "b")), ["b joins", "b abandons"]),
        # From the middle; the third's turn comes when the first goes.
        (
            ((0, "+", "a"), (5, "+", "b"), (8, "+", "c"), (12, "-", "b"), (20, "-", "a"), (30, "-", "c")),
            ["b joins", "c joins", "b abandons"],
        ),
        # A couple has one turn.
        (((0, "+", "a1"), (1, "+", "b1"), (20, "-", "a1"), (21, "-", "b1")), ["b1 joins"]),
        # Nobody leaves who never came.
        (((0, "-", "a"),), []),
    ],
)
def test_queues(steps: tuple[Step, ...], told: list[str]) -> None:
    assert run(*steps) == told


@given(st.lists(st.tuples(st.sampled_from("+-"), st.sampled_from("abcd")), max_size=40))
def test_depth_is_the_people_and_only_who_joined_abandons(steps: list[tuple[str, str]]) -> None:
    queue, inside, joined = Queue.of(None), set[str](), set[str]()
    for second, (what, who) in enumerate(steps):
        if what == "+" and who not in inside:
            if queue.enter(who, who, 1000 * second):
                joined.add(who)
                assert inside
            else:
                assert not inside
            inside.add(who)
        elif what == "-":
            if queue.leave(who, 1000 * second):
                assert who in joined
            joined.discard(who)
            inside.discard(who)
        assert len(queue) == len(inside)
        assert all((who in queue) is (who in inside) for who in "abcd")
