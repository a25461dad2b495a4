"""Reads the usage out of an answer while it passes by: one JSON object, or an event stream."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

from .prices import Usage

MAX_JSON = 32 * 1024 * 1024
_MAX_EVENT = 1024 * 1024
_BORDER = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")


class UsageReader(Protocol):
    """Takes an answer piece by piece."""

    @property
    def model(self) -> str | None: ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def ended(self) -> bool: ...

    def feed(self, chunk: bytes) -> None: ...

    def close(self) -> None: ...


class JsonUsage:
    """The `usage` of one message. Answers beyond 32 MiB are not read."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.usage: Usage | None = None
        self.ended = False
        self._kept: bytearray | None = bytearray()

    def feed(self, chunk: bytes) -> None:
        if self._kept is not None:
            self._kept += chunk
            if len(self._kept) > MAX_JSON:
                self._kept = None

    def close(self) -> None:
        try:
            answer = json.loads(bytes(self._kept)) if self._kept else None
        except ValueError:
            answer = None
        self.ended = isinstance(answer, dict)
        if isinstance(answer, dict) and isinstance(answer.get("usage"), dict):
            self.model, self.usage = _text(answer.get("model")), _read(answer["usage"])


class StreamUsage:
    """The usage of an event stream: `message_start`, then what each `message_delta` replaces."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.ended = False
        self._numbers: dict[str, Any] | None = None
        self._rest = bytearray()
        self._seen = 0

    @property
    def usage(self) -> Usage | None:
        return None if self._numbers is None else _read(self._numbers)

    def feed(self, chunk: bytes) -> None:
        self._rest += chunk
        while match := _BORDER.search(self._rest, max(0, self._seen - 3)):
            event = bytes(self._rest[: match.start()])
            del self._rest[: match.end()]
            self._seen = 0
            self._take(event)
        self._seen = len(self._rest)
        if len(self._rest) > _MAX_EVENT:
            self._rest.clear()
            self._seen = 0

    def close(self) -> None:
        """An event without its empty line was not sent whole."""
        self._rest.clear()

    def _take(self, event: bytes) -> None:
        lines = _LINE.split(event)
        data = b"\n".join(line[5:].lstrip(b" ") for line in lines if line.startswith(b"data:"))
        if not any(name in data for name in (b"message_start", b"message_delta", b"message_stop")):
            return
        try:
            read = json.loads(data)
            kind = read.get("type")
        except (ValueError, AttributeError):
            return
        if kind == "message_start":
            message = read.get("message") or {}
            self.model = _text(message.get("model"))
            self._numbers = dict(message.get("usage") or {})
        elif kind == "message_delta" and self._numbers is not None:
            self._numbers.update({name: n for name, n in (read.get("usage") or {}).items() if n is not None})
        elif kind == "message_stop":
            self.ended = True


class Decoded:
    """A reader behind the content coding of the answer."""

    def __init__(self, reader: UsageReader, coding: str) -> None:
        self.reader = reader
        # 47 reads gzip and zlib by their headers.
        self._decoder = zlib.decompressobj(47) if coding in ("gzip", "deflate") else None
        self._readable = self._decoder is not None or coding in ("", "identity")

    def feed(self, chunk: bytes) -> None:
        if not self._readable:
            return
        try:
            self.reader.feed(self._decoder.decompress(chunk) if self._decoder is not None else chunk)
        except zlib.error:
            self._readable = False

    def close(self) -> None:
        if self._readable:
            self.reader.close()


def reader_for(headers: Mapping[str, str]) -> Decoded | None:
    """The reader for an answer with these headers; None for what has no usage."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = headers.get("content-encoding", "").strip().lower()
    if kind == "text/event-stream":
        return Decoded(StreamUsage(), coding)
    return Decoded(JsonUsage(), coding) if kind == "application/json" else None


def _read(numbers: Mapping[str, Any]) -> Usage | None:
    try:
        usage = Usage.read(numbers)
    except AttributeError:
        return None
    counts = (usage.input, usage.output, usage.cache_write_5m, usage.cache_write_1h, usage.cache_read)
    return usage if all(isinstance(n, int) and n >= 0 for n in counts) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
