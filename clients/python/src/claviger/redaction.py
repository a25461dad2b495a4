"""Keeps secrets out of logs: what our, the provider's and other tokens look like, in plain and in encoded forms."""

from __future__ import annotations

import base64
import json
import logging
import re
import traceback
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

MASK = "[redacted]"
_MIN_KNOWN = 6
_NAMES = (
    "authorization|proxy-authorization|x-api-key|api-key|x-vault-token|x-request-signature|signature|dpop|cookie|set-cookie"
)
_FIELDS = "access_token|refresh_token|client_secret|signing_secret|api_key|wrapping_token|password|id_token|subject_token|assertion"
_PATTERNS = [
    # Ours, of any brand: keys and side tokens.
    re.compile(r"[a-z]{3}(?:_|%5[Ff])[a-z]{4}(?:_|%5[Ff])[0-9A-Za-z]{43}(?![0-9A-Za-z])"),
    re.compile(r"cvg(?:_|%5[Ff])[a-z]{3,6}(?:_|%5[Ff])[0-9A-Za-z]{16,}"),
    re.compile(r"sk(?:-|%2[Dd])ant(?:-|%2[Dd])(?:[0-9A-Za-z_\-]|%2[Dd]|%5[Ff]){16,}"),
    # JWTs: three parts, the first two JSON objects. Only where a run begins, else long runs take quadratic time.
    re.compile(r"(?<![0-9A-Za-z_\-])eyJ[0-9A-Za-z_\-]{8,}\.eyJ[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]*"),
]
# What may hide one in another alphabet, and what it looks like there: its ends are not known.
_HEX = re.compile(r"[0-9a-fA-F]{64,}")
_BASE64 = re.compile(r"[0-9A-Za-z+/_\-]{32,}={0,2}")
_ESCAPED = re.compile(r"[0-9A-Za-z%._~\-]{40,}")
_STANDARD = str.maketrans("-_", "+/")
_DECODED = re.compile(
    r"[a-z]{3}_[a-z]{4}_[0-9A-Za-z]{43}|sk-ant-[a-z0-9]+-[0-9A-Za-z_\-]{16}|eyJ[0-9A-Za-z_\-]{6,}(\.?)"
)
# Header and value, as sent or as printed by a language: name, quote, separator, quote, scheme, value.
_HEADER = re.compile(
    rf"(?i)(?<![A-Za-z0-9_\-])({_NAMES})((?:\\?['\"])?\s*[:=,]\s*(?:b?\\?['\"])?)((?:bearer|basic|dpop|digest)\s+)?"
    r"([^\s'\"\\,;&)\]}]+)"
)
_FIELD = re.compile(rf"(?i)(?<![A-Za-z0-9_\-])({_FIELDS})(\\?['\"]?\s*[:=]\s*\\?['\"]?)([^\s'\"\\,;&)\]}}]+)")


class Redactor:
    """Takes secrets out of text. Knows forms, and values that it was told, whatever they look like."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        forms = {form for secret in known if len(secret) >= _MIN_KNOWN for form in _forms(secret)}
        ordered = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(form) for form in ordered)) if ordered else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern in _PATTERNS:
            text = pattern.sub(MASK, text)
        text = _HEADER.sub(_mask_header, self._decoded(text, 0))
        return _FIELD.sub(lambda m: f"{m[1]}{m[2]}{MASK}", text)

    def _decoded(self, text: str, depth: int) -> str:
        """Without what hides a secret in another alphabet, or in one that was put into another."""
        text = _HEX.sub(lambda m: self._hex(m[0], depth), text)
        text = _BASE64.sub(lambda m: self._base64(m[0], depth), text)
        return _ESCAPED.sub(lambda m: self._escaped(m[0], depth), text)

    def _hex(self, run: str, depth: int) -> str:
        shown = any(self._is_secret(bytes.fromhex(part[: len(part) & ~1]), depth) for part in (run, run[1:]))
        return MASK if shown else run

    def _base64(self, given: str, depth: int) -> str:
        run = given.rstrip("=").translate(_STANDARD)
        # A group of four may begin at any of four places.
        for part in (run[lead:] for lead in range(4)):
            whole = part[:-1] if len(part) % 4 == 1 else part
            if self._is_secret(base64.b64decode(whole + "=" * (-len(whole) % 4)), depth):
                return MASK
        return given

    def _escaped(self, run: str, depth: int) -> str:
        return MASK if "%" in run and self._is_secret(unquote_to_bytes(run), depth) else run

    def _is_secret(self, raw: bytes, depth: int) -> bool:
        text = raw.decode(errors="replace")
        if self._known is not None and self._known.search(text):
            return True
        if any(match[1] != "" for match in _DECODED.finditer(text)):
            return True
        # What is no text was read from a wrong place, or holds nothing that can be read.
        return depth == 0 and raw.isascii() and self._decoded(text, 1) != text


def _mask_header(match: re.Match[str]) -> str:
    name, between, scheme, _ = match.groups()
    # `'x-api-key', 'abc'`: a comma parts name and value only between quotes.
    if "," in between and not re.search(r"['\"]\s*,", between):
        return match[0]
    return f"{name}{between}{scheme or ''}{MASK}"


def _forms(secret: str) -> set[str]:
    data = secret.encode()
    escaped = quote(secret, safe="")
    every = "".join(chr(b) if chr(b).isalnum() and b < 128 else f"%{b:02X}" for b in data)
    made = {secret, escaped, escaped.lower(), every, quote(secret), data.hex(), data.hex().upper()}
    made |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    standard = base64.b64encode(data).decode()
    urlsafe = base64.urlsafe_b64encode(data).decode()
    return made | {standard, standard.rstrip("="), urlsafe, urlsafe.rstrip("=")}


redact = Redactor()
"""Takes out what looks like a secret."""


class RedactingFilter(logging.Filter):
    """For a *handler*: masks message, arguments, exceptions and stack of every record that passes.

    `logging.getLogger().handlers[0].addFilter(RedactingFilter(known=[…]))`. On a handler it also sees the records of child
    loggers, which a filter on a logger does not. Masked records are copies in effect: other handlers get them masked, too.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        super().__init__()
        self._redact = Redactor(known)

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            record.msg = self._redact(record.getMessage())
        except Exception:
            record.msg = f"a log record of {record.name} could not be formatted"
        record.args = None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self._redact("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        for name, value in list(record.__dict__.items()):
            if name not in ("msg", "exc_text", "stack_info", "levelname", "name"):
                record.__dict__[name] = self._masked(value)
        return True

    def _masked(self, value: Any) -> Any:
        """What `extra` brought: texts masked; of other things the text, where that holds a secret."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return self._redact(value)
        try:
            text = str(value)
        except Exception:
            return MASK
        masked = self._redact(text)
        return value if masked == text else masked
