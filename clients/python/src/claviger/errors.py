"""What can go wrong on this side. No message holds a secret."""

from __future__ import annotations


class ClavigerError(Exception):
    """Every error that this package raises by itself.

    An SDK takes any exception from below for a lost connection and tries again. So the clients that `Claviger` makes give an
    SDK an answer instead, with this status and type, the error's text, and `x-should-retry: false`.
    """

    status = 400
    kind = "invalid_request_error"


class ConfigurationError(ClavigerError):
    """A setting is missing or cannot be; the text names it."""


class KeyUnavailable(ClavigerError):
    """The key could not be had from its source. There is no fallback to another source."""

    status = 401
    kind = "authentication_error"


class UnsafeFile(KeyUnavailable):
    """A file with a secret can be read or written by others."""


class NotSignable(ClavigerError):
    """The body cannot be signed; the text says why."""

    status = 413
    kind = "request_too_large"


class WrongOrigin(ClavigerError):
    """A request goes elsewhere than to the gateway, so it gets no credential."""


class TokenError(ClavigerError):
    """The token endpoint answered 200 with something that is no token."""


class LimitReached(ClavigerError):
    """The client's own limiter would make this call wait longer than allowed."""

    status = 429
    kind = "rate_limit_error"
