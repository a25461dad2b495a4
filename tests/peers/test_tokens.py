"""Tokens and proofs between the gateway and `joserfc`, which shares no code with it: each verifies what the other signed."""

import base64
import hashlib
import http.client
import http.server
import json
import pathlib
import secrets
import threading
import time
import urllib.parse

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from processes import get, house

BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})
FORM = {"content-type": "application/x-www-form-urlencoded"}
AUD = "https://gw.example"


def call(url: str, path: str, body: str, headers: dict) -> tuple[int, dict, dict]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), {name.lower(): value for name, value in answer.getheaders()}


@pytest.fixture(scope="module", params=["EdDSA", "ES256"])
def gateway(request, tmp_path_factory):
    config = pathlib.Path(tmp_path_factory.mktemp("config")) / "claviger.toml"
    config.write_text(f'[tokens]\nalgorithm = "{request.param}"\n')
    with house(arguments=["--config", str(config)]) as (claviger, _):
        claviger.algorithm = request.param
        yield claviger


def test_our_tokens_are_verified_by_joserfc(gateway):
    key = gateway.key("tokens", "--test")["key"]
    status, bought, _ = call(gateway.url, "/v1/auth/token", "", FORM | {"x-api-key": key})
    assert status == 200, bought
    published = KeySet.import_key_set(json.loads(get(gateway.url + "/.well-known/jwks.json")[2]))
    token = jwt.decode(bought["access_token"], published, algorithms=[gateway.algorithm])
    assert (token.header["typ"], token.header["alg"]) == ("at+jwt", gateway.algorithm)
    rules = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": gateway.url}, aud={"essential": True, "value": gateway.url},
        exp={"essential": True}, nbf={"essential": True}, iat={"essential": True}, jti={"essential": True}, sub={"essential": True},
    )
    rules.validate(token.claims)
    # The key's id is its thumbprint (RFC 7638), as the library computes it.
    ours = next(one for one in published.keys if one.kid == token.header["kid"])
    assert ours.thumbprint() == ours.kid
    head, claims, signature = bought["access_token"].split(".")
    changed = base64.urlsafe_b64encode(base64.urlsafe_b64decode(claims + "==").replace(b"at", b"ta", 1)).rstrip(b"=").decode()
    for forged in [f"{head}.{changed}.{signature}", f"{head}.{claims}.{signature[4:]}{signature[:4]}"]:
        with pytest.raises(JoseError):
            jwt.decode(forged, published, algorithms=[gateway.algorithm])


def error(answer: dict) -> str | None:
    return (answer.get("error", {}).get("details") or {}).get("error_code")


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_proofs_of_joserfc_are_accepted(gateway, algorithm):
    own = OKPKey.generate_key("Ed25519") if algorithm == "EdDSA" else ECKey.generate_key("P-256")
    public = {name: own.as_dict(private=False)[name] for name in ("kty", "crv", "x", "y") if name in own.as_dict(private=False)}

    def proof(path: str, token: str | None = None, key=own, **claims) -> str:
        claims |= {"jti": secrets.token_urlsafe(16), "htm": "POST", "htu": gateway.url + path, "iat": int(time.time())}
        if token:
            claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        return jwt.encode({"typ": "dpop+jwt", "alg": algorithm, "jwk": public}, claims, key, algorithms=[algorithm])

    def send(path: str, body: str, headers: dict, token: str | None = None, key=own):
        status, answer, said = call(gateway.url, path, body, headers | {"dpop": proof(path, token, key)})
        if error(answer) == "use_dpop_nonce":
            again = proof(path, token, key, nonce=said["dpop-nonce"])
            status, answer, said = call(gateway.url, path, body, headers | {"dpop": again})
        return status, answer

    status, bought = send("/v1/auth/token", "", FORM | {"x-api-key": gateway.key("bound", "--test")["key"]})
    assert (status, bought["token_type"]) == (200, "DPoP"), bought
    token = bought["access_token"]
    published = KeySet.import_key_set(json.loads(get(gateway.url + "/.well-known/jwks.json")[2]))
    claims = jwt.decode(token, published, algorithms=[gateway.algorithm]).claims
    assert claims["cnf"] == {"jkt": own.thumbprint()}
    headers = {"authorization": f"DPoP {token}", "content-type": "application/json", "anthropic-version": "2023-06-01"}
    assert send("/v1/messages", BODY, headers, token)[0] == 200
    # Signed by another key than the one that it shows.
    other = OKPKey.generate_key("Ed25519") if algorithm == "EdDSA" else ECKey.generate_key("P-256")
    status, answer = send("/v1/messages", BODY, headers, token, other)
    assert (status, error(answer)) == (401, "dpop_invalid")


class Issuer:
    """Publishes keys that `joserfc` made."""

    def __init__(self):
        self.keys = {
            "RS256": RSAKey.generate_key(2048, {"kid": "r"}), "ES256": ECKey.generate_key("P-256", {"kid": "e"}),
            "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "o"}),
        }
        published = []
        for algorithm, key in self.keys.items():
            published.append(key.as_dict(private=False) | {"alg": algorithm, "use": "sig"})
        body = json.dumps({"keys": published}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def token(self, algorithm: str, key=None) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": AUD, "iat": now, "nbf": now, "exp": now + 300, "jti": secrets.token_hex(16),
            "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app", "repository_id": "11",
            "repository_owner": "acme", "repository_owner_id": "7", "ref": "refs/heads/main", "event_name": "push",
        }
        own = self.keys[algorithm]
        return jwt.encode({"alg": algorithm, "typ": "JWT", "kid": own.kid}, claims, key or own, algorithms=[algorithm])


def test_assertions_of_joserfc_buy_keys(gateway):
    issuer, stranger = Issuer(), Issuer()
    gateway.json(
        "issuer", "add", "platform", "--platform", "github", "--issuer", issuer.url,
        "--jwks-url", issuer.url + "/keys", "--private-network", "--algorithms", "RS256,ES256,EdDSA",
    )
    gateway.json("trust", "add", "app", "--issuer", "platform", "--audience", AUD, "--test", "--claim", "repository=acme/app")

    def buy(token: str):
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": token}
        return call(gateway.url, "/v1/auth/token", urllib.parse.urlencode(form), FORM)

    for algorithm in issuer.keys:
        status, bought, _ = buy(issuer.token(algorithm))
        assert status == 200, (algorithm, bought)
        assert buy(issuer.token(algorithm, stranger.keys[algorithm]))[0] == 401, algorithm
    assert bought["access_token"]
