"""The response cache, as the official Python SDK meets it."""

import asyncio
import concurrent.futures

import anthropic
import pytest

from processes import house

MODEL = "claude-opus-5-5"


@pytest.fixture(scope="module")
def parts():
    with house() as (claviger, simulator):
        key = claviger.key("cached", "--cache", "5m", "--rpm", "0")["key"]
        with anthropic.Anthropic(base_url=claviger.url, api_key=key, max_retries=0) as client:
            yield claviger, simulator, client


def say(text):
    return {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": text}]}


def ask(client, body, **options):
    answer = client.messages.with_raw_response.create(**body, **options)
    return answer.headers.get("x-claviger-cache"), answer.parse()


def streamed(client, body):
    with client.messages.stream(**body) as stream:
        text = "".join(stream.text_stream)
        return stream.response.headers.get("x-claviger-cache"), text, stream.get_final_message()


def test_a_message_is_given_once_more_and_the_provider_does_not_hear_of_it(parts):
    claviger, simulator, client = parts
    before = len(simulator.log())
    first, second = ask(client, say("once")), ask(client, say("once"))
    assert (first[0], second[0]) == ("miss", "hit")
    assert first[1].id == second[1].id and first[1].content == second[1].content
    assert first[1]._request_id != second[1]._request_id
    assert len(simulator.log()) - before == 1


def test_the_asynchronous_client_asks_the_same_question(parts):
    claviger, _, client = parts
    assert ask(client, say("both clients"))[0] == "miss"

    async def again():
        async with anthropic.AsyncAnthropic(base_url=claviger.url, api_key=client.api_key) as other:
            answer = await other.messages.with_raw_response.create(**say("both clients"))
            return answer.headers.get("x-claviger-cache")

    assert asyncio.run(again()) == "hit"


def test_a_stream_is_replayed_as_a_stream(parts):
    _, simulator, client = parts
    before = len(simulator.log())
    first, second = streamed(client, say("in pieces")), streamed(client, say("in pieces"))
    assert (first[0], second[0]) == ("miss", "hit")
    assert first[1] == second[1] and second[2].stop_reason == "end_turn"
    assert second[2].usage == first[2].usage and first[2].id == second[2].id
    assert len(simulator.log()) - before == 1
    # As one message it is another question.
    assert ask(client, say("in pieces"))[0] == "miss"


def test_a_tool_of_the_callers_own_is_asked_for_again_and_one_that_acts_never(parts):
    _, _, client = parts
    body = say('[[sim: tool=weather; input={"city":"Oslo"}]]')
    own = [{"name": "weather", "description": "Weather", "input_schema": {"type": "object"}}]
    assert [ask(client, body, tools=own)[0] for _ in range(2)] == ["miss", "hit"]
    search = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]
    assert [ask(client, say("search"), tools=search)[0] for _ in range(2)] == [None, None]


def test_a_caller_has_the_last_word(parts):
    _, _, client = parts
    body = say("the last word")
    words = [
        ask(client, body, extra_headers={"cache-control": control} if control else {})[0]
        for control in ("no-store", "", "", "no-cache", "no-store", "max-age=0", "")
    ]
    assert words == [None, "miss", "hit", "miss", None, "miss", "hit"]


def test_errors_and_broken_streams_are_not_kept(parts):
    _, simulator, client = parts
    before = len(simulator.log())
    for _ in range(2):
        with pytest.raises(anthropic.BadRequestError):
            ask(client, say("[[sim: status=400]]"))
        with pytest.raises(Exception) as caught:
            streamed(client, say("[[sim: cut=4; deltas=20]]"))
        assert caught.type is not AssertionError
    assert len(simulator.log()) - before == 4


def test_those_who_ask_at_once_make_one_call(parts):
    _, simulator, client = parts
    before = len(simulator.log())
    body = say("[[sim: latency=800]] at once")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        words = list(pool.map(lambda _: ask(client, body)[0], range(20)))
    assert sorted(words) == ["hit"] * 19 + ["miss"]
    assert len(simulator.log()) - before == 1


def test_another_workspace_has_another_cache(parts):
    claviger, _, client = parts
    claviger.json("workspace", "create", "stranger")
    key = claviger.key("stranger", "--cache", "5m", "--workspace", "stranger")["key"]
    assert [ask(client, say("whose"))[0] for _ in range(2)] == ["miss", "hit"]
    with anthropic.Anthropic(base_url=claviger.url, api_key=key) as other:
        assert ask(other, say("whose"))[0] == "miss"
    shown = claviger.json("cache", "show")
    assert len(shown["workspaces"]) == 2
    flushed = claviger.json("cache", "flush", "--workspace", "stranger")
    assert flushed["answers"] == 1
    assert ask(client, say("whose"))[0] == "hit"


def test_the_log_still_proves_itself(parts):
    claviger, _, _ = parts
    assert claviger.json("audit", "verify")["ok"] is True


def test_nothing_of_it_is_on_the_disk(parts):
    claviger, _, client = parts
    mark = "a sentence that stands nowhere else"
    assert [ask(client, say(mark))[0] for _ in range(2)] == ["miss", "hit"]
    for path in claviger.data.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert mark.encode() not in path.read_bytes(), path
