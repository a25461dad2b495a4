"""The official Python SDK, unchanged but for the adapter, under keys that demand an access token and a signature."""

import asyncio
import io
import pathlib
import tempfile
import time

import anthropic
import httpx2
import pytest

from claviger import Claviger, HmacKey, Limiter, Secret, Signer, StaticKey, run_batch
from clocks import GatewayClock
from processes import house

MODEL = "claude-opus-5-5"
HELLO = [{"role": "user", "content": "Hello"}]
ASK = {"model": MODEL, "max_tokens": 256, "messages": HELLO}
PROFILES = ["v1", "v2", "rfc9421"]


@pytest.fixture(scope="module")
def parts():
    with tempfile.TemporaryDirectory() as name:
        clock = GatewayClock(pathlib.Path(name))
        with house(environment=clock.environment()) as (claviger, simulator):
            yield claviger, simulator, clock


@pytest.fixture(scope="module")
def made(parts):
    claviger, _, _ = parts
    return claviger.key("adapter", "--require", "token,signature", "--sign")


def caller_of(parts, made, profile="rfc9421", **options):
    claviger, _, clock = parts
    signer = Signer(HmacKey(Secret(options.pop("secret", made["signing_secret"]))), profile, clock=lambda: time.time() + clock.offset)
    options = {"auth": "token", "signer": signer} | options
    return Claviger(claviger.url, StaticKey(Secret(made["key"])), **options)


@pytest.fixture(scope="module", params=PROFILES)
def client(request, parts, made):
    with anthropic.Anthropic(**caller_of(parts, made, request.param).sdk()) as client:
        yield client


def test_a_message_is_answered(client):
    message = client.messages.create(**ASK)
    assert message.content[0].text and message._request_id.startswith("req_")


def test_a_stream_arrives_whole(client):
    with client.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and text == final.content[0].text and final.stop_reason == "end_turn"


def test_a_tool_loop_closes(client):
    tools = [{"name": "weather", "description": "Weather", "input_schema": {"type": "object"}}]
    messages = [{"role": "user", "content": "[[sim: tool=weather; input={\"city\":\"Oslo\"}]]"}]
    first = client.messages.create(model=MODEL, max_tokens=256, tools=tools, messages=messages)
    call = next(block for block in first.content if block.type == "tool_use")
    messages.append({"role": "assistant", "content": first.content})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "4 °C, wolkig, 多云"}]})
    assert client.messages.create(model=MODEL, max_tokens=256, tools=tools, messages=messages).stop_reason == "end_turn"


def test_tokens_are_counted_and_models_listed(client):
    assert client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0
    assert MODEL in [model.id for model in client.models.list(limit=3)]


def test_a_batch_runs_to_its_results(client):
    requests = [{"custom_id": f"item-{n}", "params": ASK | {"max_tokens": 64}} for n in range(3)]
    batch = client.messages.batches.create(requests=requests)
    deadline = time.monotonic() + 30
    while batch.processing_status != "ended" and time.monotonic() < deadline:
        time.sleep(0.2)
        batch = client.messages.batches.retrieve(batch.id)
    results = {line.custom_id: line.result.type for line in client.messages.batches.results(batch.id)}
    assert results == {f"item-{n}": "succeeded" for n in range(3)}
    client.messages.batches.delete(batch.id)


