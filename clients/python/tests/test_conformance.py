"""The shared vectors."""


import pytest

from claviger import ConfigurationError, Ed25519Key, HmacKey, LimitReached, Limiter, Redactor, Retry, Secret, Signer, Statistics, Target
from claviger import parse_dotenv, redact
from claviger._effects import Sleep, Wait
from claviger.prices import Prices, Usage
from claviger.retry import Failed, decide
from claviger.usage import StreamUsage
from vectors import body_of, known, load, named

SIGNING = load("signing.json")
RETRY = load("retry.json")
STATISTICS = load("statistics.json")
REDACTION = load("redaction.json")


def signer_of(case, document=SIGNING):
    if case["alg"] == "ed25519":
        key = Ed25519Key(document["ed25519"]["private_pem"].encode())
    else:
        key = HmacKey(Secret(case["secret_utf8"]))
    lifetime = case["expires"] - document["timestamp"] if "expires" in case else None
    return Signer(key, case["profile"], lifetime, clock=lambda: document["timestamp"] + 0.9, nonce=lambda: document["nonce"])


@pytest.mark.parametrize("case", **named(SIGNING["cases"]))
def test_signing(case):
    known(case, "name", "profile", "alg", "secret_utf8", "expires", "method", "url", "body_utf8", "body_base64", "body_repeat", "expect")
    signer, target = signer_of(case), Target.of(case["method"], case["url"])
    assert signer.headers(target, SIGNING["key_id"], body_of(case)) == case["expect"]["headers"]
    piecewise = signer.begin(target, SIGNING["key_id"])
    for byte in body_of(case)[:300]:
        piecewise.update(bytes([byte]))
    piecewise.update(body_of(case)[300:])
    assert piecewise.headers() == case["expect"]["headers"]


@pytest.mark.parametrize("case", **named(RETRY["cases"]))
def test_retry(case):
    known(case, "name", "sdk", "method", "attempt", "max_retries", "replayable", "status", "error", "headers", "random", "now", "expect")
    s = RETRY["settings"]
    policy = Retry(case.get("max_retries", s["max_retries"]), s["base_ms"] / 1000, s["cap_ms"] / 1000, s["jitter"])
    failed = Failed(
        case["method"], case["attempt"], case["sdk"], case.get("status"), case.get("error"), case.get("headers"), case.get("replayable", True)
    )
    made = decide(policy, failed, case["random"], case.get("now", 0))
    expect = known(case["expect"], "retry", "wait_ms", "should_retry")
    assert (made.wait_secs is not None) == expect["retry"]
    if expect["retry"]:
        assert round(made.wait_secs * 1000) == expect["wait_ms"]
    assert made.forbid == (expect.get("should_retry") == "false")


class Virtual:
    """Plays calls through a limiter in virtual time."""

    def __init__(self, case):
        self.now = 0.0
        limits = {name: case[name] for name in ("per_second", "burst", "concurrency") if name in case}
        self.limiter = Limiter(**limits, max_wait_secs=case.get("max_wait_ms", 1e9) / 1000, monotonic=lambda: self.now)
        self.calls = [{"flow": None, "wake": a["at_ms"] / 1000, "takes": a["takes_ms"] / 1000, "start": None, "state": "new"} for a in case["arrivals"]]

    def run(self):
        while (live := [c for c in self.calls if c["state"] != "over"]):
            waiting = [c for c in live if c["state"] == "waiting" and c["on"].done()]
            call = waiting[0] if waiting else min(live, key=lambda c: (c["wake"], c["state"] != "running"))
            if not waiting:
                self.now = max(self.now, call["wake"])
            self.step(call)
        return [None if c["start"] is None else round(c["start"] * 1000, 6) for c in self.calls]

    def step(self, call):
        if call["state"] == "running":
            call["state"] = "over"
            self.limiter.release()
            return
        try:
            if call["state"] == "new":
                call["flow"] = self.limiter.acquire()
                effect = next(call["flow"])
            else:
                effect = call["flow"].send(call["on"].done() if call["state"] == "waiting" else None)
        except StopIteration:
            call.update(state="running", start=self.now, wake=self.now + call["takes"])
        except LimitReached:
            call["state"] = "over"
        else:
            if isinstance(effect, Wait):
                call.update(state="waiting", on=effect.future, wake=self.now + effect.secs)
            else:
                assert isinstance(effect, Sleep)
                call.update(state="sleeping", wake=self.now + effect.secs)


@pytest.mark.parametrize("case", **named(load("limiter.json")["cases"]))
def test_limiter(case):
    known(case, "name", "per_second", "burst", "concurrency", "max_wait_ms", "arrivals", "starts_ms")
    assert Virtual(case).run() == case["starts_ms"]


@pytest.mark.parametrize("case", **named(STATISTICS["cases"]))
def test_statistics(case):
    known(case, "name", "calls", "expect")
    statistics = Statistics(Prices(STATISTICS["prices"]))
    for call in case["calls"]:
        known(call, "latency_ms", "model", "status", "cache_hit", "usage")
        usage = Usage.read(call["usage"]) if "usage" in call else None
        if call["cache_hit"]:
            statistics.hit()
        else:
            statistics.sent(status=call["status"], latency_ms=call["latency_ms"], model=call["model"], usage=usage)
    summary, expect = statistics.summary(), case["expect"]
    assert str(summary.estimated_cost_pico_usd) == expect.pop("estimated_cost_pico_usd")
    for name, value in expect.items():
        assert getattr(summary, name) == (value if value is None else pytest.approx(value, rel=1e-12)), name


@pytest.mark.parametrize("size", [1, 2, 7, 1000000])
@pytest.mark.parametrize("case", **named(STATISTICS["streams"]))
def test_usage_of_streams(case, size):
    known(case, "name", "sse", "ended", "usage")
    reader, data = StreamUsage(), case["sse"].encode()
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    reader.close()
    assert reader.ended == case["ended"]
    if case["usage"] is None:
        assert reader.usage is None
        return
    expect = known(case["usage"], "model", "input_tokens", "output_tokens", "cache_write_5m", "cache_write_1h", "cache_read")
    usage = reader.usage
    assert reader.model == expect["model"]
    assert (usage.input, usage.output) == (expect["input_tokens"], expect["output_tokens"])
    assert (usage.cache_write_5m, usage.cache_write_1h, usage.cache_read) == (
        expect["cache_write_5m"], expect["cache_write_1h"], expect["cache_read"],
    )


@pytest.mark.parametrize("case", **named(REDACTION["cases"]))
def test_redaction(case):
    assert redact(known(case, "name", "text", "expect")["text"]) == case["expect"]


@pytest.mark.parametrize("case", **named(REDACTION["known"]["cases"]))
def test_redaction_of_known_values(case):
    assert Redactor([REDACTION["known"]["secret"]])(known(case, "name", "text", "expect")["text"]) == case["expect"]


@pytest.mark.parametrize("text", REDACTION["plain"])
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("case", **named(load("dotenv.json")["cases"]))
def test_dotenv(case):
    known(case, "name", "text", "values", "error_line")
    if "error_line" in case:
        with pytest.raises(ConfigurationError, match=f"line {case['error_line']} ") as caught:
            parse_dotenv(case["text"])
        assert "secret" not in str(caught.value)
    else:
        assert parse_dotenv(case["text"]) == case["values"]


def test_the_price_table_is_the_common_one():
    from importlib import resources

    import json

    carried = json.loads(resources.files("claviger").joinpath("prices.json").read_text())
    assert carried == load("prices.json")
