"""Answers of every shape, from a provider that is written down here, cost what the oracle says to the pico-dollar."""

import gzip
import http.client
import json
import pathlib
import tempfile
import time
import urllib.parse

import oracle
from processes import Claviger
from provider import Provider, event, message

OPUS = "claude-opus-5-5"
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}
TEXT = "0123456789abcdef"


def usage(**more):
    """Both kinds of cache writes in one answer."""
    return {"input_tokens": 11, "output_tokens": 7, "cache_creation_input_tokens": 300,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
            "cache_read_input_tokens": 40, "service_tier": "standard", **more}


def whole(used, model=OPUS, packed=False, **more):
    text = json.dumps(message(model, used, **more)).encode()
    if packed:
        return 200, {**JSON, "content-encoding": "gzip"}, gzip.compress(text)
    return 200, JSON, text


def events(start, delta, deltas=5, stop="end_turn", more=()):
    begun = {**message(OPUS, start, content=[]), "stop_reason": None}
    text = event("content_block_delta", index=0, delta={"type": "text_delta", "text": TEXT})
    return [event("message_start", message=begun),
            event("content_block_start", index=0, content_block={"type": "text", "text": ""}), *[text] * deltas,
            event("content_block_stop", index=0), *more,
            event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=delta), event("message_stop")]


def stream(*arguments, cut=None, packed=False, **options):
    all_of_it = events(*arguments, **options)
    if packed:
        return 200, {**SSE, "content-encoding": "gzip"}, gzip.compress(b"".join(all_of_it))
    return 200, SSE, all_of_it if cut is None else [*all_of_it[:cut], None]


def iteration(kind, **more):
    return {"type": kind, "input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 40, **more}


BEGUN = usage(output_tokens=1)
SEARCHED = usage(server_tool_use={"web_search_requests": 3, "web_fetch_requests": 5})
PARTLY_SPLIT = usage(cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 200})
COMPACTED = usage(iterations=[iteration("compaction", input_tokens=5_000, output_tokens=300), iteration("message")])
ADVISED = usage(iterations=[iteration("message"),
                            iteration("advisor_message", model="claude-fable-5-2", input_tokens=823, output_tokens=1_612)])
FELL_BACK = usage(server_tool_use={"web_search_requests": 1},
                  iterations=[iteration("message", model=OPUS, output_tokens=0),
                              iteration("fallback_message", model="claude-sonnet-5-5")])
REFUSED = event("message_delta", delta={"stop_reason": "refusal", "stop_sequence": None}, usage={"output_tokens": 1})