@pytest.mark.parametrize("size", [0, 16 * 1024, 12 * 1024 * 1024])
def test_a_file_goes_up(client, size):
    made = client.beta.files.upload(file=("a.bin", io.BytesIO(bytes(range(256)) * (size // 256)), "application/octet-stream"))
    assert client.beta.files.retrieve_metadata(made.id).size_bytes == size
    client.beta.files.delete(made.id)


def test_an_upload_whose_length_nobody_knows_goes_up(parts, made):
    claviger, _, _ = parts
    body = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n' + b"x" * 1_000_000 + b"\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b", "anthropic-version": "2023-06-01", "anthropic-beta": "files-api-2025-04-14"}
    with caller_of(parts, made).http_client() as client:
        pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
        answer = client.post(f"{claviger.url}/v1/files", content=pieces, headers=headers)
        assert answer.status_code == 200 and answer.json()["size_bytes"] == 1_000_000


def test_many_calls_at_once_in_asyncio(parts, made):
    caller = caller_of(parts, made, "v2", limiter=Limiter(concurrency=8))

    async def go():
        async with anthropic.AsyncAnthropic(**caller.async_sdk()) as client:
            outcomes = await run_batch(range(60), lambda n: client.messages.create(**ASK), concurrency=20)
            async with client.messages.stream(**ASK) as stream:
                final = await stream.get_final_message()
            made = await client.beta.files.upload(file=("a.bin", io.BytesIO(b"x" * 100_000)))
            await client.beta.files.delete(made.id)
            return outcomes, final

    outcomes, final = asyncio.run(go())
    assert all(outcome.ok for outcome in outcomes) and final.stop_reason == "end_turn"
    summary = caller.summary()
    # 60 messages, the stream, the file and its deletion.
    assert (summary.requests, summary.errors) == (63, 0)
    used = [outcome.unwrap().usage for outcome in outcomes] + [final.usage]
    assert summary.output_tokens == sum(usage.output_tokens for usage in used)
    assert summary.estimated_cost_pico_usd == sum(u.input_tokens * 4_000_000 + u.output_tokens * 20_000_000 for u in used)


def test_a_long_loop_outlives_its_tokens(parts, made):
    claviger, simulator, clock = parts
    if clock.environment() is None:
        pytest.skip("libfaketime is not installed")
    caller = caller_of(parts, made)
    with anthropic.Anthropic(**caller.sdk()) as client:
        for _ in range(4):
            for _ in range(3):
                assert client.messages.create(**ASK).content
            with client.messages.stream(**ASK) as stream:
                assert stream.get_final_message().stop_reason == "end_turn"
            # Past the end of the token and the leeway, which this client's clock does not see.
            clock.move(2 * 3600 + 120)
    summary = caller.summary()
    # A leap of the clock may break a connection; the SDK asks again.
    assert (summary.requests - summary.errors, summary.retries) == (16, 3)


def refused(caller, code):
    with anthropic.Anthropic(**caller.sdk()) as client, pytest.raises(anthropic.AuthenticationError) as caught:
        begun = time.monotonic()
        client.messages.create(**ASK)
    assert time.monotonic() - begun < 3, "what cannot succeed is not tried again"
    assert caught.value.body["error"]["details"]["error_code"] == code
    return str(caught.value)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_clock_that_is_wrong_is_said_so(parts, made, profile):
    _, _, clock = parts
    caller = caller_of(parts, made, profile)
    # The token is bought while the clock is right.
    with anthropic.Anthropic(**caller.sdk()) as client:
        client.messages.create(**ASK)
    late = Signer(HmacKey(Secret(made["signing_secret"])), profile, clock=lambda: time.time() + clock.offset - 412)
    caller.auth._signer = late
    for text in (refused(caller, "timestamp_skew"), caller.health().problem):
        assert "41" in text and "behind" in text and "clock" in text


def test_what_is_missing_is_said(parts, made):
    assert "token" in refused(caller_of(parts, made, auth="key"), "token_required")
    unsigned = caller_of(parts, made, signer=None)
    assert "signed" in refused(unsigned, "signature_missing")
    refused(caller_of(parts, made, secret="cvg_sign_" + "x" * 43), "signature_invalid")


def test_the_plain_sdk_is_told_what_it_lacks(parts, made):
    claviger, _, _ = parts
    with anthropic.Anthropic(base_url=claviger.url, api_key=made["key"]) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.messages.create(**ASK)
    assert caught.value.body["error"]["details"]["error_code"] in ("token_required", "signature_missing")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_request_that_was_overheard_is_refused(parts, made, profile):
    sent = []

    class Overheard(httpx2.HTTPTransport):
        def handle_request(self, request):
            if request.url.path == "/v1/messages":
                sent.append((dict(request.headers), request.read()))
            return super().handle_request(request)

    caller = caller_of(parts, made, profile)
    with anthropic.Anthropic(**caller.sdk(transport=Overheard())) as client:
        client.messages.create(**ASK)
    claviger, _, _ = parts
    headers, body = sent[0]
    answer = httpx2.post(f"{claviger.url}/v1/messages", content=body, headers=headers)
    assert answer.status_code == 401 and answer.json()["error"]["details"]["error_code"] == "nonce_replayed"
    changed = httpx2.post(f"{claviger.url}/v1/messages", content=body.replace(b"Hello", b"HELLO"), headers=headers)
    assert changed.status_code == 401 and changed.json()["error"]["details"]["error_code"] == "signature_invalid"


def test_a_revoked_key_stops_its_tokens(parts):
    claviger, _, _ = parts
    made = claviger.key("short", "--require", "token,signature", "--sign")
    caller = caller_of(parts, made)
    with anthropic.Anthropic(**caller.sdk(), max_retries=0) as client:
        client.messages.create(**ASK)
        claviger.run("key", "revoke", made["id"], "--reason", "user_request")
        with pytest.raises(anthropic.AuthenticationError):
            client.messages.create(**ASK)


def test_health_of_this_caller(parts, made):
    health = caller_of(parts, made).health()
    assert health.ok and health.latency_ms is not None and health.problem is None


def test_upstream_sees_no_trace_of_the_callers_proofs(parts, made):
    _, simulator, _ = parts
    text = simulator.log_file.read_text().lower()
    for trace in ("cvg_", made["key"][9:40].lower(), "x-request-signature", "x-request-nonce", "signature-input", "set-by-claviger"):
        assert trace not in text
