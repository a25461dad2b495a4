"""Whether the gateway answers, takes this client's credential, and agrees with its clock."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from typing import Any

SKEW_SECS = 300


@dataclass(frozen=True)
class Health:
    """One look at the gateway."""

    ready: bool
    """`/readyz` answered 200."""
    accepted: bool
    """`/v1/claviger/me` answered 200: key or token and signature are in order."""
    status: int | None
    """What `/v1/claviger/me` answered; None when nothing did."""
    latency_ms: float | None
    clock_offset_secs: float | None
    """This machine's clock less the gateway's, if something on the way sets a Date header (whole seconds); else None."""
    problem: str | None
    """One sentence about the first thing that is wrong."""

    @property
    def ok(self) -> bool:
        return self.ready and self.accepted


def judge(ready: Any, me: Any, error: Exception | None, latency_ms: float | None, now: float) -> Health:
    """From the two answers, whichever came."""
    offset = _offset(me if me is not None else ready, now)
    status = None if me is None else int(me.status_code)
    is_ready = ready is not None and ready.status_code == 200
    return Health(
        ready=is_ready,
        accepted=status == 200,
        status=status,
        latency_ms=latency_ms,
        clock_offset_secs=offset,
        problem=_problem(is_ready, me, error, offset),
    )


def _offset(answer: Any, now: float) -> float | None:
    date = email.utils.parsedate_tz(answer.headers.get("date", "")) if answer is not None else None
    return None if date is None else round(now - email.utils.mktime_tz(date))


def _problem(ready: bool, me: Any, error: Exception | None, offset: float | None) -> str | None:
    if error is not None:
        return f"the gateway does not answer: {type(error).__name__}"
    if offset is not None and abs(offset) > SKEW_SECS:
        side = "ahead of" if offset > 0 else "behind"
        return f"this machine's clock is {abs(offset):.0f} s {side} the gateway's: signed requests are refused beyond {SKEW_SECS} s"
    if not ready:
        return "the gateway is not ready"
    if me is not None and me.status_code == 200:
        return None
    return f"the gateway does not take this client's credential: {_said(me)}"


def _said(answer: Any) -> str:
    """The gateway's own words, which name what is wrong: a clock, a missing signature, a key that is over."""
    try:
        return f"{answer.status_code}, {answer.json()['error']['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(getattr(answer, "status_code", "no answer"))
