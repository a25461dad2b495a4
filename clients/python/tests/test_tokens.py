"""The token flow: the shared vectors, and one purchase for many calls."""

import asyncio
import base64
import hashlib
import threading
import time

import pytest

from claviger import ClavigerAuth, HmacKey, ProofKey, Secret, Signer, StaticKey, TokenError
from gateway import LIBRARIES, Wire, envelope, form_of
from proofs import verified
from vectors import known, load, named

TOKENS = load("tokens.json")
KEY = TOKENS["key"]
BASE = "http://gw.example:8787"


class Script:
    """Plays the exchanges of a case and checks each request."""

    def __init__(self, proof_key=None):
        self.exchanges = []
        self.proof_key = proof_key
        self.used = set()

    def __call__(self, wire, request):
        assert self.exchanges, f"nothing was to be sent: {request.url}"
        step = known(self.exchanges.pop(0), "path", "proof", "form", "tokens", "status", "error_code", "json", "nonce", "dpop_nonce")
        assert request.url.path == step["path"]
        kind, _, value = step["proof"].partition(":")
        headers = request.headers
        assert headers.get("x-api-key") == (KEY if kind == "key" else None)
        schemes = {"bearer": "Bearer", "dpop": "DPoP"}
        assert headers.get("authorization") == (f"{schemes[kind]} {value}" if kind in schemes else None)
        self.prove(request, step.get("nonce"), value if kind == "dpop" else None)
        if step["path"] == "/v1/auth/refresh":
            assert kind == "refresh" and form_of(request) == {"grant_type": "refresh_token", "refresh_token": value}
        if step["path"] == "/v1/auth/token":
            assert form_of(request) == step.get("form", {"grant_type": "client_credentials"})
        given = {"dpop_nonce": step["dpop_nonce"]} if "dpop_nonce" in step else {}
        if "tokens" in step:
            return wire.json(200, {"token_type": "Bearer", "scope": "all", **step["tokens"]}, **given)
        if "json" in step:
            return wire.json(200, step["json"])
        body = {"data": []} if step["status"] == 200 else envelope(step.get("error_code"))
        return wire.json(step["status"], body, **given)

    def prove(self, request, nonce, access):
        proof = request.headers.get("dpop")
        if self.proof_key is None:
            assert proof is None
            return
        header, claims = verified(proof)
        assert header["jwk"] == self.proof_key.jwk and claims["jti"] not in self.used
        self.used.add(claims["jti"])
        ath = access and base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()).rstrip(b"=").decode()
        made = {"htm": request.method, "htu": str(request.url), "ath": ath, "nonce": nonce}
        assert {name: claims.get(name) for name in made} == made


def auth_of(case, clock, proof_key):
    return ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token", scope=case.get("scope"), proof_key=proof_key, monotonic=lambda: clock[0])


def play(case, library, call):
    proof_key = ProofKey() if known(case, "name", "scope", "dpop", "calls").get("dpop") else None
    clock, script = [0.0], Script(proof_key)
    auth = auth_of(case, clock, proof_key)
    wire = Wire(script, library)
    for step in case["calls"]:
        clock[0] = 1000.0 + known(step, "at", "exchanges", "result")["at"]
        script.exchanges = list(step["exchanges"])
        try:
            result = call(wire, auth)
        except TokenError:
            result = "error"
        assert result == step["result"] and not script.exchanges


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
@pytest.mark.parametrize("case", **named(TOKENS["cases"]))
def test_flow(case, library):
    def call(wire, auth):
        with library.Client(transport=wire.sync, auth=auth) as client:
            return client.get(f"{BASE}/v1/models", headers={"x-stainless-retry-count": "0", "authorization": "Bearer sdk"}).status_code

    play(case, library, call)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
