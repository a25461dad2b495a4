"""Reads `.env` files. Nothing in them is expanded or run."""

from __future__ import annotations

import re

from .errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_ESCAPED = re.compile(r"\\(.)")


def parse_dotenv(text: str) -> dict[str, str]:
    """The variables that a file's text sets.

    Raises ConfigurationError with the number of a line that sets nothing, never with its text.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.removesuffix("\r").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = re.sub(r"^export\s+", "", name).rstrip()
        read = _value(value) if equals and _NAME.fullmatch(name) else None
        if read is None:
            raise ConfigurationError(f"line {number} of the .env file is not NAME=VALUE")
        values[name] = read
    return values


def _value(text: str) -> str | None:
    start = text.lstrip()
    if start[:1] == "'":
        return _quoted(re.match(r"'([^']*)'(.*)", start))
    if start[:1] == '"':
        inside = _quoted(re.match(r'"((?:[^"\\]|\\.)*)"(.*)', start))
        return None if inside is None else _ESCAPED.sub(lambda m: _ESCAPES.get(m[1], m[0]), inside)
    return re.split(r"\s#", text, maxsplit=1)[0].strip()


def _quoted(match: re.Match[str] | None) -> str | None:
    """What stands in the quotes, if nothing but blanks and a remark follows them."""
    if match is None or (match[2].strip() and not re.match(r"\s+#", match[2])):
        return None
    return match[1]
