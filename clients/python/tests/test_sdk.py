"""The official SDK with the adapter, against a gateway in memory: nothing is done twice, everything is counted."""

import asyncio
import io
import json
import time

import anthropic
import httpx2
import pytest

from claviger import Claviger, EnvKey, FileKey, HmacKey, KeyUnavailable, Limiter, ResponseCache, Retry, Secret, Signer, StaticKey
from gateway import Wire, envelope, message
from vectors import load

KEY = load("tokens.json")["key"]
BASE = "http://gw.example:8787/team-a"
ASK = {"model": "claude-opus-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
SSE = load("statistics.json")["streams"][0]["sse"].replace('"plain"', '"claude-opus-5-5"')


def caller(**options):
    return Claviger(BASE, StaticKey(Secret(KEY)), signer=Signer(HmacKey(Secret("s" * 40)), "v2"), **options)


def sdk(claviger, wire, **options):
    return anthropic.Anthropic(**claviger.sdk(transport=wire.sync), **options)


def test_a_message_is_answered_signed_and_counted():
    wire = Wire(lambda w, r: w.json(200, message(cache_read_input_tokens=1000), request_id="req_1"))
    claviger = caller()
    with sdk(claviger, wire) as client:
        assert client.messages.create(**ASK).content[0].text == "hello"
    (request,) = wire.seen
    assert str(request.url) == f"{BASE}/v1/messages" and request.headers["x-api-key"] == KEY
    assert request.headers["x-request-signature"].startswith("sha256=") and "set-by-claviger" not in str(request.headers.raw)
    summary = claviger.summary()
    assert (summary.requests, summary.errors, summary.input_tokens, summary.output_tokens) == (1, 0, 1010, 5)
    # 10 x 4, 1000 x 0.20 and 5 x 20 dollars per million.
    assert summary.estimated_cost_pico_usd == 340_000_000 and str(summary.estimated_cost_usd) == "0.000340000000"
    assert summary.latency_p99_ms is not None and summary.unpriced_requests == 0


def test_the_sdk_retries_and_the_adapter_does_not():
    answers = [529, 500, 200]
    wire = Wire(lambda w, r: w.json(answers[len(wire.seen) - 1], message(), retry_after_ms="1"))
    claviger = caller()
    with sdk(claviger, wire) as client:
        client.messages.create(**ASK)
    assert len(wire.seen) == 3
    assert [r.headers["x-stainless-retry-count"] for r in wire.seen] == ["0", "1", "2"]
    assert len({r.headers["x-request-nonce"] for r in wire.seen}) == 3, "each attempt is signed anew"
    assert claviger.summary().requests == 3 and claviger.summary().retries == 0


def test_the_sdk_does_not_sleep_beyond_the_cap():
    wire = Wire(lambda w, r: w.json(429, envelope(kind="rate_limit_error"), retry_after="3600"))
    begun = time.monotonic()
    with sdk(caller(), wire) as client, pytest.raises(anthropic.RateLimitError):
        client.messages.create(**ASK)
    assert len(wire.seen) == 1 and time.monotonic() - begun < 5


def test_without_an_sdk_the_adapter_retries_and_signs_anew():
    answers = [503, 429, 200]
    wire = Wire(lambda w, r: w.json(answers[len(wire.seen) - 1], message()))
    claviger = caller(retry=Retry(base_secs=0.001))
    with claviger.http_client(transport=wire.sync) as client:
        assert client.post(f"{BASE}/v1/messages", json=ASK).status_code == 200
    assert len(wire.seen) == 3 and claviger.summary().retries == 2 and claviger.summary().requests == 1


@pytest.mark.parametrize(("method", "error", "sent"), [
    ("POST", httpx2.ConnectError, 4), ("POST", httpx2.ReadTimeout, 1), ("GET", httpx2.ReadError, 4), ("GET", RuntimeError, 1),
])
def test_lost_answers_to_paid_calls_are_not_repeated(method, error, sent):
    def answer(wire, request):
        raise error("no")

    wire = Wire(answer)
    claviger = caller(retry=Retry(base_secs=0.001))
    with claviger.http_client(transport=wire.sync) as client, pytest.raises(error):
        client.request(method, f"{BASE}/v1/models")
    assert len(wire.seen) == sent and claviger.summary().errors == 1


def test_a_refused_key_is_an_authentication_error_when_tokens_are_used():
    wire = Wire(lambda w, r: w.json(401, envelope(), x_should_retry="false"))
    with sdk(caller(auth="token"), wire) as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**ASK)
    assert [r.url.path for r in wire.seen] == ["/team-a/v1/auth/token"]


def test_a_call_that_is_repeated_with_a_new_token_counts_once():
    refusals = ["token_expired", None, None]

    def answer(wire, request):
        if request.url.path.endswith("/v1/auth/token"):
            return wire.json(200, {"access_token": "A", "token_type": "Bearer", "expires_in": 7200})
        code = refusals.pop(0)
        return wire.json(401, envelope(code)) if code else wire.json(200, message())

    claviger = caller(auth="token")
    with sdk(claviger, Wire(answer)) as client:
        client.messages.create(**ASK)
        client.messages.create(**ASK)
        refusals.append("other")
        with pytest.raises(anthropic.AuthenticationError):
            client.messages.create(**ASK)
    summary = claviger.summary()
    assert (summary.requests, summary.errors, summary.retries) == (3, 1, 1)


