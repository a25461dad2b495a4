"""Proofs of possession: the shared vectors, keys, and what goes wrong. How nonces flow stands in tokens.json."""

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from claviger import Claviger, ClavigerAuth, ConfigurationError, ProofKey, Retry, Secret, StaticKey
from gateway import Wire, envelope
from proofs import verified
from vectors import known, load, named

DPOP = load("dpop.json")
KEY = load("tokens.json")["key"]
BASE = "http://gw.example:8787"


@pytest.mark.parametrize("case", **named(DPOP["cases"]))
def test_proofs(case):
    known(case, "name", "alg", "method", "url", "access_token", "nonce", "expect")
    pair = known(DPOP["keys"][case["alg"]], "private_pem", "jwk", "jkt")
    key = ProofKey(pair["private_pem"].encode(), clock=lambda: DPOP["iat"] + 0.9, jti=lambda: DPOP["jti"])
    assert (key.algorithm, key.jwk, key.thumbprint) == (case["alg"], pair["jwk"], pair["jkt"])
    proof = key.proof(case["method"], case["url"], case.get("access_token"), case.get("nonce"))
    assert verified(proof) == (case["expect"]["header"], case["expect"]["claims"])


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_key_that_is_made_here_signs_each_request_differently(algorithm):
    key, other = ProofKey(algorithm=algorithm), ProofKey(algorithm=algorithm)
    first, second = (verified(key.proof("GET", BASE))[1] for _ in range(2))
    assert first["jti"] != second["jti"] and len(first["jti"]) == 32
    assert key.thumbprint != other.thumbprint and key.thumbprint in repr(key)


def test_keys_that_cannot_be_are_refused(tmp_path):
    weak = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", weak):
        with pytest.raises(ConfigurationError):
            ProofKey(pem)
    with pytest.raises(ConfigurationError, match="auth = token"):
        ClavigerAuth(BASE, StaticKey(Secret(KEY)), proof_key=ProofKey())
    environment = {"ANTHROPIC_BASE_URL": BASE, "ANTHROPIC_API_KEY": KEY, "CLAVIGER_AUTH": "token"}
    with pytest.raises(ConfigurationError, match="ES256 or EdDSA"):
        Claviger.from_env(environment | {"CLAVIGER_DPOP": "HS256"})
    with pytest.raises(ConfigurationError, match="auth = token"):
        Claviger.from_env(environment | {"CLAVIGER_DPOP": "ES256", "CLAVIGER_AUTH": "key"})
    file = tmp_path / "proof.pem"
    file.write_text(DPOP["keys"]["EdDSA"]["private_pem"])
    file.chmod(0o600)
    made = Claviger.from_env(environment | {"CLAVIGER_DPOP_KEY_FILE": str(file)})
    assert made.auth._prover.key.thumbprint == DPOP["keys"]["EdDSA"]["jkt"]
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Claviger.from_env(environment | {"CLAVIGER_CLIENT_CERT": str(tmp_path / "none.pem")}).http_client()


def token():
    return {"access_token": "A1", "token_type": "DPoP", "expires_in": 7200}


def test_a_repeated_attempt_has_a_proof_of_its_own():
    ids = []

    def answer(wire, request):
        # Here: the adapter uses the request again.
        ids.append(verified(request.headers["dpop"])[1]["jti"])
        if request.url.path == "/v1/auth/token":
            return wire.json(503, {}) if len(ids) == 1 else wire.json(200, token())
        return wire.json(529 if len(wire.seen) < 5 else 200, {})

    wire = Wire(answer)
    caller = Claviger(BASE, StaticKey(Secret(KEY)), auth="token", proof_key=ProofKey(), retry=Retry(base_secs=0.001))
    with caller.http_client(transport=wire.sync) as client:
        assert client.get(f"{BASE}/v1/models").status_code == 200
    assert len(ids) == 5 and len(set(ids)) == 5


def test_a_streamed_body_is_sent_again_with_the_nonce_and_a_local_error_shows_no_proof():
    def answer(wire, request):
        if request.url.path == "/v1/auth/token":
            return wire.json(200, token())
        bodies.append(request.read())
        if len(bodies) == 1:
            return wire.json(401, envelope("use_dpop_nonce"), dpop_nonce="N1")
        return wire.json(200, {})

    bodies = []
    wire = Wire(answer)
    caller = Claviger(BASE, StaticKey(Secret(KEY)), auth="token", proof_key=ProofKey())
    with caller.http_client(transport=wire.sync) as client:
        assert client.post(f"{BASE}/v1/files", content=(piece for piece in (b"a", b"b"))).status_code == 200
    assert bodies == [b"ab", b"ab"] and caller.summary().requests == 1
    small = Claviger(BASE, StaticKey(Secret(KEY)), auth="token", proof_key=ProofKey(), max_body_bytes=1)
    with small.http_client(transport=wire.sync) as client:
        refused = client.post(f"{BASE}/v1/files", content=(p for p in (b"a", b"b")), headers={"x-stainless-retry-count": "0"})
    assert refused.status_code == 413 and len(bodies) == 2 and isinstance(refused, httpx2.Response)
