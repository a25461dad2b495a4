"""The client-side limiter: calls per second (GCRA with a burst) and calls at once, first come, first served."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

from ._effects import Sleep, Wait, limit_reached
from .errors import ConfigurationError


class Limiter:
    """Shared by all threads and tasks. A call takes a slot, then its turn in the rate; it waits at most `max_wait_secs`."""

    def __init__(
        self,
        *,
        per_second: float | None = None,
        burst: int = 1,
        concurrency: int | None = None,
        max_wait_secs: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if (per_second is not None and not per_second > 0) or burst < 1 or (concurrency is not None and concurrency < 1):
            raise ConfigurationError("a limit is above zero")
        self._interval = None if per_second is None else 1 / per_second
        self._burst = burst
        self._free = concurrency
        self._max_wait_secs = max_wait_secs
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._queue: deque[Future[None]] = deque()
        self._arrival_of_next = float("-inf")

    def acquire(self) -> Generator[Any, Any, None]:
        """A flow: ends when the call may start; raises LimitReached. Followed by one `release`."""
        deadline = self._monotonic() + self._max_wait_secs
        yield from self._slot(deadline)
        try:
            wait = self._turn(deadline)
            if wait > 0:
                yield Sleep(wait)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Gives the slot to who has waited longest, or back."""
        with self._lock:
            while self._queue:
                waiter = self._queue.popleft()
                if waiter.set_running_or_notify_cancel():
                    waiter.set_result(None)
                    return
            if self._free is not None:
                self._free += 1

    def _slot(self, deadline: float) -> Generator[Any, Any, None]:
        with self._lock:
            if self._free is None:
                return
            if self._free > 0:
                self._free -= 1
                return
            waiter: Future[None] = Future()
            self._queue.append(waiter)
        try:
            yield Wait(waiter, max(0.0, deadline - self._monotonic()))
        except BaseException:
            if self._leave(waiter):
                self.release()
            raise
        if not waiter.done() and not self._leave(waiter):
            raise limit_reached()

    def _leave(self, waiter: Future[None]) -> bool:
        """Stops waiting. True: the slot had just been given; the caller that goes away must pass it on."""
        with self._lock:
            if waiter in self._queue:
                self._queue.remove(waiter)
                return False
        return True

    def _turn(self, deadline: float) -> float:
        """Seconds until the rate allows this call; takes the turn."""
        if self._interval is None:
            return 0.0
        with self._lock:
            now = self._monotonic()
            arrival = max(now, self._arrival_of_next)
            start = max(now, arrival - (self._burst - 1) * self._interval)
            if start > deadline:
                raise limit_reached()
            self._arrival_of_next = arrival + self._interval
            return start - now
