"""A value that is shown only where it is asked for."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Text that does not print: `repr`, `str` and formatting give its kind only, and it cannot be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret([redacted])"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def public_id(key: str) -> str | None:
    """The public part of one of our keys, by which signatures name it; None for text of another form."""
    tagged = len(key) == 52 and key[:3].isascii() and key[:3].islower() and key[3:9] in ("_live_", "_test_")
    return key[9:19] if tagged and key[9:].isalnum() and key.isascii() else None
