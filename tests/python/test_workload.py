"""Programs that buy keys by what their platforms say of them: an issuer of this test plays GitHub, GitLab and Kubernetes,
with another implementation of what it signs."""

import base64
import http.client
import http.server
import json
import secrets
import threading
import time
import urllib.parse

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from processes import house
from test_senders import House as TlsHouse
from test_senders import ask, cert

AUD = "https://gw.example"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
SVID = "urn:claviger:params:oauth:token-type:x509-svid"
BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})

SHAPES = {
    "github": {
        "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app", "repository_id": "11",
        "repository_owner": "acme", "repository_owner_id": "7", "ref": "refs/heads/main", "event_name": "push",
        "job_workflow_ref": "acme/app/.github/workflows/ci.yml@refs/heads/main", "environment": "prod",
    },
    "gitlab": {
        "sub": "project_path:acme/app:ref_type:branch:ref:main", "project_path": "acme/app", "project_id": "21",
        "namespace_path": "acme", "namespace_id": "9", "ref": "main", "ref_type": "branch", "ref_protected": "true",
    },
    "kubernetes": {
        "sub": "system:serviceaccount:ci:build",
        "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "build", "uid": "6a9d-1"}},
    },
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens, and publishes its keys."""

    def __init__(self):
        self.asked = 0
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate("k1")
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked += 1
                body = json.dumps({"keys": [issuer.jwk(kid) for kid in issuer.keys]}).encode()
                self.send_response(200)
                self.send_header("cache-control", "max-age=600")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def rotate(self, kid: str):
        self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = kid

    def jwk(self, kid: str) -> dict:
        numbers = self.keys[kid].public_key().public_numbers()
        n, e = (b64(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e))
        return {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e}

    def token(self, shape: str, **changes) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUD, "iat": now, "nbf": now, "exp": now + 300, "jti": secrets.token_hex(16)}
        claims.update(SHAPES[shape])
        claims.update(changes)
        claims = {name: value for name, value in claims.items() if value is not None}
        text = ".".join(b64(json.dumps(p).encode()) for p in ({"alg": "RS256", "kid": self.kid, "typ": "JWT"}, claims))
        return f"{text}.{b64(self.keys[self.kid].sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Town:
    def __init__(self, claviger, issuer: Issuer, platform: str):
        self.claviger, self.issuer = claviger, issuer
        claviger.json(
            "issuer", "add", "platform", "--platform", platform, "--issuer", issuer.url,
            "--jwks-url", issuer.url + "/keys", "--private-network",
        )

    def trust(self, name: str, *claims: str, arguments=()) -> dict:
        given = [part for claim in claims for part in ("--claim", claim)]
        return self.claviger.json(
            "trust", "add", name, "--issuer", "platform", "--audience", AUD, "--test", *given, *arguments
        )

    def call(self, path: str, body: str, headers: dict) -> tuple[int, dict]:
        connection = http.client.HTTPConnection(self.claviger.url.removeprefix("http://"), timeout=20)
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def buy(self, token: str, **form) -> tuple[int, dict]:
        form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ID_TOKEN, **form}
        body = urllib.parse.urlencode({name: value for name, value in form.items() if value is not None})
        return self.call("/v1/auth/token", body, {"content-type": "application/x-www-form-urlencoded"})

    def message(self, key: str) -> int:
        headers = {"x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01"}
        return self.call("/v1/messages", BODY, headers)[0]


def refused(answer: dict) -> tuple[str, str]:
    details = answer["error"]["details"]
    return details["error_code"], details["oauth_error"]


CODES = ("identity_refused", "invalid_grant")


@pytest.fixture(params=["github", "gitlab", "kubernetes"])
def town(request):
    with house() as (claviger, _):
        town = Town(claviger, Issuer(), request.param)
        town.shape = request.param
        yield town


NAMES = {
    "github": ("repository=acme/app", "repository_owner_id"),
    "gitlab": ("project_path=acme/app", "namespace_id"),
    "kubernetes": ("sub=system:serviceaccount:ci:build", "kubernetes.io/serviceaccount/uid"),
}


def renamed(shape: str) -> dict:
    """The same names, taken over by somebody else."""
    if shape == "kubernetes":
        return {"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "build", "uid": "6a9d-2"}}}
    return {"repository_owner_id": "8"} if shape == "github" else {"namespace_id": "10"}


def test_a_platforms_token_buys_one_key_and_a_name_that_changed_hands_none(town):
    claim, pin = NAMES[town.shape]
    rule = town.trust("ci", claim, arguments=["--ttl", "5m", "--models", "claude-haiku-*", "--rpm", "0"])
    assert rule["pins"][pin] is None
    token = town.issuer.token(town.shape)
    status, bought = town.buy(token)
    assert status == 200, bought
    assert (bought["token_type"], bought["expires_in"], bought["trust"]) == ("Bearer", 300, "ci")
    assert bought["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert town.message(bought["access_token"]) == 200
    # The key stands among the keys, with where it comes from.
    key = town.claviger.json("key", "show", bought["key_id"])
    assert (key["parent"], key["name"].split()[0]) == (rule["key"], "ci")
    assert town.claviger.json("trust", "show", "ci")["pins"][pin] is not None
    # Once: neither the token nor its id again.
    status, answer = town.buy(token)
    assert (status, refused(answer)) == (401, CODES) and "used before" in answer["error"]["message"]
    status, answer = town.buy(town.issuer.token(town.shape, **renamed(town.shape)))
    assert (status, refused(answer)) == (401, CODES)
    # What is bought buys access tokens as any key does, and dies with the rule.
    status, access = town.call("/v1/auth/token", "", {"x-api-key": bought["access_token"]})
    assert status == 200 and town.message(access["access_token"]) == 200
    town.claviger.run("trust", "remove", "ci")
    deadline = time.monotonic() + 10
    while town.message(bought["access_token"]) == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_holders_read_what_is_wrong_with_their_token_and_operators_all(town):
    claim, pin = NAMES[town.shape]
    town.trust("ci", claim, arguments=["--rpm", "0"])
    assert town.buy(town.issuer.token(town.shape))[0] == 200
    now = int(time.time())
    stranger = Issuer()
    stranger.url = town.issuer.url
    for token, said in [
        (town.issuer.token(town.shape, aud="https://other.example"), f'`aud` is ["https://other.example"], `{AUD}` is demanded'),
        (town.issuer.token(town.shape, aud=None), f"`aud` is [], `{AUD}` is demanded (rule `ci`)"),
        (town.issuer.token(town.shape, exp=now - 60), "it is expired"),
        (town.issuer.token(town.shape, exp=None), "it has no proper `exp`"),
        (town.issuer.token(town.shape, nbf=now + 120), "it is not valid yet"),
        (town.issuer.token(town.shape, exp=now + 200_000), "it is valid for more than a day"),
        (town.issuer.token(town.shape, iss="https://elsewhere.example"), '"https://elsewhere.example", is not configured'),
        # To whoever took over the name it is somebody else's rule.
        (town.issuer.token(town.shape, **renamed(town.shape)), f'no rule of trust is about it: `aud` is ["{AUD}"]'),
        (stranger.token(town.shape), "the signature does not match"),
        (town.issuer.token(town.shape).rsplit(".", 1)[0] + ".", "not a compact JWS"),
        ("cvg_live_x", "not a compact JWS"),
    ]:
        status, answer = town.buy(token)
        message = answer["error"]["message"]
        assert (status, refused(answer)) == (401, CODES), token
        assert message.startswith("the identity is not accepted: ") and said in message, message
        assert ("rule `ci`" in message) == ("is demanded" in message), message
    moved = town.issuer.token(town.shape, **renamed(town.shape))
    said = town.claviger.json("trust", "test", "-", stdin=moved, expect=5)
    assert said["error"] is None and "changed hands" in said["rules"][0]["mismatch"] and pin in said["rules"][0]["mismatch"]
    assert town.claviger.json("trust", "test", "-", stdin=town.issuer.token(town.shape))["ok"] is True
    trail = town.claviger.json("audit", "list", "--limit", "200")
    text = json.dumps(trail)
    assert "trust.exchange" in text and "changed hands" in text


def test_the_other_grant_scopes_and_named_rules():
    with house() as (claviger, _):
        town = Town(claviger, Issuer(), "github")
        town.trust("narrow", "repository=acme/app", arguments=["--scopes", "messages:write,models:read"])
        form = {"grant_type": BEARER, "assertion": town.issuer.token("github"), "scope": "models:read"}
        kind = {"content-type": "application/x-www-form-urlencoded"}
        status, bought = town.call("/v1/auth/token", urllib.parse.urlencode(form), kind)
        assert (status, bought["scope"]) == (200, "models:read"), bought
        assert "issued_token_type" not in bought
        status, answer = town.buy(town.issuer.token("github"), scope="files:write")
        assert (status, answer["error"]["details"]["oauth_error"]) == (400, "invalid_scope")
        assert town.buy(town.issuer.token("github"), trust="narrow")[0] == 200
        assert town.buy(town.issuer.token("github"), trust="other")[0] == 401
        # A new key of the issuer is fetched once its set is a minute old; until then it is unknown.
        town.issuer.rotate("k2")
        asked = town.issuer.asked
        for _ in range(5):
            assert town.buy(town.issuer.token("github"))[0] == 401
        assert town.issuer.asked == asked
        claviger.run("issuer", "remove", "platform", expect=4)


def test_rules_that_would_admit_strangers_are_refused():
    with house() as (claviger, _):
        Town(claviger, Issuer(), "github")
        add = ("trust", "add", "x", "--issuer", "platform", "--test")
        claviger.run(*add, "--claim", "repository=acme/app", expect=2)
        claviger.run(*add, "--audience", AUD, "--claim", "repository=*", expect=4)
        claviger.run(*add, "--audience", AUD, "--claim", "ref=refs/heads/main", expect=4)
        claviger.run(*add, "--audience", AUD, "--claim", "repository=acme/app", "--ttl", "1h", expect=4)
        claviger.run(
            "issuer", "add", "inside", "--issuer", "https://a.example", "--jwks-url", "http://127.0.0.1:1/k", expect=4
        )


def test_an_svid_buys_a_key_that_is_bound_to_its_id(tmp_path):
    tls = TlsHouse(tmp_path)
    try:
        tls.claviger.json(
            "trust", "add", "mesh", "--svid", "--claim", "spiffe_id=spiffe://example.org/ns/ci/*", "--test"
        )
        cert(tls.certs, "client", "build", "--spiffe", "spiffe://example.org/ns/ci/sa/build")
        cert(tls.certs, "client", "other", "--spiffe", "spiffe://example.org/ns/cd/sa/x")

        def buy(name: str | None):
            connection = tls.connect(name)
            form = urllib.parse.urlencode({"grant_type": EXCHANGE, "subject_token_type": SVID})
            kind = {"content-type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/v1/auth/token", form, kind)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        status, bought = buy("build")
        assert status == 200, bought
        assert ask(tls.connect("build"), bought["access_token"]) == (200, None)
        assert ask(tls.connect("other"), bought["access_token"]) == (401, "certificate_mismatch")
        assert ask(tls.connect(), bought["access_token"]) == (401, "certificate_required")
        assert buy("other")[0] == buy(None)[0] == 401
    finally:
        tls.claviger.stop()
