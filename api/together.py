"""One question for all requests that wait for an answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Together(Generic[K, T]):
    """While a question is on its way to ClickHouse, the keys of the requests that come meanwhile gather, and are asked
    about together. Many small requests then cost about as many queries as ClickHouse can answer in that time, and a lone
    request waits for nobody.
    """

    def __init__(self, ask: Callable[[list[K]], Awaitable[T]], most: int, under_way: int = 1) -> None:
        """``ask`` answers a question about some keys, each named once; it is given ``most`` at once, or one request's, while
        fewer than ``under_way`` others have no answer yet.
        """
        self._ask = ask
        self._most = most
        self._under_way = under_way
        self._waiting: deque[tuple[Collection[K], asyncio.Future[T]]] = deque()
        self._asking = 0
        self._tasks: set[asyncio.Task[None]] = set()
        """Held, since the event loop alone may lose them."""

    async def ask(self, keys: Collection[K]) -> T:
        """The answer about these keys, as of some moment after the call, and perhaps about others.

        Raises:
            Exception: whatever asking raises.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, answer))
        if self._asking < self._under_way:
            self._asking += 1
            # A task of its own: the request that starts it may be given up, others wait for the same answer.
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            asked, answer = self._waiting.popleft()
            keys, answers = set(asked), [answer]
            while self._waiting and len(keys) + len(self._waiting[0][0]) <= self._most:
                asked, answer = self._waiting.popleft()
                keys.update(asked)
                answers.append(answer)
            try:
                found = await self._ask(list(keys))
            except Exception as error:
                for answer in answers:
                    if not answer.done():  # else its request was given up
                        answer.set_exception(error)
            else:
                for answer in answers:
                    if not answer.done():
                        answer.set_result(found)
        self._asking -= 1  # at once, not when the task is told of: who comes between would wait for nobody
