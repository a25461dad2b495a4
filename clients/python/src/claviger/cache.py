"""An optional cache of answers to equal questions. Off unless it is given."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_CACHED_HEADERS = ("anthropic-version", "anthropic-beta", "accept")
# A request with one of these may act, or be answered differently each time.
_NEVER = ("tools", "mcp_servers", "container", "stream")


@dataclass(frozen=True)
class Kept:
    """A whole answer."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    until: float


class ResponseCache:
    """Exact: only a request with the same bytes to the same path gets a kept answer. Bounded in entries, bytes and time.

    Only whole 200 answers to `POST /v1/messages` without streaming and without tools are kept. A cache belongs to one client,
    hence to one key.
    """

    def __init__(
        self,
        *,
        ttl_secs: float = 300.0,
        max_entries: int = 256,
        max_bytes: int = 64 * 1024 * 1024,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_secs = ttl_secs
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    @property
    def max_answer(self) -> int:
        """Longer answers are not kept."""
        return self._max_bytes // 8

    def key(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes | None) -> str | None:
        """What the request is kept under; None when it is not of the kind."""
        if method != "POST" or not path.endswith("/v1/messages") or body is None:
            return None
        try:
            asked = json.loads(body)
        except ValueError:
            return None
        if not isinstance(asked, dict) or any(asked.get(name) for name in _NEVER):
            return None
        digest = hashlib.sha256()
        for part in (path, query, *(headers.get(name, "") for name in _CACHED_HEADERS)):
            digest.update(f"{len(part)}:{part}".encode())
        digest.update(body)
        return digest.hexdigest()

    def get(self, key: str) -> Kept | None:
        """A kept answer that is not too old."""
        with self._lock:
            kept = self._entries.get(key)
            if kept is None:
                return None
            if self._monotonic() >= kept.until:
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return kept

    def put(self, key: str, headers: Any, body: bytes) -> None:
        """Keeps an answer; what was used longest ago goes."""
        if len(body) > self.max_answer:
            return
        with self._lock:
            self._drop(key)
            self._entries[key] = Kept(tuple(headers), body, self._monotonic() + self._ttl_secs)
            self._bytes += len(body)
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _drop(self, key: str) -> None:
        kept = self._entries.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.body)
