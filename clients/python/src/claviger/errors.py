"""What can go wrong on this side. No message holds a secret."""

from __future__ import annotations


class ClavigerError(Exception):
    """Every error that this package raises by itself."""


class ConfigurationError(ClavigerError):
    """A setting is missing or cannot be; the text names it."""


class KeyUnavailable(ClavigerError):
    """The key could not be had from its source. There is no fallback to another source."""


class UnsafeFile(KeyUnavailable):
    """A file with a secret can be read or written by others."""


class NotSignable(ClavigerError):
    """The body cannot be signed; the text says why."""


class WrongOrigin(ClavigerError):
    """A request goes elsewhere than to the gateway, so it gets no credential."""


class TokenError(ClavigerError):
    """The token endpoint answered 200 with something that is no token."""


class LimitReached(ClavigerError):
    """The client's own limiter would make this call wait longer than allowed."""
