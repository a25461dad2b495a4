"""One signing secret after another: the shared vectors, and what the holder's own code may do wrong."""

import asyncio
import logging
from email.utils import formatdate

import pytest

from claviger import Claviger, HmacKey, Secret, Signer, StaticKey, Target
from claviger.succession import rfc3339
from gateway import LIBRARIES, Wire
from vectors import known, load, named

SUCCESSION = load("succession.json")
SECRETS, START = SUCCESSION["secrets"], SUCCESSION["start"]
BASE = "http://gw.example"
HEADERS = {"x-stainless-retry-count": "0"}


def signed_by(request):
    """The name of the secret that signed, by v1."""
    stamp = {"clock": lambda: int(request.headers["x-request-timestamp"]), "nonce": lambda: request.headers["x-request-nonce"]}
    for name, secret in SECRETS.items():
        made = Signer(HmacKey(Secret(secret)), "v1", **stamp).headers(Target.of(request.method, str(request.url)), "", b"")
        if made["x-request-signature"] == request.headers["x-request-signature"]:
            return name
    return "?"


class Script:
    def __init__(self, library):
        self.library, self.now, self.exchanges = library, float(START), []

    def __call__(self, wire, request):
        assert self.exchanges, f"nothing was to be sent: {request.url}"
        step = known(self.exchanges.pop(0), "path", "by", "status", "announces", "answer", "text", "lost", "ahead")
        assert (request.url.path, signed_by(request)) == (step["path"], step["by"])
        if step.get("lost"):
            raise self.library.ReadError("broken")
        held = {name: one and {"signing_secret": SECRETS[one["secret"]], "valid_from": one["valid_from"]} for name, one in step.get("answer", {}).items()}
        headers = {"x-claviger-signing-secret": step["announces"]} if "announces" in step else {}
        if "ahead" in step:
            headers["date"] = formatdate(self.now + step["ahead"], usegmt=True)
        if "text" in step:
            return self.library.Response(step["status"], text=step["text"], headers=headers)
        return self.library.Response(step["status"], json=held, headers=headers)


def play(case, library, call):
    known(case, "name", "secret", "calls")
    names = {secret: name for name, secret in SECRETS.items()}
    script, stored = Script(library), []
    key = HmacKey(
        Secret(SECRETS[case["secret"]]), on_successor=lambda text, at: stored.append((names[text], at)), clock=lambda: script.now
    )
    caller = Claviger(BASE, StaticKey(Secret(SUCCESSION["key"])), signer=Signer(key, "v1", clock=lambda: script.now))
    wire = Wire(script, library)
    for step in case["calls"]:
        known(step, "at", "exchanges", "stored")
        script.now, script.exchanges = float(START + step["at"]), list(step["exchanges"])
        stored.clear()
        assert call(caller, wire) == 200, step["at"]
        assert script.exchanges == [], step["at"]
        assert stored == [(name, rfc3339(at)) for name, at in step.get("stored", [])], step["at"]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
@pytest.mark.parametrize("case", **named(SUCCESSION["cases"]))
def test_succession(case, library):
    def call(caller, wire):
        from claviger import ClavigerTransport

        with library.Client(auth=caller.auth, transport=ClavigerTransport(caller.exchange, wire.sync)) as client:
            return client.get(f"{BASE}/v1/models", headers=HEADERS).status_code

    play(case, library, call)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda l: l.__name__)
@pytest.mark.parametrize("case", **named(SUCCESSION["cases"]))
def test_succession_in_asyncio(case, library):
    def call(caller, wire):
        from claviger import AsyncClavigerTransport

        async def go():
            async with library.AsyncClient(auth=caller.auth, transport=AsyncClavigerTransport(caller.exchange, wire.asynchronous)) as client:
                return (await client.get(f"{BASE}/v1/models", headers=HEADERS)).status_code

        return asyncio.run(go())

    play(case, library, call)


def announcing(wire, request):
    if request.url.path.endswith("/signing-secret"):
        held = {"signing_secret": SECRETS["second"], "valid_from": "2027-01-15T07:00:00Z"}
        return wire.json(200, {"current": held, "next": None})
    by = signed_by(request)
    return wire.json(200, {}, **({"x_claviger_signing_secret": "rotates-at=2027-01-15T07:00:00Z"} if by == "first" else {}))


def broken(text, at):
    raise OSError(f"no room for {text}")


@pytest.mark.parametrize("on_successor, said", [(None, "only this process knows"), (broken, "raised OSError")])
def test_what_is_not_stored_is_told_and_costs_no_call(caplog, on_successor, said):
    caller = Claviger(BASE, StaticKey(Secret(SUCCESSION["key"])), signer=Signer(HmacKey(Secret(SECRETS["first"]), on_successor), "v1"))
    wire = Wire(announcing)
    with caplog.at_level(logging.WARNING, "claviger"), caller.http_client(transport=wire.sync) as client:
        assert [client.get(f"{BASE}/v1/models").status_code for _ in range(3)] == [200] * 3
    assert [signed_by(request) for request in wire.seen] == ["first", "first", "second", "second"]
    assert len(caplog.records) == 1 and said in caplog.text
    assert SECRETS["second"] not in caplog.text
    assert caller.summary().requests == 3
