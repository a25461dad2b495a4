"""How a signing secret gives way to its successor: when to ask for it, and from when to sign with it. No IO here."""

from __future__ import annotations

import email.utils
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .errors import KeyUnavailable
from .secret import Secret
from .sources import clean

SUCCESSOR_PATH = "/v1/claviger/signing-secret"
SUCCESSOR_HEADER = "x-claviger-signing-secret"
_PAUSE_SECS = 60.0


@dataclass(frozen=True)
class Successor:
    """A secret that follows, and from when it counts (seconds since 1970, by the gateway's clock)."""

    secret: Secret
    valid_from: float


class Succession:
    """One holder's secret. Safe to use from threads.

    An announcement is asked about once if the answer can be read, else again after a minute, however the asking ended.
    """

    def __init__(self, secret: Secret, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._secret = secret
        # What follows, and when by this machine's clock.
        self._next: tuple[Secret, float] | None = None
        self._announced = self._asking = self._settled = ""
        self._asked_at = float("-inf")

    def secret(self) -> Secret:
        """The one to sign with now."""
        with self._lock:
            if self._next is not None and self._clock() >= self._next[1]:
                self._secret, self._next = self._next[0], None
            return self._secret

    def announce(self, said: str) -> None:
        """The gateway said that there is a successor, in these words."""
        with self._lock:
            self._announced = said

    def wants(self) -> bool:
        """Whether it is time to ask. Whoever is told so asks."""
        with self._lock:
            now = self._clock()
            # A clock that was set back pauses nothing.
            pauses = 0 <= now - self._asked_at < _PAUSE_SECS
            if self._announced in ("", self._settled) or pauses:
                return False
            self._asking, self._asked_at = self._announced, now
            return True

    def succeed(self, answer: bytes, date: str | None) -> list[Successor]:
        """Reads the gateway's answer and its Date; what is news, in the order in which it counts."""
        try:
            found = json.loads(answer)
            current, following = _read(found["current"]), _read(found["next"])
        except (ValueError, KeyError, TypeError, OverflowError, KeyUnavailable):
            return []
        with self._lock:
            self._settled = self._asking
            now, mine = self._clock(), self._secret
            news: list[Successor] = []
            if following is not None and following.secret == mine:
                return news
            if current is not None and current.secret != mine:
                # Somebody put it in this one's place.
                self._secret, self._next = current.secret, None
                news.append(current)
            if following is not None and (self._next is None or self._next[0] != following.secret):
                self._next = (following.secret, following.valid_from - _ahead(date, now))
                news.append(following)
            return news


def _read(held: Any) -> Successor | None:
    if held is None:
        return None
    return Successor(Secret(clean(held["signing_secret"], "the gateway's answer")), rfc3339(held["valid_from"]))


def _ahead(date: str | None, now: float) -> float:
    """By how much the gateway's clock is ahead of this one, as far as it told."""
    parsed = email.utils.parsedate_tz(date) if date else None
    return 0.0 if parsed is None else email.utils.mktime_tz(parsed) - now


def rfc3339(text: str) -> float:
    """Seconds since 1970; raises ValueError."""
    # `fromisoformat` reads Z and any number of digits only since Python 3.11.
    whole = re.fullmatch(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))", text)
    if whole is None:
        raise ValueError("not a time of RFC 3339")
    return datetime.fromisoformat(f"{whole[1]}T{whole[2]}{whole[4] or '+00:00'}").timestamp() + float(whole[3] or 0)
