"""What the client sent is what the upstream gets, and the reverse: thousands of generated exchanges against a recorder
on bare sockets, equal but for the documented list of exceptions."""

import os
import pathlib
import random
import tempfile

import pytest

from processes import Claviger
from raw import Line, Recorder, framed

EXCHANGES = int(os.environ.get("CLAVIGER_TEST_EXCHANGES", "10000"))
SEED = int(os.environ.get("CLAVIGER_TEST_SEED", "1"))
PROVIDER_KEY = b"sk-ant-api03-" + b"p" * 93 + b"AA"

METHODS = [b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"PROPFIND", b"X-VERB"]
SEGMENTS = [b"agents", b"..", b".", b"%2e%2e", b"%2E", b"", b"a%2Fb", b"caf%C3%A9", b"x;y=1", b"~tilde", b"a+b", b"!$&'()*,=:@", b"%00", b"skills"]
QUERIES = [b"", b"?", b"?beta=true", b"?a=1&a=2&b", b"?q=%20%2B+/?:@", b"?x[]=1&x[]=2", b"?%ff=%FE"]
REQUEST_DROPPED = {
    b"x-api-key", b"authorization", b"host", b"accept-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"trailers",
    b"transfer-encoding", b"upgrade", b"proxy-connection", b"proxy-authorization", b"traceparent", b"tracestate", b"baggage",
    b"content-length",
}
ANSWER_DROPPED = {
    b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"x-request-id", b"date",
    b"anthropic-organization-id", b"anthropic-workspace-id", b"te", b"trailer", b"trailers", b"upgrade", b"proxy-connection",
}


@pytest.fixture(scope="module")
def parts():
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as name:
        claviger = Claviger(pathlib.Path(name))
        try:
            claviger.json("upstream", "add", "recorder", "--kind", "anthropic", "--base-url", recorder.url)
            workspace = claviger.json("workspace", "create", "bound")["id"]
            bound = ["--upstream", "recorder", "--workspace", workspace]
            claviger.json("credential", "add", *bound, "--from-file", "-", stdin=PROVIDER_KEY.decode())
            key = claviger.key("wire", "--workspace", workspace, "--rpd", "0")["key"].encode()
            yield claviger, recorder, key
        finally:
            claviger.stop()
            recorder.stop()


def value(rng):
    """Any bytes that a header value may hold: visible ASCII, inner blanks, and bytes from 0x80."""
    alphabet = bytes(range(0x21, 0x7F)) + b" \t" + bytes(range(0x80, 0x100))
    return bytes(rng.choices(alphabet, k=rng.randrange(0, 24))).strip(b" \t")


def fields(rng, dropped):
    names = [b"X-One", b"x-two", b"Accept", b"User-Agent", b"anthropic-beta", b"anthropic-version", b"Cookie", b"x-stainless-lang",
             b"X-Forwarded-For", b"Via", b"x-Unknown-%d" % rng.randrange(5)]
    chosen = [(rng.choice(names), value(rng)) for _ in range(rng.randrange(0, 9))]
    return [(n, v) for n, v in chosen if n.lower() not in dropped]


def target(rng):
    while True:
        parts = [rng.choice(SEGMENTS) for _ in range(rng.randrange(1, 5))]
        path = b"/v1/" + b"/".join(parts)
        if resolved(path).startswith(b"/v1/") and path not in (b"/v1/", b"/v1/."):
            return path + rng.choice(QUERIES)


def resolved(path):
    """The path as a server that decodes and resolves dots would see it; targets stay below /v1/."""
    out = []
    for part in path.replace(b"%2e", b".").replace(b"%2E", b".").replace(b"%2F", b"/").split(b"/"):
        if part == b"..":
            out = out[:-1]
        elif part not in (b"", b"."):
            out.append(part)
    return b"/" + b"/".join(out) + b"/"


def body(rng, may_be_empty):
    if may_be_empty and rng.random() < 0.3:
        return b"", "none"
    size = rng.choice([0, 1, 2, 100, 1000, 5000, 70_000 if rng.random() < 0.05 else 300])
    return rng.randbytes(size), rng.choice(["length", "chunked"])


def script(rng, method):
    """An answer: its bytes on the wire, and what the client must see of it."""
    status = rng.choice([200, 201, 204, 304, 400, 404, 409, 418, 422, 299])
    headers = [(n, v) for n, v in fields(rng, ANSWER_DROPPED)]
    headers.append((b"content-type", rng.choice([b"application/octet-stream", b"text/plain", b"application/weird"])))
    content, framing = body(rng, may_be_empty=False)
    if method == b"HEAD" or status in (204, 304):
        content, framing = b"", "none"
    frame, sent = framed(content, framing, [rng.randrange(1, 3000) for _ in range(3)])
    head = b"HTTP/1.1 %d Reason\r\n" % status + b"".join(b"%s: %s\r\n" % f for f in headers) + frame + b"\r\n"
    return head + sent, status, headers, content, framing


