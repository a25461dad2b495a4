"""What `ClavigerAuth` sends, for every kind of body."""

import asyncio
import hashlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claviger import CachedKey, ClavigerAuth, Ed25519Key, FileKey, HmacKey, NotSignable, Secret, Signer, StaticKey, Target, WrongOrigin
from gateway import LIBRARIES, Wire, envelope
from vectors import load

KEY = load("tokens.json")["key"]
BASE = "http://gw.example:8787"
SECRET = "cvg_sign_" + "Ab0" * 12
OK = lambda wire, request: wire.json(200, {})  # noqa: E731


def signer(profile="v2"):
    return Signer(HmacKey(Secret(SECRET)), profile)


def auth_with(profile=None, **options):
    return ClavigerAuth(BASE, StaticKey(Secret(KEY)), signer=signer(profile) if profile else None, **options)


def assert_signed(request, body, profile):
    """Verifies by signing again with the time and nonce that were sent."""
    target = Target.of(request.method, str(request.url))
    if profile == "rfc9421":
        sent = request.headers["signature-input"]
        created, nonce = int(sent.split("created=")[1].split(";")[0]), sent.split('nonce="')[1].split('"')[0]
    else:
        created, nonce = int(request.headers["x-request-timestamp"]), request.headers["x-request-nonce"]
    again = Signer(HmacKey(Secret(SECRET)), profile, clock=lambda: created, nonce=lambda: nonce)
    for name, value in again.headers(target, "0123456789", body).items():
        assert request.headers[name] == value


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
def test_the_sdks_credential_is_replaced(library):
    wire = Wire(OK, library)
    with library.Client(transport=wire.sync, auth=auth_with()) as client:
        client.get(f"{BASE}/v1/models", headers={"Authorization": "Bearer sdk", "X-Api-Key": "sdk"})
    (request,) = wire.seen
    assert request.headers["x-api-key"] == KEY and "authorization" not in request.headers


@pytest.mark.parametrize("url", ["http://other.example/v1/models", "https://gw.example:8787/v1/models", "http://gw.example/v1/models"])
def test_another_origin_gets_nothing(url):
    wire = Wire(OK)
    with wire.library.Client(transport=wire.sync, auth=auth_with()) as client, pytest.raises(WrongOrigin):
        client.get(url)
    assert not wire.seen


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
@pytest.mark.parametrize("profile", ["v1", "v2", "rfc9421"])
def test_every_kind_of_body_is_signed_as_it_is_sent(library, profile):
    def pieces():
        yield b"one "
        yield b"two"

    kinds = [
        {"content": "{ \"a\" : 1 }".encode()}, {"json": {"text": "密钥"}}, {"content": b""}, {}, {"data": {"a": "b c"}},
        {"content": pieces()}, {"content": io.BytesIO(b"x" * 200_000)}, {"files": {"file": ("a.bin", io.BytesIO(bytes(range(256)) * 999))}},
        {"files": {"file": ("a.bin", b"in memory")}, "data": {"purpose": "x"}},
    ]
    wire = Wire(OK, library)
    with library.Client(transport=wire.sync, auth=auth_with(profile)) as client:
        for kind in kinds:
            client.post(f"{BASE}/v1/x?beta=true&q=%C3%A4", **kind)
            request = wire.seen[-1]
            assert_signed(request, request.read(), profile)
    assert len({r.headers.get("x-request-nonce") or r.headers["signature-input"] for r in wire.seen}) == len(kinds)


@pytest.mark.parametrize("profile", ["v1", "v2", "rfc9421"])
def test_asynchronous_streams_are_signed(profile):
    async def pieces():
        yield b"one "
        yield b"two"

    async def go():
        wire = Wire(OK)
        async with wire.library.AsyncClient(transport=wire.asynchronous, auth=auth_with(profile)) as client:
            await client.post(f"{BASE}/v1/files", content=pieces())
        (request,) = wire.seen
        assert_signed(request, await request.aread(), profile)

    asyncio.run(go())


def test_a_body_beyond_the_bound_is_refused_with_the_reason_before_anything_is_sent():
    wire = Wire(OK)
    auth = auth_with("v2", max_body_bytes=1000)
    with wire.library.Client(transport=wire.sync, auth=auth) as client, pytest.raises(NotSignable, match="1000 bytes"):
        client.post(f"{BASE}/v1/files", content=iter([b"x" * 600, b"x" * 600]))
    assert not wire.seen


