"""What `claviger savings` says was saved is what was saved, worked out here apart from it with exact fractions.

Calls of every kind are made: with nothing cached, written to either cache, read from it, in fast mode, in the US, in
batches, with web searches, with several models in one call. What each would have cost by itself is computed from the
usage that was sent on the wire.
"""

import http.client
import json
import random
import time
import urllib.parse

import oracle
from processes import house

MODELS = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-4-5", "claude-fable-5-2"]
CALLS = 60
ITEMS = 12


def usage_of(rng, model, batch=False):
    tokens = lambda: rng.choice([0, 0, 1, 777, 60_000, 250_000])
    five, hour = tokens(), tokens()
    usage = {
        "input_tokens": tokens(),
        "cache_creation_input_tokens": five + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "cache_read_input_tokens": tokens(),
        "output_tokens": rng.choice([1, 90, 4_000]),
    }
    if rng.random() < 0.3:
        usage["inference_geo"] = "us"
    if not batch and model in oracle.FAST and rng.random() < 0.3:
        usage["speed"] = "fast"
    if rng.random() < 0.2:
        usage["server_tool_use"] = {"web_search_requests": rng.randrange(4)}
    return usage


def uncached(usage):
    """The same call with nothing cached."""
    all_of_it = usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    return {**usage, "input_tokens": all_of_it, "cache_creation_input_tokens": 0, "cache_creation": {},
            "cache_read_input_tokens": 0}


def body_of(model, usage):
    return {"model": model, "max_tokens": 4_096, "messages": [{"role": "user", "content": "x"}],
            "metadata": {"user_id": "sim: usage=" + json.dumps(usage)}}


def ask(url, key, method, path, body=None, headers=()):
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    sent = {"x-api-key": key, "anthropic-version": "2023-06-01", "content-type": "application/json", **dict(headers)}
    connection.request(method, path, None if body is None else json.dumps(body), sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    return text


def settled(claviger, number):
    """The savings, as soon as every call is in them."""
    deadline = time.monotonic() + 20
    while True:
        report = claviger.json("savings", "--by", "key")
        if report["total"]["requests"] >= number:
            return report
        assert time.monotonic() < deadline, report["total"]
        time.sleep(0.1)


def test_savings_are_exact_to_the_pico_dollar():
    rng = random.Random(7)
    with house() as (claviger, _simulator):
        key, wasteful = claviger.key("a"), claviger.key("b")
        sums = {key["id"]: [0, 0, 0], wasteful["id"]: [0, 0, 0]}

        def count(who, model, usage, batch=False):
            alone = oracle.cost_pusd(model, uncached(usage))
            whole = oracle.cost_pusd(model, usage)
            cost = oracle.cost_pusd(model, usage, batch=batch)
            for place, pico in enumerate([alone - whole, whole - cost, cost]):
                sums[who["id"]][place] += pico

        for _ in range(CALLS):
            model = rng.choice(MODELS)
            usage = usage_of(rng, model)
            beta = [("anthropic-beta", "fast-mode-2026-02-01")] if "speed" in usage else []
            body = body_of(model, usage)
            if beta:
                body["speed"] = "fast"
            if "inference_geo" in usage:
                body["inference_geo"] = "us"
            ask(claviger.url, key["key"], "POST", "/v1/messages", body, beta)
            count(key, model, usage)
        # Written and never read.
        lost = {"input_tokens": 3, "cache_creation_input_tokens": 9_000, "output_tokens": 1,
                "cache_creation": {"ephemeral_5m_input_tokens": 4_000, "ephemeral_1h_input_tokens": 5_000},
                "cache_read_input_tokens": 0}
        ask(claviger.url, wasteful["key"], "POST", "/v1/messages", body_of("claude-opus-5-5", lost))
        count(wasteful, "claude-opus-5-5", lost)

        items = []
        for number in range(ITEMS):
            model = rng.choice(MODELS)
            usage = usage_of(rng, model, batch=True)
            items.append({"custom_id": f"item-{number}", "params": body_of(model, usage)})
            count(key, model, usage, batch=True)
        batch = json.loads(ask(claviger.url, key["key"], "POST", "/v1/messages/batches", {"requests": items}))
        path = f"/v1/messages/batches/{batch['id']}"
        deadline = time.monotonic() + 60
        while json.loads(ask(claviger.url, key["key"], "GET", path))["processing_status"] != "ended":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        results = ask(claviger.url, key["key"], "GET", f"{path}/results").splitlines()
        assert all(json.loads(line)["result"]["type"] == "succeeded" for line in results), results

        report = settled(claviger, CALLS + 1 + ITEMS)
        assert report["total"]["unexplained_requests"] == 0, report["total"]
        for group in report["groups"]:
            cached, batched, cost = sums[group["group"]]
            assert int(group["prompt_cache_saved_pusd"]) == cached
            assert int(group["batch_saved_pusd"]) == batched
            assert int(group["cost_pusd"]) == cost
            assert int(group["would_have_cost_pusd"]) == cached + batched + cost
        assert report["total"]["batch_items"] == ITEMS
        total = [sum(part) for part in zip(*sums.values())]
        assert int(report["total"]["saved_pusd"]) == total[0] + total[1]

        unpaid = [row for row in report["unpaid_cache_writes"]["first"] if row["key"] == wasteful["id"]]
        assert [int(row["lost_pusd"]) for row in unpaid] == [-sums[wasteful["id"]][0]]
        assert sums[wasteful["id"]][0] < 0
        shown = claviger.run("savings", "--key", wasteful["id"])
        assert "\t-" in shown, shown

        # Two models in one call: nothing is claimed for what cannot be told apart.
        mixed = {**lost, "iterations": [
            {"type": "message", "model": "claude-opus-5-5", "input_tokens": 10, "output_tokens": 5,
             "cache_read_input_tokens": 1_000},
            {"type": "advisor_message", "model": "claude-fable-5-2", "input_tokens": 10, "output_tokens": 5}]}
        ask(claviger.url, wasteful["key"], "POST", "/v1/messages", body_of("claude-opus-5-5", mixed))
        report = settled(claviger, CALLS + ITEMS + 2)
        assert report["total"]["unexplained_requests"] == 1
        assert int(report["total"]["unexplained_cost_pusd"]) == oracle.cost_pusd("claude-opus-5-5", mixed)
        assert int(report["total"]["saved_pusd"]) == total[0] + total[1]
