"""Writes statistics.json: what the statistics must show after given calls, in exact fractions and from the prices' text.

`python figures.py` writes the file, `--check` compares it. It shares no line with any client.
"""

import json
import math
import pathlib
import sys
from fractions import Fraction

FILE = pathlib.Path(__file__).with_name("statistics.json")
PRICES = {
    "plain": {"input": "4", "output": "20", "cache_write_5m": "5", "cache_write_1h": "8", "cache_read": "0.20"},
    "fine": {"input": "0.0055", "output": "0.000001", "cache_write_5m": "0.125", "cache_write_1h": "0.20", "cache_read": "0.01"},
    "band": {
        "input": "0.10", "output": "0.50", "cache_write_5m": "0.125", "cache_write_1h": "0.20", "cache_read": "0.01",
        "above": {"prompt_tokens": 100000, "input": "0.50", "output": "2.50", "cache_write_5m": "0.625", "cache_write_1h": "1.00",
                  "cache_read": "0.05"},
    },
}
USAGE = {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def call(ms, model="plain", status=200, hit=False, usage=None):
    made = {"latency_ms": ms, "model": model, "status": status, "cache_hit": hit}
    return made | ({"usage": usage} if usage is not None else {})


def classes(usage: dict) -> dict:
    writes = usage.get("cache_creation_input_tokens") or 0
    split = usage.get("cache_creation") or {}
    hour = split.get("ephemeral_1h_input_tokens", 0)
    return {
        "input": usage.get("input_tokens") or 0,
        "output": usage.get("output_tokens") or 0,
        "cache_write_5m": split.get("ephemeral_5m_input_tokens", 0) if split else writes,
        "cache_write_1h": hour,
        "cache_read": usage.get("cache_read_input_tokens") or 0,
    }


def pico(model: str, usage: dict):
    """Pico-dollars, or None for a model without a price. One dollar per million tokens is 10^6 pico-dollars a token."""
    base, _, tail = model.rpartition("-")
    row = PRICES.get(model) or (PRICES.get(base) if len(tail) == 8 and tail.isdigit() else None)
    if row is None:
        return None
    counts = classes(usage)
    prompt = sum(n for name, n in counts.items() if name != "output")
    if "above" in row and prompt > row["above"]["prompt_tokens"]:
        row = row["above"]
    total = sum(Fraction(row[name]) * 10**6 * n for name, n in counts.items())
    assert total.denominator == 1
    return int(total)


def percentile(sorted_values, part: Fraction):
    """The nearest rank: the smallest value that at least this part of all values do not exceed."""
    return sorted_values[math.ceil(part * len(sorted_values)) - 1]


def expect(calls) -> dict:
    sent = [c for c in calls if not c["cache_hit"]]
    latencies = sorted(c["latency_ms"] for c in sent)
    paid = [(c["model"], c["usage"]) for c in sent if "usage" in c]
    tokens = [classes(usage) for _, usage in paid]
    tokens_in = sum(sum(n for name, n in t.items() if name != "output") for t in tokens)
    tokens_out = sum(t["output"] for t in tokens)
    costs = [pico(model, usage) for model, usage in paid]
    empty = not latencies
    return {
        "requests": len(calls),
        "errors": sum(1 for c in calls if c["status"] is None or c["status"] >= 400),
        "cache_hits": sum(1 for c in calls if c["cache_hit"]),
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "tokens_per_request": float(Fraction(tokens_in + tokens_out, len(paid))) if paid else 0.0,
        "latency_mean_ms": None if empty else float(Fraction(sum(latencies), len(latencies))),
        "latency_p50_ms": None if empty else percentile(latencies, Fraction(50, 100)),
        "latency_p95_ms": None if empty else percentile(latencies, Fraction(95, 100)),
        "latency_p99_ms": None if empty else percentile(latencies, Fraction(99, 100)),
        "estimated_cost_pico_usd": str(sum(c for c in costs if c is not None)),
        "unpriced_requests": sum(1 for c in costs if c is None),
    }


def cases():
    some = USAGE | {"input_tokens": 100, "output_tokens": 50}
    split = USAGE | {
        "input_tokens": 10, "output_tokens": 7, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 5000,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    }
    runs = {
        "nothing yet": [],
        "one": [call(120, usage=some)],
        "two": [call(200, usage=some), call(100, usage=some)],
        "1 to 100 ms": [call(ms, usage=some) for ms in range(100, 0, -1)],
        "1 to 101 ms": [call(ms, usage=some) for ms in range(1, 102)],
        "twenty and an outlier": [call(10, usage=some)] * 20 + [call(9000, usage=some)],
        "errors and lost answers": [call(5, status=429), call(6, status=500), call(7, status=None), call(8, usage=some)],
        "hits cost nothing and take no time": [call(100, usage=some), call(0, hit=True, usage=some), call(0, hit=True, usage=some)],
        "calls without usage": [call(30), call(50, usage=some)],
        "cache writes by their life": [call(1, usage=split)],
        "cache writes without the split": [call(1, usage=split | {"cache_creation": None})],
        "nulls are zero": [call(1, usage={"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": None})],
        "parts of a pico-dollar's price": [call(1, model="fine", usage=split)],
        "at the band": [call(1, model="band", usage=USAGE | {"input_tokens": 99000, "cache_read_input_tokens": 1000, "output_tokens": 3})],
        "above the band": [call(1, model="band", usage=USAGE | {"input_tokens": 99001, "cache_read_input_tokens": 1000, "output_tokens": 3})],
        "a dated name": [call(1, model="plain-20251001", usage=some)],
        "a model without a price": [call(1, model="claude-nothing", usage=some), call(1, usage=some)],
        "more than 2^53 pico-dollars": [call(1, usage=USAGE | {"output_tokens": 900_000_001})],
    }
    return [{"name": name, "calls": calls, "expect": expect(calls)} for name, calls in runs.items()]


def streams():
    start = (
        'event: message_start\ndata: {"type":"message_start","message":{"model":"plain","usage":{"input_tokens":25,'
        '"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},'
        '"cache_read_input_tokens":5,"output_tokens":1}}}\n\n'
    )
    ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n"
    text = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"message_delta {\\"usage\\":1}"}}\n\n'
    first = 'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":7}}\n\n'
    last = (
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":12,'
        '"input_tokens":40,"cache_read_input_tokens":null}}\n\n'
    )
    stop = 'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    error = 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n'
    whole = {"model": "plain", "input_tokens": 40, "output_tokens": 12, "cache_write_5m": 10, "cache_write_1h": 20, "cache_read": 5}
    begun = whole | {"input_tokens": 25, "output_tokens": 1}
    return [
        {"name": "the last numbers count, null keeps the earlier one", "sse": start + ping + text + first + last + stop, "ended": True,
         "usage": whole},
        {"name": "line ends with CR", "sse": (start + text + last + stop).replace("\n", "\r\n"), "ended": True, "usage": whole},
        {"name": "padding", "sse": (start + last + stop).replace("}\n\n", "}      \n\n"), "ended": True, "usage": whole},
        {"name": "cut", "sse": start + text, "ended": False, "usage": begun},
        {"name": "cut inside an event", "sse": start + last[:-1], "ended": False, "usage": begun},
        {"name": "an error in the middle", "sse": start + text + error, "ended": False, "usage": begun},
        {"name": "nothing", "sse": "", "ended": False, "usage": None},
    ]


def document() -> str:
    about = (
        "Statistics after the calls. status null: no answer came. Latencies are those of calls sent, cache hits apart, in whole"
        " milliseconds; percentiles by nearest rank. Tokens in are input, cache writes and cache reads; tokens per request counts"
        " calls with usage. Cost in whole pico-dollars (10^-12) as a decimal string, by the prices given here (USD per million"
        " tokens); a model's name may end in a date. streams: the usage that is read from an event stream, whatever pieces it"
        " arrives in; ended: message_stop was seen."
    )
    whole = {"about": about, "prices": PRICES, "cases": cases(), "streams": streams()}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.read_text(encoding="utf-8") == document() else "statistics.json is not what this script writes")
    FILE.write_text(document(), encoding="utf-8")