def test_a_long_upload_goes_through_a_file_and_can_be_repeated():
    body = hashlib.sha256(b"seed").digest() * (400 * 1024)
    answers = [lambda w: w.json(401, envelope("token_expired")), lambda w: w.json(200, {})]

    def answer(wire, request):
        if request.url.path.startswith("/v1/auth/"):
            return wire.json(200, {"access_token": "A", "token_type": "Bearer", "expires_in": 7200})
        sent.append(hashlib.sha256(request.read()).digest())
        return answers.pop(0)(wire)

    sent = []
    wire = Wire(answer)
    with wire.library.Client(transport=wire.sync, auth=auth_with("v2", auth="token")) as client:
        assert client.post(f"{BASE}/v1/files", content=iter([body[:5_000_000], body[5_000_000:]])).status_code == 200
    assert sent == [hashlib.sha256(body).digest()] * 2


def test_a_stream_that_is_not_signed_passes_through_and_is_not_repeated():
    def answer(wire, request):
        if request.url.path.startswith("/v1/auth/"):
            return wire.json(200, {"access_token": "A", "token_type": "Bearer", "expires_in": 7200})
        request.read()
        return wire.json(401, envelope("token_expired"))

    wire = Wire(answer)
    with wire.library.Client(transport=wire.sync, auth=auth_with(auth="token")) as client:
        assert client.post(f"{BASE}/v1/files", content=iter([b"once"])).status_code == 401
    assert [r.url.path for r in wire.seen] == ["/v1/auth/token", "/v1/files"]


def test_a_key_that_was_replaced_in_its_file_is_read_again_once(tmp_path):
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text("cvg_old\n")
    wire = Wire(lambda w, r: w.json(200, {}) if r.headers["x-api-key"] == "cvg_new" else w.json(401, envelope()))
    with wire.library.Client(transport=wire.sync, auth=ClavigerAuth(BASE, CachedKey(FileKey(file)))) as client:
        assert client.get(f"{BASE}/v1/models").status_code == 401
        assert len(wire.seen) == 1
        file.write_text("cvg_new\n")
        assert client.get(f"{BASE}/v1/models").status_code == 200
    # The old key once more, then the new one.
    assert len(wire.seen) == 3


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=300),
    path=st.text("abcXYZ019-._~/%20", max_size=30).map(lambda p: "/" + p.replace("%", "%25")),
    query=st.text("abc=&01+", max_size=20),
    method=st.sampled_from(["POST", "PUT", "DELETE", "PATCH"]),
    profile=st.sampled_from(["v1", "v2", "rfc9421"]),
)
def test_whatever_is_sent_is_what_was_signed(body, path, query, method, profile):
    wire = Wire(OK)
    with wire.library.Client(transport=wire.sync, auth=auth_with(profile)) as client:
        client.request(method, f"{BASE}{path}" + (f"?{query}" if query else ""), content=body)
    (request,) = wire.seen
    target = Target.of(request.method, str(request.url))
    raw_path, _, raw_query = request.url.raw_path.decode().partition("?")
    assert (target.path, target.query, target.authority) == (raw_path, raw_query, request.headers["host"])
    assert_signed(request, body, profile)


@pytest.mark.parametrize("alg", ["hmac-sha256", "ed25519"])
def test_an_independent_verifier_agrees(alg):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

    pem = load("signing.json")["ed25519"]["private_pem"].encode()

    class Keys(HTTPSignatureKeyResolver):
        def resolve_public_key(self, key_id):
            assert key_id == "0123456789"
            return SECRET.encode() if alg == "hmac-sha256" else load_pem_private_key(pem, None).public_key()

        def resolve_private_key(self, key_id):
            raise AssertionError

    import httpx

    key = HmacKey(Secret(SECRET)) if alg == "hmac-sha256" else Ed25519Key(pem)
    wire = Wire(OK, httpx)
    with httpx.Client(transport=wire.sync, auth=ClavigerAuth(BASE, StaticKey(Secret(KEY)), signer=Signer(key))) as client:
        client.post(f"{BASE}/v1/messages?beta=true", content=b'{"a":1}')
    algorithm = algorithms.HMAC_SHA256 if alg == "hmac-sha256" else algorithms.ED25519
    results = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=Keys()).verify(wire.seen[0])
    assert len(results) == 1 and set(results[0].covered_components) >= {'"@method"', '"@path"', '"content-digest"'}