def kept(headers, dropped):
    return [(n.lower(), v) for n, v in headers if n.lower() not in dropped]


def one(rng, number, parts, line):
    claviger, recorder, key = parts
    name = b"%d" % number
    method, path = rng.choice(METHODS), target(rng)
    headers = [(b"x-exchange", name), *fields(rng, REQUEST_DROPPED)]
    rng.shuffle(headers)
    credential = rng.choice([b"x-api-key: " + key, b"Authorization: Bearer " + key])
    content, framing = body(rng, may_be_empty=True)
    frame, sent = framed(content, framing, [rng.randrange(1, 3000) for _ in range(3)])
    head = b"%s %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n" % (method, path, credential)
    recorder.scripts[name], status, answer_headers, answer_content, answer_framing = script(rng, method)
    request = head + b"".join(b"%s: %s\r\n" % f for f in headers) + frame + b"\r\n" + sent
    got = line.exchange(method, request)

    seen_line, seen_headers, seen_content, seen_framing = recorder.seen.pop(name)
    assert seen_line == b"%s %s HTTP/1.1" % (method, path)
    assert ordered(kept(seen_headers, REQUEST_DROPPED)) == ordered(kept(headers, REQUEST_DROPPED))
    assert seen_content == content
    assert framing == "none" or seen_framing == framing or not content
    provider = [v for n, v in seen_headers if n in (b"x-api-key", b"authorization")]
    assert provider in ([PROVIDER_KEY], [b"Bearer " + PROVIDER_KEY])
    assert all(key not in v for _, v in seen_headers)

    assert got[0] == status
    mine = [f for f in got[1] if not f[0].startswith(b"anthropic-ratelimit-") and f[0] not in (b"request-id",)]
    assert ordered(kept(mine, ANSWER_DROPPED)) == ordered(kept(answer_headers, ANSWER_DROPPED))
    assert got[2] == answer_content
    assert got[3] == answer_framing or not answer_content


def ordered(headers):
    """Headers by name, the values of one name in their order: the order between names means nothing (RFC 9110, 5.3)."""
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        by_name.setdefault(name, []).append(value)
    return by_name


def test_generated_exchanges_are_equal_in_both_directions(parts):
    rng = random.Random(SEED)
    line = Line(parts[0].url)
    for number in range(EXCHANGES):
        try:
            one(rng, number, parts, line)
        except Exception as error:
            raise AssertionError(f"exchange {number} of seed {SEED}: {error!r}") from error
        if not number % 977:
            line.close()


def test_message_bodies_arrive_byte_for_byte(parts):
    claviger, recorder, key = parts
    line = Line(claviger.url)
    answer = b'{"id":"msg_1","type":"message","usage":{"input_tokens":1,"output_tokens":1},"odd":[1.0e2,"\\u00e9"]}  '
    wire = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer)
    bodies = [
        b'{"messages":[],"model":"claude-opus-5-5"}',
        b'{ "mod\\u0065l" :\t"claude-opus-5-5" ,\r\n "messages":[ ],"max_tokens":1,"unknown":{"a":[null,true]}}  ',
        '{"model":"claude-opus-5-5","messages":[{"role":"user","content":"密钥 é\\ud83d\\ude00"}]}'.encode(),
    ]
    for number, content in enumerate(bodies):
        name = b"m%d" % number
        recorder.scripts[name] = wire
        head = b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: g\r\nx-api-key: %s\r\nx-exchange: %s\r\ncontent-length: %d\r\n\r\n"
        status, _, got, _ = line.exchange(b"POST", head % (key, name, len(content)) + content)
        assert (status, got) == (200, answer)
        assert recorder.seen[name][0] == b"POST /v1/messages?beta=true HTTP/1.1"
        assert recorder.seen[name][2] == content


@pytest.mark.parametrize("path", [b"/v1/organizations/me", b"/v1/x/../organizations/me", b"/v1/%6frganizations/me", b"//v1/oauth/token", b"/v1/oauth/%74oken"])
def test_administration_of_the_provider_is_never_forwarded(parts, path):
    claviger, recorder, key = parts
    recorder.scripts[b"never"] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    recorder.seen.pop(b"never", None)
    request = b"GET %s HTTP/1.1\r\nHost: g\r\nx-api-key: %s\r\nx-exchange: never\r\n\r\n" % (path, key)
    status, *_ = Line(claviger.url).exchange(b"GET", request)
    assert status in (404, 501) and b"never" not in recorder.seen
