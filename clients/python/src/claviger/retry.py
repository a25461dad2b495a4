"""Whether to try again, and after how long. Never twice what an SDK tries again by itself."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Failure = Literal["connect", "lost"]
_WITHOUT_EFFECT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(frozen=True)
class Retry:
    """The policy; times in seconds."""

    max_retries: int = 3
    base_secs: float = 1.0
    cap_secs: float = 60.0
    jitter: float = 0.25


@dataclass(frozen=True)
class Failed:
    """An attempt that did not succeed."""

    method: str
    attempt: int
    """How many attempts failed before this one."""
    sdk: bool
    """An official SDK made the request and will try again by itself."""
    status: int | None = None
    error: Failure | None = None
    headers: Mapping[str, str] | None = None
    replayable: bool = True


@dataclass(frozen=True)
class Decision:
    """`wait_secs` is None when nobody here tries again; `forbid` when the SDK must not, either."""

    wait_secs: float | None = None
    forbid: bool = False


def decide(policy: Retry, failed: Failed, random: float, now: float) -> Decision:
    """`random` is in [0, 1), `now` the wall clock in seconds, for waits told as a date."""
    headers = failed.headers or {}
    told = _told_wait(headers, now)
    if failed.sdk:
        too_long = told is not None and told > policy.cap_secs
        return Decision(forbid=too_long and failed.status is not None and _worth_it(failed.status, headers))
    if not failed.replayable or failed.attempt >= policy.max_retries:
        return Decision()
    if failed.status is None:
        repeatable = failed.error == "connect" or failed.method.upper() in _WITHOUT_EFFECT
    else:
        repeatable = _worth_it(failed.status, headers)
    if not repeatable or (told is not None and told > policy.cap_secs):
        return Decision()
    return Decision(wait_secs=told if told is not None else _backoff(policy, failed.attempt, random))


def _worth_it(status: int, headers: Mapping[str, str]) -> bool:
    if status < 400:
        return False
    said = headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return status in (408, 409, 429) or (status >= 500 and status != 501)


def _backoff(policy: Retry, attempt: int, random: float) -> float:
    doubled = policy.base_secs * 2.0 ** min(attempt, 60)
    return min(policy.cap_secs, doubled) * (1 - policy.jitter * random)


def _told_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds above zero, or None."""
    readings = (_number(headers.get("retry-after-ms"), 1000), _number(headers.get("retry-after"), 1))
    found = next((value for value in readings if value is not None), None)
    if found is None:
        found = _date(headers.get("retry-after"), now)
    return found if found is not None and found > 0 else None


def _number(text: str | None, divisor: int) -> float | None:
    try:
        value = float(text) / divisor if text is not None else math.nan
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _date(text: str | None, now: float) -> float | None:
    parsed = email.utils.parsedate_tz(text) if text else None
    return None if parsed is None else email.utils.mktime_tz(parsed) - now
