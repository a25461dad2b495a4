"""Access tokens that are bound to a key of the caller's (RFC 9449) or to its certificate (RFC 8705), with proofs that are
made by another implementation."""

import base64
import hashlib
import http.client
import json
import secrets

import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from processes import house
from test_senders import House as TlsHouse
from test_senders import ask, cert

BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Prover:
    """A key pair of a caller."""

    def __init__(self, algorithm: str = "ES256"):
        self.algorithm = algorithm
        if algorithm == "ES256":
            self.key = ec.generate_private_key(ec.SECP256R1())
            numbers = self.key.public_key().public_numbers()
            x, y = (b64(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
            self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        else:
            self.key = ed25519.Ed25519PrivateKey.generate()
            self.jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(self.key.public_key().public_bytes_raw())}

    def thumbprint(self) -> str:
        return b64(hashlib.sha256(json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()).digest())

    def sign(self, message: bytes) -> bytes:
        if self.algorithm == "EdDSA":
            return self.key.sign(message)
        r, s = utils.decode_dss_signature(self.key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def proof(self, method: str, url: str, token: str | None = None, **changes) -> str:
        claims = {"jti": secrets.token_urlsafe(16), "htm": method, "htu": url, "iat": int(time.time())}
        if token:
            claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
        claims.update(changes)
        header = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk}
        text = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{b64(self.sign(text.encode()))}"


class Gateway:
    def __init__(self, claviger):
        self.url = claviger.url
        self.claviger = claviger

    def key(self, *arguments: str) -> str:
        return self.claviger.key("k", "--test", *arguments)["key"]

    def call(self, method: str, path: str, body: str | None, headers: dict) -> tuple[int, dict, dict]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=20)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}

    def buy(self, key: str, prover: Prover | None, path: str = "/v1/auth/token", form: str = "", **changes):
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if key:
            headers["x-api-key"] = key
        for attempt in range(2):
            if prover:
                headers["dpop"] = prover.proof("POST", self.url + path, **changes)
            status, answer, said = self.call("POST", path, form, headers)
            if error(answer) != "use_dpop_nonce" or attempt:
                return status, answer, said
            changes["nonce"] = said["dpop-nonce"]

    def message(self, token: str, proof: str | None, scheme: str = "DPoP"):
        headers = {"authorization": f"{scheme} {token}", "content-type": "application/json", "anthropic-version": "2023-06-01"}
        if proof:
            headers["dpop"] = proof
        return self.call("POST", "/v1/messages", BODY, headers)


def error(answer: dict) -> str | None:
    return (answer.get("error", {}).get("details") or {}).get("error_code")


@pytest.fixture(scope="module")
def gateway():
    with house() as (claviger, _):
        yield Gateway(claviger)


def proven(gateway: Gateway, prover: Prover, token: str, **changes):
    """A call with a good proof; a nonce is taken from the first refusal that gives one."""
    status, answer, said = gateway.message(token, prover.proof("POST", gateway.url + "/v1/messages", token, **changes))
    if error(answer) == "use_dpop_nonce":
        proof = prover.proof("POST", gateway.url + "/v1/messages", token, nonce=said["dpop-nonce"], **changes)
        status, answer, said = gateway.message(token, proof)
    return status, error(answer)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_token_is_bound_to_the_key_that_bought_it(gateway, algorithm):
    prover, thief = Prover(algorithm), Prover(algorithm)
    status, bought, _ = gateway.buy(gateway.key(), prover)
    assert (status, bought["token_type"]) == (200, "DPoP"), bought
    token = bought["access_token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["cnf"] == {"jkt": prover.thumbprint()}
    assert proven(gateway, prover, token) == (200, None)
    # Stolen: without a proof, with one's own, as a plain Bearer token.
    assert error(gateway.message(token, None)[1]) == "dpop_missing"
    assert error(gateway.message(token, None, "Bearer")[1]) == "dpop_missing"
    assert proven(gateway, thief, token) == (401, "dpop_invalid")


def test_a_proof_is_good_once_for_one_request_now(gateway):
    prover = Prover()
    token = gateway.buy(gateway.key(), prover)[1]["access_token"]
    url = gateway.url + "/v1/messages"
    nonce = gateway.message(token, prover.proof("POST", url, token, nonce="AAAA"))[2]["dpop-nonce"]
    proof = prover.proof("POST", url, token, nonce=nonce)
    assert gateway.message(token, proof)[0] == 200
    status, answer, said = gateway.message(token, proof)
    assert (status, error(answer)) == (401, "dpop_invalid")
    assert said["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')
    for changes in [
        {"htm": "GET"}, {"htu": gateway.url + "/v1/models"}, {"htu": "https://elsewhere.example/v1/messages"},
        {"ath": b64(hashlib.sha256(b"other").digest())}, {"jti": "short"},
    ]:
        assert error(gateway.message(token, prover.proof("POST", url, token, nonce=nonce, **changes))[1]) == "dpop_invalid"
    stale = prover.proof("POST", url, token, iat=int(time.time()) - 400)
    assert error(gateway.message(token, stale)[1]) == "dpop_invalid"
    # The caller's clock does not matter where the proof holds a nonce.
    slow = prover.proof("POST", url, token, iat=int(time.time()) - 4000, nonce=nonce)
    assert gateway.message(token, slow)[0] == 200


def test_refresh_tokens_are_bound_as_access_tokens_are(gateway):
    prover, thief = Prover(), Prover()
    refresh = gateway.buy(gateway.key(), prover)[1]["refresh_token"]
    form = f"grant_type=refresh_token&refresh_token={refresh}"
    assert error(gateway.buy("", None, form=form)[1]) == "refresh_bound"
    assert error(gateway.buy("", thief, form=form)[1]) == "refresh_bound"
    status, renewed, _ = gateway.buy("", prover, form=form)
    assert (status, renewed["token_type"]) == (200, "DPoP"), renewed
    assert proven(gateway, prover, renewed["access_token"]) == (200, None)


def test_a_key_can_demand_proofs(gateway):
    key = gateway.key("--require", "dpop")
    assert error(gateway.buy(key, None)[1]) == "dpop_missing"
    status, answer, _ = gateway.call("POST", "/v1/messages", BODY, {"x-api-key": key, "content-type": "application/json"})
    assert (status, error(answer)) == (401, "dpop_missing")
    prover = Prover()
    assert proven(gateway, prover, gateway.buy(key, prover)[1]["access_token"]) == (200, None)


def test_a_token_that_was_bought_with_a_certificate_is_bound_to_it(tmp_path):
    tls = TlsHouse(tmp_path)
    try:
        for name in ("mine", "other"):
            cert(tls.certs, "client", name)
        key = tls.key()

        def call(name: str | None, path: str, body: str, headers: dict):
            connection = tls.connect(name)
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        status, bought = call("mine", "/v1/auth/token", "", {"x-api-key": key})
        assert (status, bought["token_type"]) == (200, "Bearer"), bought
        token = bought["access_token"]
        assert ask(tls.connect("mine"), token) == (200, None)
        assert ask(tls.connect("other"), token) == (401, "certificate_mismatch")
        assert ask(tls.connect(), token) == (401, "certificate_required")
        form = {"content-type": "application/x-www-form-urlencoded"}
        renew = f"grant_type=refresh_token&refresh_token={bought['refresh_token']}"
        assert error(call("other", "/v1/auth/token", renew, form)[1]) == "refresh_bound"
        assert call("mine", "/v1/auth/token", renew, form)[0] == 200
    finally:
        tls.claviger.stop()