def test_a_busy_token_endpoint_is_retried_by_the_sdk_alone():
    def answer(wire, request):
        if request.url.path.endswith("/v1/auth/token"):
            if len(wire.seen) < 3:
                return wire.json(503, envelope(kind="api_error"), retry_after_ms="1")
            return wire.json(200, {"access_token": "A", "token_type": "Bearer", "expires_in": 7200})
        return wire.json(200, message())

    wire = Wire(answer)
    claviger = caller(auth="token")
    with sdk(claviger, wire) as client:
        client.messages.create(**ASK)
    assert len(wire.seen) == 4 and claviger.summary().requests == 1


def streaming(wire, request):
    return wire.library.Response(200, content=SSE.encode(), headers={"content-type": "text/event-stream; charset=utf-8"})


def test_a_stream_is_counted_when_it_ends_and_holds_its_slot_until_then():
    wire = Wire(streaming)
    claviger = caller(limiter=Limiter(concurrency=1, max_wait_secs=0.05))
    with sdk(claviger, wire) as client:
        stream = client.messages.create(**ASK, stream=True)
        assert claviger.summary().requests == 0
        with pytest.raises(anthropic.RateLimitError, match="this client's own limit"):
            client.messages.create(**ASK)
        assert [event.type for event in stream][-1] == "message_stop"
        stream.close()
        assert claviger.summary().output_tokens == 12
        client.messages.create(**ASK, stream=True).close()
    assert len(wire.seen) == 2


@pytest.mark.parametrize(("source", "error"), [
    (EnvKey("NO_SUCH", {}), anthropic.AuthenticationError), (FileKey("/nonexistent"), anthropic.AuthenticationError),
])
def test_an_sdk_is_told_what_is_wrong_here_and_does_not_try_again(source, error):
    wire = Wire(streaming)
    with anthropic.Anthropic(**Claviger(BASE, source).sdk(transport=wire.sync)) as client:
        begun = time.monotonic()
        with pytest.raises(error, match="NO_SUCH is empty|/nonexistent"):
            client.messages.create(**ASK)
        assert time.monotonic() - begun < 0.4 and not wire.seen
    with Claviger(BASE, source).http_client(transport=wire.sync) as client, pytest.raises(KeyUnavailable):
        client.get(f"{BASE}/v1/models")


def test_an_upload_beyond_the_bound_is_an_answer_too():
    wire = Wire(streaming)
    with sdk(caller(max_body_bytes=1000), wire) as client, pytest.raises(anthropic.APIStatusError, match="1000 bytes") as caught:
        client.beta.files.upload(file=("a.bin", io.BytesIO(b"x" * 5000)))
    assert caught.value.status_code == 413 and not wire.seen


def test_asyncio_does_the_same():
    wire = Wire(lambda w, r: streaming(w, r) if b'"stream"' in r.content else w.json(200, message()))
    claviger = caller(limiter=Limiter(concurrency=2), auth="key")

    async def go():
        async with anthropic.AsyncAnthropic(**claviger.async_sdk(transport=wire.asynchronous)) as client:
            await asyncio.gather(*(client.messages.create(**ASK) for _ in range(8)))
            stream = await client.messages.create(**ASK, stream=True)
            return [event.type async for event in stream]

    assert asyncio.run(go())[-1] == "message_stop"
    summary = claviger.summary()
    assert (summary.requests, summary.output_tokens) == (9, 8 * 5 + 12)


def test_the_cache_answers_equal_questions_only():
    wire = Wire(lambda w, r: w.json(200, message(text=str(len(wire.seen)))))
    claviger = caller(cache=ResponseCache())
    with sdk(claviger, wire) as client:
        texts = [client.messages.create(**ASK).content[0].text for _ in range(3)]
        assert texts == ["1", "1", "1"]
        other = [ASK | {"max_tokens": 17}, ASK | {"system": "s"}, ASK | {"temperature": 1}]
        assert [client.messages.create(**o, **{}).content[0].text for o in other[:2]] == ["2", "3"]
        tools = [{"name": "t", "input_schema": {"type": "object"}}]
        assert [client.messages.create(**ASK, tools=tools).content[0].text for _ in range(2)] == ["4", "5"]
        client.messages.create(**ASK, extra_headers={"anthropic-beta": "x"})
    summary = claviger.summary()
    assert len(wire.seen) == 6 and summary.cache_hits == 2 and summary.requests == 8
    assert summary.cache_hit_rate == 0.25


def test_the_cache_keeps_no_errors_and_no_half_answers():
    statuses = [500, 200, 200]
    wire = Wire(lambda w, r: w.library.Response(
        statuses[len(wire.seen) - 1], content=b'{"type":"mess' if len(wire.seen) == 2 else json.dumps(message()).encode(),
        headers={"content-type": "application/json"},
    ))
    with caller(cache=ResponseCache(), retry=Retry(max_retries=0)).http_client(transport=wire.sync) as client:
        for _ in range(4):
            client.post(f"{BASE}/v1/messages", json=ASK)
    assert len(wire.seen) == 3


def test_the_cache_is_bounded_and_forgets():
    clock = [0.0]
    cache = ResponseCache(ttl_secs=10, max_entries=2, max_bytes=8000, monotonic=lambda: clock[0])
    for name in "abc":
        cache.put(name, [], b"x" * 100)
    assert cache.get("a") is None and cache.get("b") and cache.get("c")
    cache.put("big", [], b"x" * 1001)
    assert cache.get("big") is None
    clock[0] = 10
    assert cache.get("b") is None
