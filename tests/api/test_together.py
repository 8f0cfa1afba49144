"""One question for all that wait, whatever becomes of those who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from api.together import Together


async def test_requests_that_wait_are_asked_about_together() -> None:
    asked: list[set[int]] = []
    open_gate = asyncio.Event()

    async def even(numbers: Sequence[int]) -> set[int]:
        asked.append(set(numbers))
        await open_gate.wait()
        if -1 in numbers:
            raise ValueError
        return {number for number in numbers if number % 2 == 0}

    together = Together(even, most=4)
    calls = [
        asyncio.create_task(together.ask(numbers)) for numbers in ([1, 2], [3], [3, 4], [5, 6, 7, 8, 9], [-1], [0])
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls[1].cancel()
    open_gate.set()
    answers: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    # All came at once, so nothing was on its way yet: what fits goes together, and nobody's batch is cut.
    assert asked == [{1, 2, 3}, {3, 4}, {5, 6, 7, 8, 9}, {-1, 0}]
    assert [answers[0] & {1, 2}, answers[2] & {3, 4}, answers[3]] == [{2}, {4}, {6, 8}]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert isinstance(answers[4], ValueError) and isinstance(answers[5], ValueError)
    assert await together.ask([10]) == {10}, "the next question starts anew"


async def test_so_many_questions_are_under_way_at_once() -> None:
    gates: dict[str, asyncio.Event] = {}

    async def ask(keys: Sequence[str]) -> str:
        name = "".join(sorted(keys))
        gates[name] = asyncio.Event()
        await gates[name].wait()
        return name

    async def settled() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    together = Together(ask, most=10, under_way=2)
    calls = []
    for key in "abcd":
        calls.append(asyncio.create_task(together.ask([key])))
        await settled()
    assert list(gates) == ["a", "b"], "the others wait, until one of them is answered"
    gates["b"].set()
    await settled()
    assert list(gates) == ["a", "b", "cd"] and calls[1].result() == "b"
    gates["a"].set()
    gates["cd"].set()
    assert [await call for call in calls] == ["a", "b", "cd", "cd"]


async def test_who_comes_while_the_last_answer_is_given_is_answered_too() -> None:
    async def ask(keys: Sequence[int]) -> set[int]:
        return set(keys)

    together = Together(ask, most=10)

    async def again_and_again(start: int) -> None:
        for number in range(start, start + 200):
            assert number in await together.ask([number])

    await asyncio.wait_for(asyncio.gather(*(again_and_again(1000 * n) for n in range(5))), 10)
