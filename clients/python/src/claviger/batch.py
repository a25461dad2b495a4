"""Many calls with a bound on how many run at once, and results in the order of the questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_any
from dataclasses import dataclass
from typing import Generic, TypeVar

from .errors import ConfigurationError

Item = TypeVar("Item")
Result = TypeVar("Result")
CONCURRENCY = 10


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item. `error` is None when it succeeded."""

    index: int
    item: Item
    attempts: int
    value: Result | None = None
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        return self.error is None

    def unwrap(self) -> Result:
        """The value, or the item's error raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


async def run_batch(
    items: Iterable[Item],
    call: Callable[[Item], Awaitable[Result]],
    *,
    concurrency: int = CONCURRENCY,
    rounds: int = 1,
    on_outcome: Callable[[Outcome[Item, Result]], None] | None = None,
) -> list[Outcome[Item, Result]]:
    """Runs `call` for every item, at most `concurrency` at once; the result has the items' order.

    Items are taken from the iterable as there is room. A failed item is an outcome with its error, not an end of the run.
    With `rounds` > 1 the failures are run again, each round with half the concurrency, never below 1. Cancelling cancels what
    is running.
    """
    _check(concurrency, rounds)
    todo: Iterable[tuple[int, Item]] = enumerate(items)
    done: dict[int, Outcome[Item, Result]] = {}
    for attempt in range(1, rounds + 1):
        failed = await _round(todo, call, concurrency, attempt, done, on_outcome)
        if not failed:
            break
        todo, concurrency = failed, max(1, concurrency // 2)
    return [done[index] for index in sorted(done)]


async def _round(
    todo: Iterable[tuple[int, Item]],
    call: Callable[[Item], Awaitable[Result]],
    concurrency: int,
    attempt: int,
    done: dict[int, Outcome[Item, Result]],
    on_outcome: Callable[[Outcome[Item, Result]], None] | None,
) -> list[tuple[int, Item]]:
    pending = iter(todo)

    async def work() -> None:
        for index, item in pending:
            value, error = None, None
            try:
                value = await call(item)
            except Exception as raised:
                error = raised
            done[index] = Outcome(index, item, attempt, value, error)
            if on_outcome is not None:
                on_outcome(done[index])

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return _failed(done)


def run_batch_threads(
    items: Iterable[Item],
    call: Callable[[Item], Result],
    *,
    concurrency: int = CONCURRENCY,
    rounds: int = 1,
    on_outcome: Callable[[Outcome[Item, Result]], None] | None = None,
) -> list[Outcome[Item, Result]]:
    """The same with threads, for the synchronous SDK client."""
    _check(concurrency, rounds)
    todo: Iterable[tuple[int, Item]] = enumerate(items)
    done: dict[int, Outcome[Item, Result]] = {}
    for attempt in range(1, rounds + 1):
        with ThreadPoolExecutor(concurrency) as pool:
            running: dict[Future[Result], tuple[int, Item]] = {}
            for index, item in todo:
                running[pool.submit(call, item)] = (index, item)
                if len(running) >= concurrency:
                    _collect(running, attempt, done, on_outcome)
            while running:
                _collect(running, attempt, done, on_outcome)
        failed = _failed(done)
        if not failed:
            break
        todo, concurrency = failed, max(1, concurrency // 2)
    return [done[index] for index in sorted(done)]


def _collect(
    running: dict[Future[Result], tuple[int, Item]],
    attempt: int,
    done: dict[int, Outcome[Item, Result]],
    on_outcome: Callable[[Outcome[Item, Result]], None] | None,
) -> None:
    ended, _ = wait_for_any(running, return_when="FIRST_COMPLETED")
    for future in ended:
        index, item = running.pop(future)
        error = future.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        done[index] = Outcome(index, item, attempt, None if error is not None else future.result(), error)
        if on_outcome is not None:
            on_outcome(done[index])


def _failed(done: dict[int, Outcome[Item, Result]]) -> list[tuple[int, Item]]:
    return [(index, done[index].item) for index in sorted(done) if not done[index].ok]


def _check(concurrency: int, rounds: int) -> None:
    if concurrency < 1 or rounds < 1:
        raise ConfigurationError("concurrency and rounds are at least 1")
