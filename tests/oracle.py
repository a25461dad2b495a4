"""What a call costs, worked out independently of Claviger: exact fractions of a dollar, from the published price table.

A usage object is the provider's own, as it was sent on the wire. Nothing here is shared with the program under test.
"""

from fractions import Fraction

MILLION = 1_000_000
PICO = 10**12


def row(inp, out, write5, write1, read):
    return {k: Fraction(str(v)) / MILLION for k, v in
            dict(input=inp, output=out, write5=write5, write1=write1, read=read).items()}


FABLE_52 = row(8, 40, 10, 16, "0.20")
OPUS_5 = row(5, 25, "6.25", 10, "0.50")
OPUS_4 = row(15, 75, "18.75", 30, "1.50")
STANDARD = {
    "claude-fable-5-2": FABLE_52,
    "claude-mythos-5-2": FABLE_52,
    "claude-fable-5-1": row(10, 50, "12.50", 20, "0.25"),
    "claude-mythos-5-1": row(10, 50, "12.50", 20, "0.25"),
    "claude-fable-5": row(10, 50, "12.50", 20, "1.00"),
    "claude-mythos-5": row(10, 50, "12.50", 20, "1.00"),
    "claude-opus-5-5": row(4, 20, 5, 8, "0.20"),
    "claude-opus-5": OPUS_5,
    "claude-opus-4-8": OPUS_5,
    "claude-opus-4-7": OPUS_5,
    "claude-opus-4-6": OPUS_5,
    "claude-opus-4-5": OPUS_5,
    "claude-sonnet-5-5": row(2, 10, "2.50", 4, "0.10"),
    "claude-sonnet-5": row(2, 10, "2.50", 4, "0.20"),
    "claude-sonnet-4-6": row(3, 15, "3.75", 6, "0.30"),
    "claude-sonnet-4-5": row(3, 15, "3.75", 6, "0.30"),
    "claude-haiku-5-5": row("0.10", "0.50", "0.125", "0.20", "0.01"),
    "claude-haiku-4-5": row(1, 5, "1.25", 2, "0.10"),
    "claude-opus-4-1": OPUS_4,
}
FAST = {
    "claude-fable-5-2": row(16, 80, 20, 32, "0.40"),
    "claude-opus-5-5": row(8, 40, 10, 16, "0.40"),
    "claude-opus-5": row(10, 50, "12.50", 20, "1.00"),
    "claude-opus-4-8": row(10, 50, "12.50", 20, "1.00"),
}
HAIKU_55_LONG = row("0.50", "2.50", "0.625", "1.00", "0.05")
HAIKU_55_BAND = 100_000
ALIASES = {"claude-opus-4-5-20251101": "claude-opus-4-5", "claude-sonnet-4-5-20250929": "claude-sonnet-4-5",
           "claude-haiku-4-5-20251001": "claude-haiku-4-5", "claude-opus-4-1-20250805": "claude-opus-4-1"}
NO_GEOGRAPHY = {"claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"}
WEB_SEARCH = Fraction(10, 1000)


def count(usage, name):
    return int(usage.get(name) or 0)


def part(model, usage, fast, geo):
    """The tokens of one usage object, or of one of its iterations."""
    model = ALIASES.get(model, model)
    writes = count(usage, "cache_creation_input_tokens")
    split = usage.get("cache_creation") or {}
    one_hour = count(split, "ephemeral_1h_input_tokens")
    five_minutes = writes - one_hour if writes else count(split, "ephemeral_5m_input_tokens")
    tokens = dict(input=count(usage, "input_tokens"), output=count(usage, "output_tokens"),
                  write5=five_minutes, write1=one_hour, read=count(usage, "cache_read_input_tokens"))
    rates = FAST[model] if fast and model in FAST else STANDARD[model]
    prompt = tokens["input"] + five_minutes + one_hour + tokens["read"]
    if model == "claude-haiku-5-5" and prompt > HAIKU_55_BAND:
        rates = HAIKU_55_LONG
    factor = Fraction(11, 10) if geo and model not in NO_GEOGRAPHY else Fraction(1)
    return factor * sum(tokens[k] * rates[k] for k in tokens)


def cost_pusd(model, usage, batch=False):
    """Pico-dollars for one answer, as an exact integer."""
    fast = usage.get("speed") == "fast"
    geo = usage.get("inference_geo") == "us"
    iterations = usage.get("iterations")
    if iterations:
        dollars = sum(part(i.get("model") or model, i, fast, geo) for i in iterations)
    else:
        dollars = part(model, usage, fast, geo)
    if batch:
        dollars /= 2
    searches = count(usage.get("server_tool_use") or {}, "web_search_requests")
    pico = (dollars + searches * WEB_SEARCH) * PICO
    assert pico.denominator == 1, "every price is a whole number of pico-dollars"
    return int(pico)
