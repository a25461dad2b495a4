"""A request's body as something that can be signed and sent more than once."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from typing import IO, Any

from ._effects import Drain
from ._http import AsyncStreamBase, SyncStreamBase
from .errors import NotSignable

_CHUNK = 64 * 1024
_IN_MEMORY = 8 * 1024 * 1024


class SpooledBody(SyncStreamBase, AsyncStreamBase):
    """A body that was a stream: kept in memory up to 8 MiB, beyond that in an unnamed temporary file."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)

    def add(self, chunk: bytes) -> None:
        """Takes one more piece, within the bound."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            self._file.close()
            raise NotSignable(
                f"the body is longer than the {self._max_bytes} bytes that are kept for signing (max_body_bytes): a signature"
                " stands before the body, so the body must be known before it is sent"
            )
        self._file.write(chunk)

    def pieces(self) -> Iterator[bytes]:
        """The body from its beginning."""
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            yield chunk

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.pieces():
            yield chunk


def whole_body(message: Any) -> bytes | None:
    """The body of a request or response that holds it in memory."""
    try:
        content = message.content
    except Exception:  # RequestNotRead or ResponseNotRead of either library: it is a stream.
        return None
    return content if isinstance(content, bytes) else None


def pieces_of(request: Any, max_bytes: int) -> Generator[Any, Any, Iterator[bytes]]:
    """The body's pieces; a stream is spooled first and replaced by what can be read again."""
    content = whole_body(request)
    if content is not None:
        return iter((content,))
    spooled = request.stream
    if not isinstance(spooled, SpooledBody):
        spooled = SpooledBody(max_bytes)
        yield Drain(request, spooled.add)
        request.stream = spooled
    return spooled.pieces()


def is_replayable(request: Any) -> bool:
    """Whether the body can be sent again."""
    return whole_body(request) is not None or isinstance(request.stream, SpooledBody)
