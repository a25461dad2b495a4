"""The HTTP library under the official SDK: `httpx2` since version 2 of the SDK, `httpx` before it.

The two have the same shapes and different classes. Whatever of ours a client checks by class descends from both, and
what we make for a request comes from the library of that request.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2 as httpx

    AuthBase = httpx.Auth
    TransportBase = httpx.BaseTransport
    AsyncTransportBase = httpx.AsyncBaseTransport
    SyncStreamBase = httpx.SyncByteStream
    AsyncStreamBase = httpx.AsyncByteStream
    INSTALLED: tuple[ModuleType, ...]
else:

    def _installed() -> tuple[ModuleType, ...]:
        found: list[ModuleType] = []
        for name in ("httpx2", "httpx"):
            if importlib.util.find_spec(name) is not None:
                module = importlib.import_module(name)
                if module not in found:
                    found.append(module)
        if not found:
            raise ImportError("claviger needs httpx2 (or httpx, for SDKs before version 2)")
        return tuple(found)

    def _joined(name: str) -> type:
        return type(name, tuple(dict.fromkeys(getattr(module, name) for module in INSTALLED)), {})

    INSTALLED = _installed()
    httpx = INSTALLED[0]
    AuthBase = _joined("Auth")
    TransportBase = _joined("BaseTransport")
    AsyncTransportBase = _joined("AsyncBaseTransport")
    SyncStreamBase = _joined("SyncByteStream")
    AsyncStreamBase = _joined("AsyncByteStream")

__all__ = [
    "AsyncStreamBase", "AsyncTransportBase", "AuthBase", "SyncStreamBase", "TransportBase", "connection_failure", "httpx",
    "library_of",
]

_NOTHING_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"}


def library_of(thing: object) -> Any:
    """The library that this request or response comes from."""
    name = type(thing).__module__.partition(".")[0]
    return sys.modules.get(name) if any(module.__name__ == name for module in INSTALLED) else httpx


def connection_failure(error: BaseException) -> str | None:
    """`connect` when nothing was sent, `lost` when the answer was lost; None for what is no failure of the connection."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "TransportError" not in names:
        return None
    return "connect" if names & _NOTHING_SENT else "lost"
