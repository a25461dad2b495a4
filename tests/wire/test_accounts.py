"""`claviger usage` equals, to the pico-dollar, what an independent oracle says of the simulator's log."""

import collections
import http.client
import json
import random
import time
import urllib.error
import urllib.request

import pytest

import oracle
from processes import house

MODELS = ["claude-opus-5-5", "claude-haiku-5-5", "claude-fable-5-2", "claude-sonnet-4-6", "claude-sonnet-5-5", "claude-opus-4-8",
          "claude-haiku-4-5", "claude-haiku-4-5-20251001"]


def usage(rng, model):
    """A usage object of any shape that the provider sends."""
    five, hour = rng.choice([(0, 0), (rng.randrange(5000), 0), (0, rng.randrange(5000)), (rng.randrange(999), rng.randrange(999))])
    shape = {
        "input_tokens": rng.randrange(0, 3000) if rng.random() < 0.8 else rng.randrange(90_000, 400_000),
        "output_tokens": rng.randrange(0, 5000),
        "cache_creation_input_tokens": five + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "cache_read_input_tokens": rng.choice([0, rng.randrange(20_000)]),
    }
    if rng.random() < 0.2:
        shape["inference_geo"] = "us"
    if rng.random() < 0.2 and model in oracle.FAST:
        shape["speed"] = "fast"
    if rng.random() < 0.2:
        shape["server_tool_use"] = {"web_search_requests": rng.randrange(1, 9), "web_fetch_requests": 1}
    return shape


def steer(rng, model):
    """Directives for the simulator: plain, cut, several deltas, iterations, refusals."""
    kind = rng.choice(["usage", "usage", "usage", "cache", "iterations", "deltas", "cut", "refusal", "error"])
    if kind == "usage":
        return f"usage={json.dumps(usage(rng, model))}"
    if kind == "iterations":
        return f"iterations={rng.choice(['compaction', 'advisor', 'fallback'])}"
    return {"cache": "deltas=3", "deltas": "message-deltas=3; deltas=5", "cut": f"deltas=20; cut={rng.randrange(2, 18)}",
            "refusal": rng.choice(["refusal", "refusal=mid"]), "error": "deltas=20; error=6"}[kind]


def send(url, key, body):
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01", "content-type": "application/json"}
    request = urllib.request.Request(url + "/v1/messages", data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
    except (OSError, http.client.HTTPException):
        pass  # an error or a cut is what was asked for


def due(line):
    """What one line of the simulator's log costs: complete answers by their usage, cut ones by what was sent."""
    call = line.get("inference") or line
    if not call.get("billed", True):
        return call["model"], 0
    usage = dict(call["usage"])
    if line.get("ending") not in (None, "completed"):
        usage = cut(call)
        if usage is None:
            return call["model"], 0
    return call["model"], oracle.cost_pusd(call["model"], usage, batch=bool(call.get("batch_id")))


def cut(call):
    """The usage of a stream that was cut: input from message_start, output at least a token for four characters."""
    if call["sent_start"] is None:
        return None
    usage = dict(call["sent_start"])
    usage.update({k: v for k, v in (call["sent_delta"] or {}).items() if v is not None})
    usage["output_tokens"] = max(usage.get("output_tokens") or 0, -(-call["sent_chars"] // 4))
    return usage


@pytest.fixture(scope="module")
def parts():
    with house() as (claviger, simulator):
        yield claviger, simulator


def total(claviger, key=None):
    rows = claviger.json("usage", "--by", "model", *(["--key", key] if key else []))
    return {row["model"]: int(row["cost_pusd"]) for row in rows if row["model"] != "none"}


def expected(simulator, skip=0):
    sums = collections.Counter()
    for line in simulator.log()[skip:]:
        if "model" in (line.get("inference") or line):
            model, pico = due(line)
            sums[model] += pico
    return {model: pico for model, pico in sums.items() if pico}


def test_json_and_streams_cost_what_the_oracle_says(parts):
    claviger, simulator = parts
    made = claviger.key("accounts", "--rpd", "0")
    rng = random.Random(7)
    for _ in range(400):
        model = rng.choice(MODELS)
        stream = rng.random() < 0.6
        directive = steer(rng, model)
        if not stream and ("cut" in directive or "error=" in directive):
            stream = True
        text = f"[[sim: {directive}]] " + "x" * rng.randrange(0, 2000)
        block = {"type": "text", "text": text}
        if rng.random() < 0.3:
            block["cache_control"] = rng.choice([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
        body = {"model": model, "max_tokens": rng.choice([16, 256, 4096]), "messages": [{"role": "user", "content": [block]}]}
        send(claviger.url, made["key"], body | ({"stream": True} if stream else {}))
    deadline = time.monotonic() + 10
    while total(claviger, made["id"]) != expected(simulator) and time.monotonic() < deadline:
        time.sleep(0.5)
    got = {model: pico for model, pico in total(claviger, made["id"]).items() if pico}
    assert got == expected(simulator)
    assert len(got) >= 6


def test_batches_are_billed_once_to_the_key_that_made_them(parts):
    claviger, simulator = parts
    skip = len(simulator.log())
    maker, reader = claviger.key("maker"), claviger.key("reader")
    requests = [{"custom_id": f"i{n}", "params": {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [
        {"role": "user", "content": f"[[sim: usage={json.dumps(usage(random.Random(n), ''))}]]"}]}} for n in range(8)]

    def call(key, method, path, body=None):
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01", "content-type": "application/json"}
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(claviger.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    batch = json.loads(call(maker["key"], "POST", "/v1/messages/batches", {"requests": requests}))["id"]
    deadline = time.monotonic() + 30
    while json.loads(call(maker["key"], "GET", f"/v1/messages/batches/{batch}"))["processing_status"] != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for key in (reader["key"], maker["key"], reader["key"]):
        assert len(call(key, "GET", f"/v1/messages/batches/{batch}/results").splitlines()) == 8
    want = expected(simulator, skip)
    assert want and total(claviger, maker["id"]) == want
    assert sum(total(claviger, reader["id"]).values()) == 0
