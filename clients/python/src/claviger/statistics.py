"""What the calls of one client came to."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from .prices import Prices, Usage

KEPT_LATENCIES = 10_000


@dataclass(frozen=True)
class Summary:
    """One reading. Latencies are from sending to the answer's last byte, in milliseconds, over the last 10 000 calls sent."""

    requests: int
    errors: int
    cache_hits: int
    retries: int
    input_tokens: int
    output_tokens: int
    tokens_per_request: float
    """Over the calls that had usage."""
    latency_mean_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    estimated_cost_pico_usd: int
    unpriced_requests: int
    """Calls of models that the price table does not have."""

    @property
    def estimated_cost_usd(self) -> Decimal:
        """The same in dollars. An estimate: what counts is the gateway's ledger."""
        return Decimal(self.estimated_cost_pico_usd).scaleb(-12)

    @property
    def cache_hit_rate(self) -> float:
        """Hits per call, 0 to 1."""
        return self.cache_hits / self.requests if self.requests else 0.0


class Statistics:
    """Counts calls; safe to use from threads."""

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = prices or Prices.carried()
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        with self._lock:
            self._requests = self._errors = self._hits = self._retries = 0
            self._input = self._output = self._with_usage = self._cost = self._unpriced = 0
            self._latencies: deque[float] = deque(maxlen=KEPT_LATENCIES)

    def hit(self) -> None:
        """A call that the cache answered."""
        with self._lock:
            self._requests += 1
            self._hits += 1

    def retry(self) -> None:
        """An attempt that this adapter repeats."""
        with self._lock:
            self._retries += 1

    def sent(self, *, status: int | None, latency_ms: float, model: str | None = None, usage: Usage | None = None) -> None:
        """A call that was sent; `status` None when no answer came."""
        cost = self._prices.cost(model or "", usage) if usage is not None else 0
        with self._lock:
            self._requests += 1
            self._errors += status is None or status >= 400
            self._latencies.append(latency_ms)
            if usage is not None:
                self._with_usage += 1
                self._input += usage.prompt
                self._output += usage.output
                self._cost += cost or 0
                self._unpriced += cost is None

    def summary(self) -> Summary:
        """All numbers at one moment."""
        with self._lock:
            ordered = sorted(self._latencies)
            tokens = self._input + self._output
            return Summary(
                requests=self._requests,
                errors=self._errors,
                cache_hits=self._hits,
                retries=self._retries,
                input_tokens=self._input,
                output_tokens=self._output,
                tokens_per_request=tokens / self._with_usage if self._with_usage else 0.0,
                latency_mean_ms=math.fsum(ordered) / len(ordered) if ordered else None,
                latency_p50_ms=percentile(ordered, 50),
                latency_p95_ms=percentile(ordered, 95),
                latency_p99_ms=percentile(ordered, 99),
                estimated_cost_pico_usd=self._cost,
                unpriced_requests=self._unpriced,
            )


def percentile(ordered: list[float], percent: int) -> float | None:
    """By nearest rank: the smallest value that at least so many percent do not exceed."""
    if not ordered:
        return None
    return ordered[-(-percent * len(ordered) // 100) - 1]
