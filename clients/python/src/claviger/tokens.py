"""Access tokens: what is held, how long it is fresh, and what an answer means for it. No IO here."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from .errors import TokenError
from .secret import Secret

_MAX_MARGIN_SECS = 60.0
_RETRY_REFRESH_SECS = 10.0
# The gateway repeats an answer that was lost for ten seconds; a later repetition it takes for theft.
REPEATED_SECS = 8.0
# In place of an answer that was lost, on something that a call can do without.
LOST_HEADER = "x-claviger-lost"
# RFC 6750, section 2.1.
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


@dataclass(frozen=True)
class Grant:
    """What one answer of the token endpoint gave. Times are on the monotonic clock."""

    access: Secret
    refresh: Secret | None
    stale_at: float
    ends_at: float

    @classmethod
    def read(cls, body: bytes, now: float, wanted: str = "bearer") -> Grant:
        """Reads a 200 answer (RFC 6749, section 5.1) with a token of this type; raises TokenError."""
        try:
            answer = json.loads(body)
            access, lifetime = answer["access_token"], float(answer["expires_in"])
            kind, refresh = str(answer["token_type"]).lower(), answer.get("refresh_token")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TokenError("the token endpoint answered 200 with something that is no token") from None
        if kind != wanted:
            asked = "bound to our proof key" if wanted == "dpop" else "used as a bearer token"
            raise TokenError(f"the token endpoint gave a token that is not {asked}")
        if not isinstance(access, str) or not _B64TOKEN.fullmatch(access) or not lifetime > 0:
            raise TokenError("the token endpoint gave a token that cannot be sent")
        margin = min(_MAX_MARGIN_SECS, lifetime / 10)
        kept = Secret(refresh) if isinstance(refresh, str) and refresh else None
        return cls(Secret(access), kept, now + lifetime - margin, now + lifetime)


class TokenBox:
    """The grant that all calls share, and the one purchase that may be under way (threads and tasks alike)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grant: Grant | None = None
        self._flight: Future[None] | None = None
        self._no_refresh_before = 0.0
        # When a refresh was sent whose answer is still to come, or was lost.
        self._unanswered: float | None = None

    def look(self, now: float) -> Grant | Future[None] | None:
        """A grant to use; else the purchase to wait for; else None: the caller makes the purchase and must `land` it."""
        with self._lock:
            grant = self._grant
            if grant is not None and now < grant.ends_at and (now < grant.stale_at or now < self._no_refresh_before):
                return grant
            if self._flight is not None:
                return self._flight
            self._flight = Future()
            return None

    def land(self) -> None:
        """Ends the purchase, however it went; those who wait look again."""
        with self._lock:
            flight, self._flight = self._flight, None
        if flight is not None:
            flight.set_result(None)

    def refresh_token(self, now: float) -> Secret | None:
        """What the purchase may use instead of the key: it is sent now. One whose answer was lost is not sent again later."""
        with self._lock:
            if self._grant is None or self._grant.refresh is None:
                return None
            if self._unanswered is not None and now - self._unanswered > REPEATED_SECS:
                self._grant, self._unanswered = replace(self._grant, refresh=None), None
                return None
            self._unanswered = now if self._unanswered is None else self._unanswered
            return self._grant.refresh

    def put(self, grant: Grant) -> None:
        """Keeps a new grant."""
        with self._lock:
            self._grant = grant
            self._no_refresh_before = 0.0
            self._unanswered = None

    def holds(self, now: float) -> bool:
        """Whether the grant that is there can still be shown, however stale."""
        with self._lock:
            return self._grant is not None and now < self._grant.ends_at

    def refresh_failed(self, status: int, now: float, answered: bool = True) -> tuple[bool, bool]:
        """After no grant was had: whether the one that is there still holds, and else whether the key may buy.

        A refused refresh token is dropped.
        """
        with self._lock:
            if answered:
                self._unanswered = None
            if self._grant is None:
                return False, True
            if status < 500 and status not in (408, 429):
                self._grant = replace(self._grant, refresh=None)
                return False, True
            self._no_refresh_before = now + _RETRY_REFRESH_SECS
            return now < self._grant.ends_at, False

    def refused(self, access: Secret, code: str | None) -> bool:
        """After a 401 to a call made with `access`. True: get another token and repeat the call once."""
        with self._lock:
            current = self._grant is not None and self._grant.access == access
            if code == "token_expired":
                if current and self._grant is not None:
                    self._grant = replace(self._grant, stale_at=0.0, ends_at=0.0)
                return True
            if code in ("token_revoked", "token_invalid"):
                if current:
                    self._grant = None
                return code == "token_revoked"
            return False

    def clear(self) -> None:
        """Forgets everything; the next call buys by the key."""
        with self._lock:
            self._grant = self._unanswered = None


def error_code(body: bytes) -> str | None:
    """`error.details.error_code` of an envelope."""
    try:
        found: Any = json.loads(body)["error"]["details"]["error_code"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
