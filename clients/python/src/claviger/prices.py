"""The price table behind the cost estimate. What counts is the gateway's ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from typing import Any

CLASSES = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, by price class."""

    input: int = 0
    output: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0

    @classmethod
    def read(cls, usage: Mapping[str, Any]) -> Usage:
        """From the `usage` object of the Messages API; null is zero; writes without their split count as 5 minutes."""
        split = usage.get("cache_creation") or {}
        short = split.get("ephemeral_5m_input_tokens") if split else usage.get("cache_creation_input_tokens")
        return cls(
            input=usage.get("input_tokens") or 0,
            output=usage.get("output_tokens") or 0,
            cache_write_5m=short or 0,
            cache_write_1h=split.get("ephemeral_1h_input_tokens") or 0,
            cache_read=usage.get("cache_read_input_tokens") or 0,
        )

    @property
    def prompt(self) -> int:
        """Everything that went in."""
        return self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read


class Prices:
    """Dollars per million tokens by model and class, exactly."""

    def __init__(self, models: Mapping[str, Mapping[str, Any]]) -> None:
        self._models = {name: _Row.read(row) for name, row in models.items()}

    @classmethod
    def carried(cls) -> Prices:
        """The table that comes with this package."""
        text = resources.files(__package__).joinpath("prices.json").read_text(encoding="utf-8")
        return cls(json.loads(text)["models"])

    def cost(self, model: str, usage: Usage) -> int | None:
        """Pico-dollars; None for a model that the table does not have. A date at the end of the name does not matter."""
        row = self._models.get(model) or self._models.get(re.sub(r"-\d{8}$", "", model))
        return None if row is None else row.cost(usage)


@dataclass(frozen=True)
class _Row:
    rates: Mapping[str, Fraction]
    above_tokens: int | None
    above: Mapping[str, Fraction]

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> _Row:
        above = row.get("above") or {}
        return cls(_rates(row), above.get("prompt_tokens"), _rates(above) if above else {})

    def cost(self, usage: Usage) -> int:
        dear = self.above_tokens is not None and usage.prompt > self.above_tokens
        rates = self.above if dear else self.rates
        total = sum((rates[name] * int(getattr(usage, name)) for name in CLASSES), Fraction(0))
        return int(total)


def _rates(row: Mapping[str, Any]) -> dict[str, Fraction]:
    # One dollar per million tokens is 10^6 pico-dollars per token.
    return {name: Fraction(row[name]) * 10**6 for name in CLASSES}
