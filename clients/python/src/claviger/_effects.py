"""One flow for threads and for asyncio.

A flow is a generator that says what it wants done; `run` does it in a thread, `arun` in an event loop. So the decisions
stand once, and both clients take the same way.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from .errors import LimitReached

WAIT_SECS = 120.0


@dataclass(frozen=True)
class Send:
    """Send a request; the driver knows how. The result is the response."""

    request: Any


@dataclass(frozen=True)
class Call:
    """Do something that may block."""

    work: Callable[[], Any]

    def run(self) -> Any:
        return self.work()

    async def arun(self) -> Any:
        return await asyncio.to_thread(self.work)


@dataclass(frozen=True)
class Wait:
    """Wait for what another call does. False when it took longer than `secs`."""

    future: Future[None]
    secs: float = WAIT_SECS

    def run(self) -> bool:
        try:
            self.future.result(self.secs)
        except concurrent.futures.TimeoutError:
            return False
        return True

    async def arun(self) -> bool:
        # Shielded: one waiter that is cancelled must not cancel what others wait for.
        waiter = asyncio.shield(asyncio.wrap_future(self.future))
        try:
            await asyncio.wait_for(waiter, self.secs)
        except (asyncio.TimeoutError, TimeoutError):
            return False
        return True


@dataclass(frozen=True)
class Sleep:
    """Let time pass."""

    secs: float

    def run(self) -> None:
        time.sleep(self.secs)

    async def arun(self) -> None:
        await asyncio.sleep(self.secs)


@dataclass(frozen=True)
class ReadAnswer:
    """Read a response's body; the result is its bytes, decoded."""

    response: Any

    def run(self) -> bytes:
        return bytes(self.response.read())

    async def arun(self) -> bytes:
        return bytes(await self.response.aread())


@dataclass(frozen=True)
class CloseAnswer:
    """Let go of a response that nobody reads."""

    response: Any

    def run(self) -> None:
        self.response.close()

    async def arun(self) -> None:
        await self.response.aclose()


@dataclass(frozen=True)
class Drain:
    """Feed a request's body to a function, piece by piece."""

    request: Any
    take: Callable[[bytes], None]

    def run(self) -> None:
        for chunk in self.request.stream:
            self.take(chunk)

    async def arun(self) -> None:
        async for chunk in self.request.stream:
            self.take(chunk)


def limit_reached() -> LimitReached:
    """The one text for it."""
    return LimitReached("this client's own limit would make the call wait longer than allowed")