# Name, the answer, the model that it is priced by, and the usage that it is priced by; `None`: nothing is billed.
SHAPES = [
    ("both writes", whole(usage()), OPUS, usage()),
    ("gzip", whole(usage(), packed=True), OPUS, usage()),
    ("no split", whole(usage(cache_creation=None)), OPUS, usage(cache_creation=None)),
    ("a split of less than all", whole(PARTLY_SPLIT), OPUS, PARTLY_SPLIT),
    ("us", whole(usage(inference_geo="us")), OPUS, usage(inference_geo="us")),
    ("us, where it has no price", whole(usage(inference_geo="us"), "claude-opus-4-5-20251101"), "claude-opus-4-5", usage()),
    ("fast", whole(usage(speed="fast")), OPUS, usage(speed="fast")),
    ("the edge of the band", whole(usage(input_tokens=99_660), "claude-haiku-5-5"), "claude-haiku-5-5", usage(input_tokens=99_660)),
    ("past the band", whole(usage(input_tokens=99_661), "claude-haiku-5-5"), "claude-haiku-5-5", usage(input_tokens=99_661)),
    ("web searches", whole(SEARCHED), OPUS, SEARCHED),
    ("compaction", whole(COMPACTED), OPUS, COMPACTED),
    ("an advisor", whole(ADVISED), OPUS, ADVISED),
    ("a fallback with a search", whole(FELL_BACK, "claude-sonnet-5-5"), "claude-sonnet-5-5", FELL_BACK),
    ("refused before output", whole(usage(), content=[], stop_reason="refusal"), OPUS, None),
    ("refused after some", whole(usage(), stop_reason="refusal"), OPUS, usage()),
    ("only written to the cache", whole(usage(output_tokens=0), content=[]), OPUS, usage(output_tokens=0)),
    ("a stream", stream(BEGUN, {"output_tokens": 80}), OPUS, usage(output_tokens=80)),
    ("a fast stream in the us", stream(usage(speed="fast", inference_geo="us"), {"output_tokens": 80}), OPUS,
     usage(speed="fast", inference_geo="us", output_tokens=80)),
    ("a stream of which nothing is known at first", stream({"input_tokens": 0, "output_tokens": 0}, usage(output_tokens=80)), OPUS,
     usage(output_tokens=80)),
    ("a stream whose input grows", stream(BEGUN, {"output_tokens": 80, "input_tokens": 500, "cache_read_input_tokens": None,
                                                  "server_tool_use": {"web_search_requests": 2}}), OPUS,
     usage(input_tokens=500, output_tokens=80, server_tool_use={"web_search_requests": 2})),
    ("two deltas of usage", stream(BEGUN, {"output_tokens": 80}, more=[event("message_delta", delta={}, usage={"output_tokens": 30})]),
     OPUS, usage(output_tokens=80)),
    ("a stream with iterations", stream(BEGUN, {**COMPACTED, "output_tokens": 7}), OPUS, COMPACTED),
    ("a compressed stream", stream(BEGUN, {"output_tokens": 80}, packed=True), OPUS, usage(output_tokens=80)),
    ("a stream refused after some", stream(BEGUN, {"output_tokens": 80}, stop="refusal"), OPUS, usage(output_tokens=80)),
    ("a stream refused before output", (200, SSE, [events(BEGUN, {})[0], REFUSED, event("message_stop")]), OPUS, None),
    ("cut after the start", stream(BEGUN, {"output_tokens": 80}, cut=1), OPUS, BEGUN),
    ("cut after three deltas", stream(BEGUN, {"output_tokens": 80}, cut=5), OPUS, usage(output_tokens=3 * len(TEXT) // 4)),
    ("cut when its usage was told", stream(BEGUN, {"output_tokens": 80}, cut=9), OPUS, usage(output_tokens=80)),
]


def call(claviger, key, body):
    place = urllib.parse.urlsplit(claviger.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01", "content-type": "application/json"}
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    answer = connection.getresponse()
    try:
        answer.read()
    except http.client.IncompleteRead:
        pass
    connection.close()
    return answer.status


def booked(claviger, key):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        row = claviger.json("usage", "--key", key["id"])[0]
        if row["requests"]:
            return row
        time.sleep(0.05)
    raise AssertionError("never booked")


def test_every_shape_of_an_answer_costs_what_the_oracle_says():
    shapes = {name: answer for name, answer, _, _ in SHAPES}
    provider = Provider(lambda body: shapes[body["messages"][0]["content"]])
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        claviger = Claviger(pathlib.Path(folder))
        try:
            claviger.connect(provider)
            for name, (_, headers, _), model, used in SHAPES:
                key = claviger.key(name)
                body = {"model": model, "max_tokens": 4_096, "messages": [{"role": "user", "content": name}]}
                if headers["content-type"] == SSE["content-type"]:
                    body["stream"] = True
                assert call(claviger, key["key"], body) == 200, name
                row = booked(claviger, key)
                wanted = 0 if used is None else oracle.cost_pusd(model, used)
                if int(row["cost_pusd"]) != wanted:
                    wrong.append((name, row["cost_pusd"], wanted))
                assert row["estimated"] == (1 if name.startswith("cut") else 0), (name, row)
        finally:
            claviger.stop()
            provider.stop()
    assert wrong == []
