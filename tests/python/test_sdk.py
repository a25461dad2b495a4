"""The official Python SDK works by base URL and key alone."""

import io
import time

import anthropic
import pytest

from processes import house

MODEL = "claude-opus-5-5"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def parts():
    with house() as (claviger, simulator):
        key = claviger.key("sdk")["key"]
        with anthropic.Anthropic(base_url=claviger.url, api_key=key) as client:
            yield claviger, simulator, client


def ask(client, text, **options):
    return client.messages.create(model=MODEL, max_tokens=256, messages=[{"role": "user", "content": text}], **options)


def test_a_message_is_answered_and_carries_its_request_id(parts):
    _, _, client = parts
    message = ask(client, "Hello")
    assert message.content[0].text and message.usage.output_tokens > 0
    assert message._request_id.startswith("req_")


def test_a_stream_arrives_whole(parts):
    _, _, client = parts
    with client.messages.stream(model=MODEL, max_tokens=256, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and text == final.content[0].text and final.stop_reason == "end_turn"


def test_a_tool_loop_closes(parts):
    _, _, client = parts
    tools = [{"name": "weather", "description": "Weather", "input_schema": {"type": "object"}}]
    messages = [{"role": "user", "content": "[[sim: tool=weather; input={\"city\":\"Oslo\"}]]"}]
    first = client.messages.create(model=MODEL, max_tokens=256, tools=tools, messages=messages)
    call = next(block for block in first.content if block.type == "tool_use")
    assert first.stop_reason == "tool_use" and call.input == {"city": "Oslo"}
    messages.append({"role": "assistant", "content": first.content})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "4 C"}]})
    second = client.messages.create(model=MODEL, max_tokens=256, tools=tools, messages=messages)
    assert second.stop_reason == "end_turn"


def test_tokens_are_counted(parts):
    _, _, client = parts
    assert client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0


def test_models_are_listed_and_found(parts):
    _, _, client = parts
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids and client.models.retrieve(MODEL).id == MODEL


def test_a_key_sees_only_its_models(parts):
    claviger, _, _ = parts
    key = claviger.key("haiku", "--models", "claude-haiku-*")["key"]
    with anthropic.Anthropic(base_url=claviger.url, api_key=key) as client:
        ids = [model.id for model in client.models.list()]
        assert ids and all(model.startswith("claude-haiku-") for model in ids)
        with pytest.raises(anthropic.BadRequestError):
            ask(client, "Hello")


def test_a_batch_runs_to_its_results(parts):
    claviger, simulator, client = parts
    requests = [{"custom_id": f"item-{n}", "params": {"model": MODEL, "max_tokens": 64, "messages": HELLO}} for n in range(3)]
    batch = client.messages.batches.create(requests=requests)
    deadline = time.monotonic() + 30
    while batch.processing_status != "ended" and time.monotonic() < deadline:
        time.sleep(0.2)
        batch = client.messages.batches.retrieve(batch.id)
    assert batch.results_url.startswith(claviger.url) and simulator.url not in batch.results_url
    results = {line.custom_id: line.result.type for line in client.messages.batches.results(batch.id)}
    assert results == {f"item-{n}": "succeeded" for n in range(3)}
    assert batch.id in [b.id for b in client.messages.batches.list()]
    client.messages.batches.delete(batch.id)
    assert batch.id not in [b.id for b in client.messages.batches.list()]


def test_a_file_goes_up_and_is_listed_and_deleted(parts):
    _, _, client = parts
    content = bytes(range(256)) * 64
    made = client.beta.files.upload(file=("a.bin", io.BytesIO(content), "application/octet-stream"))
    assert made.id in [f.id for f in client.beta.files.list()]
    assert client.beta.files.retrieve_metadata(made.id).size_bytes == len(content)
    client.beta.files.delete(made.id)
    with pytest.raises(anthropic.NotFoundError):
        client.beta.files.retrieve_metadata(made.id)


def test_an_overloaded_upstream_is_tried_again_without_the_client_seeing_it(parts):
    _, simulator, client = parts
    before = len(simulator.log())
    message = ask(client.with_options(max_retries=0), "[[sim: first=1; status=529; token=again]]")
    assert message.content and len(simulator.log()) - before == 2


def test_errors_keep_their_kind(parts):
    _, _, client = parts
    once = client.with_options(max_retries=0)
    with pytest.raises(anthropic.NotFoundError):
        once.messages.create(model="claude-nothing-0", max_tokens=16, messages=HELLO)
    with pytest.raises(anthropic.RateLimitError):
        ask(once, "[[sim: status=429; should-retry=false]]")
    with pytest.raises(anthropic.BadRequestError):
        ask(once, "[[sim: status=400]]")


def test_a_wrong_key_is_told_at_once(parts):
    claviger, _, _ = parts
    with anthropic.Anthropic(base_url=claviger.url, api_key="cvg_live_wrong") as client:
        begun = time.monotonic()
        with pytest.raises(anthropic.AuthenticationError):
            ask(client, "Hello")
        assert time.monotonic() - begun < 2, "401 says x-should-retry: false"


def test_a_broken_stream_never_looks_whole(parts):
    _, _, client = parts
    with pytest.raises(Exception) as caught:
        with client.messages.stream(
            model=MODEL, max_tokens=256, messages=[{"role": "user", "content": "[[sim: cut=4; deltas=20]]"}]
        ) as stream:
            stream.get_final_message()
    assert caught.type is not AssertionError


def test_the_upstream_sees_no_trace_of_the_clients_key(parts):
    claviger, simulator, client = parts
    key = client.api_key
    ask(client, "Hello")
    text = simulator.log_file.read_text()
    assert key not in text and key[9:40] not in text and "cvg_" not in text