@pytest.mark.parametrize("case", **named(TOKENS["cases"]))
def test_flow_of_asyncio(case, library):
    def call(wire, auth):
        async def go():
            async with library.AsyncClient(transport=wire.asynchronous, auth=auth) as client:
                return (await client.get(f"{BASE}/v1/models", headers={"x-stainless-retry-count": "0", "x-api-key": "sdk"})).status_code

        return asyncio.run(go())

    play(case, library, call)


def slow_gateway(delay):
    """Gives numbered tokens, slowly; refuses calls with an old one."""
    bought = []
    lock = threading.Lock()

    def answer(wire, request):
        if request.url.path.startswith("/v1/auth/"):
            with lock:
                bought.append(request.url.path)
                number = len(bought)
            time.sleep(delay)
            return wire.json(200, {"access_token": f"A{number}", "token_type": "Bearer", "expires_in": 7200, "refresh_token": f"R{number}"})
        current = request.headers["authorization"] == f"Bearer A{len(bought)}"
        return wire.json(200, {}) if current else wire.json(401, envelope("token_expired"))

    return answer, bought


def test_many_threads_buy_one_token():
    answer, bought = slow_gateway(0.05)
    wire = Wire(answer)
    auth = ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token")
    with wire.library.Client(transport=wire.sync, auth=auth) as client:
        results = []
        threads = [threading.Thread(target=lambda: results.append(client.get(f"{BASE}/v1/models").status_code)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [200] * 16 and bought == ["/v1/auth/token"]


class SlowTransport:
    """An asynchronous transport whose purchases take a while without blocking the loop."""

    def __init__(self, answer, wire):
        self.answer, self.wire = answer, wire

    async def handle_async_request(self, request):
        if request.url.path.startswith("/v1/auth/"):
            await asyncio.sleep(0.02)
        return self.answer(self.wire, request)

    async def aclose(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


def test_many_tasks_buy_one_token_and_a_cancelled_buyer_does_not_stop_the_others():
    answer, bought = slow_gateway(0)
    wire = Wire(answer)
    auth = ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token")

    async def go():
        async with wire.library.AsyncClient(transport=SlowTransport(answer, wire), auth=auth) as client:
            first = asyncio.create_task(client.get(f"{BASE}/v1/models"))
            others = [asyncio.create_task(client.get(f"{BASE}/v1/models")) for _ in range(20)]
            await asyncio.sleep(0.005)
            first.cancel()
            others[3].cancel()
            done = await asyncio.gather(first, *others, return_exceptions=True)
            return [getattr(d, "status_code", None) for d in done]

    statuses = asyncio.run(go())
    assert statuses.count(200) == 19 and statuses.count(None) == 2 and bought == ["/v1/auth/token"]


def test_many_calls_that_learn_of_the_end_at_once_refresh_once():
    answer, bought = slow_gateway(0.02)
    wire = Wire(answer)
    auth = ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token")
    with wire.library.Client(transport=wire.sync, auth=auth) as client:
        assert client.get(f"{BASE}/v1/models").status_code == 200
        bought.append("the gateway forgets A1")
        bought.append("")
        # Now A3 would be current; the next purchase makes it so.
        del bought[-1]
        results = []
        threads = [threading.Thread(target=lambda: results.append(client.get(f"{BASE}/v1/models").status_code)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert bought.count("/v1/auth/refresh") == 1 and results == [200] * 8


def test_purchases_are_signed_when_calls_are():
    seen = []

    def answer(wire, request):
        seen.append(request)
        if request.url.path == "/v1/auth/token":
            return wire.json(200, {"access_token": "A1", "token_type": "Bearer", "expires_in": 60})
        return wire.json(200, {})

    wire = Wire(answer)
    auth = ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token", signer=Signer(HmacKey(Secret("s" * 32)), "v2"))
    with wire.library.Client(transport=wire.sync, auth=auth) as client:
        client.post(f"{BASE}/v1/messages", json={"a": 1})
    nonces = {request.headers["x-request-nonce"] for request in seen}
    assert [r.url.path for r in seen] == ["/v1/auth/token", "/v1/messages"] and len(nonces) == 2
    assert all(request.headers["x-request-signature-version"] == "2" for request in seen)


def test_a_secret_is_in_no_text():
    auth = ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token")
    assert KEY not in repr(StaticKey(Secret(KEY))) + repr(vars(auth)) + str(Secret(KEY)) + f"{Secret(KEY)!r}"


class Losing:
    """A gateway that loses answers of the refresh endpoint, and takes a late repetition for theft as the real one does."""

    def __init__(self, losses):
        self.losses, self.asked, self.now, self.first = losses, [], 0.0, None

    def __call__(self, wire, request):
        if request.url.path == "/v1/models":
            return wire.json(200, {})
        name = request.url.path.rsplit("/", 1)[1]
        self.asked.append(name)
        if name == "refresh":
            self.first = self.now if self.first is None else self.first
            assert self.now - self.first <= 10, "that is theft"
            if self.losses:
                self.losses -= 1
                raise wire.library.ReadError("lost")
        number = len(self.asked)
        return wire.json(200, {"access_token": f"A{number}", "token_type": "Bearer", "expires_in": 600, "refresh_token": f"R{number}"})


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
@pytest.mark.parametrize("losses, calls, asked", [
    (1, [0, 545], ["token", "refresh", "refresh"]),
    # Both lost: the token still holds for the call, and a minute later the key buys.
    (2, [0, 545, 560], ["token", "refresh", "refresh", "token"]),
    (2, [0, 545, 546, 556], ["token", "refresh", "refresh", "token"]),
], ids=["one", "two, then nothing for a while", "two, and calls go on"])
def test_an_answer_to_a_refresh_that_is_lost_is_no_theft(library, losses, calls, asked):
    from claviger import ClavigerTransport, Exchange

    gateway = Losing(losses)
    wire = Wire(gateway, library)
    auth = ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token", monotonic=lambda: gateway.now)
    exchange = Exchange(monotonic=lambda: gateway.now)
    with library.Client(transport=ClavigerTransport(exchange, wire.sync), auth=auth) as client:
        for gateway.now in calls:
            assert client.get(f"{BASE}/v1/models", headers={"x-stainless-retry-count": "0"}).status_code == 200
    assert gateway.asked == asked


def test_fifty_tasks_buy_one_token_though_the_first_goes_away():
    answer, bought = slow_gateway(0)
    wire = Wire(answer)

    async def go():
        from claviger import AsyncClavigerTransport

        auth = ClavigerAuth(BASE, StaticKey(Secret(KEY)), auth="token")
        async with wire.library.AsyncClient(transport=AsyncClavigerTransport(inner=SlowTransport(answer, wire)), auth=auth) as client:
            tasks = [asyncio.create_task(client.get(f"{BASE}/v1/models")) for _ in range(50)]
            await asyncio.sleep(0.01)
            tasks[0].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(go())
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.status_code for answer in answers[1:]] == [200] * 49
    # The purchase that was broken off may have arrived; one other was made for all.
    assert len(bought) <= 2


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
def test_a_client_that_follows_redirects_takes_no_credential_along(library):
    from claviger import Claviger, WrongOrigin

    def answer(wire, request):
        assert request.url.host == "gw.example", "the key went elsewhere"
        return wire.library.Response(307, headers={"location": "https://elsewhere.example/v1/models"})

    wire = Wire(answer, library)
    caller = Claviger(BASE, StaticKey(Secret(KEY)))
    from claviger import ClavigerTransport

    with library.Client(auth=caller.auth, transport=ClavigerTransport(caller.exchange, wire.sync), follow_redirects=True) as client:
        with pytest.raises(WrongOrigin):
            client.get(f"{BASE}/v1/models")
    # What this library makes follows none at all.
    with Claviger(BASE, StaticKey(Secret(KEY))).http_client(transport=Wire(answer).sync) as client:
        assert client.get(f"{BASE}/v1/models").status_code == 307
