"""HTTP message signatures between Claviger and `http-message-signatures`: each verifies what the other signed."""

import base64
import datetime
import hashlib
import http.client
import json
import secrets
import subprocess
import types

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, InvalidSignature, algorithms
from processes import house, program

BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}).encode()
COVERED = ("@method", "@authority", "@path", "@query", "content-digest")
KINDS = {"hmac-sha256": algorithms.HMAC_SHA256, "ed25519": algorithms.ED25519}


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, public, private):
        self.public, self.private = public, private

    def resolve_public_key(self, key_id: str):
        return self.public

    def resolve_private_key(self, key_id: str):
        return self.private


class Signing:
    """A key of the gateway's, and what signs with it."""

    def __init__(self, claviger, folder, kind: str):
        self.claviger, self.kind, self.file = claviger, kind, folder / "secret"
        made = claviger.key("signed", "--test", "--require", "signature", "--sign")
        if kind == "hmac-sha256":
            text = made["signing_secret"]
            self.keys = Keys(text.encode(), text.encode())
        else:
            pair = Ed25519PrivateKey.generate()
            private = pair.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            public = pair.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            (folder / "public").write_bytes(public)
            claviger.json("key", "update", made["id"], "--signing-public-key", str(folder / "public"))
            text = private.decode()
            self.keys = Keys(public, private)
        self.file.write_text(text)
        self.file.chmod(0o600)
        self.key, self.key_id = made["key"], made["key"].split("_")[2][:10]

    def message(self, headers: dict, path: str = "/v1/messages?beta=true", body: bytes = BODY):
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"Content-Digest": f"sha-256=:{digest}:"} | headers
        return types.SimpleNamespace(method="POST", url=self.claviger.url + path, headers=headers)

    def send(self, message, body: bytes = BODY) -> tuple[int, str | None]:
        host = self.claviger.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=20)
        common = {"x-api-key": self.key, "content-type": "application/json", "anthropic-version": "2023-06-01"}
        connection.request("POST", message.url.removeprefix(self.claviger.url), body, common | message.headers)
        answer = connection.getresponse()
        read = json.loads(answer.read())
        return answer.status, (read.get("error", {}).get("details") or {}).get("error_code")


@pytest.fixture(scope="module")
def claviger():
    with house() as (claviger, _):
        yield claviger


@pytest.fixture(params=list(KINDS))
def signing(request, claviger, tmp_path):
    return Signing(claviger, tmp_path, request.param)


def test_what_claviger_signs_is_verified(signing, tmp_path):
    (tmp_path / "body").write_bytes(BODY)
    kind = "--secret-file" if signing.kind == "hmac-sha256" else "--private-key-file"
    done = subprocess.run(
        [
            program("CLAVIGER_TEST_BIN", "claviger"), "sign", "--json", "--profile", "rfc9421", "--method", "POST",
            "--url", signing.claviger.url + "/v1/messages?beta=true", "--key-id", signing.key_id, kind, str(signing.file),
            "--body", str(tmp_path / "body"),
        ],
        capture_output=True, text=True, timeout=30,
    )
    assert done.returncode == 0, done.stderr
    headers = {name.title(): value for name, value in json.loads(done.stdout).items()}
    verifier = HTTPMessageVerifier(signature_algorithm=KINDS[signing.kind], key_resolver=signing.keys)
    message = signing.message(headers)
    results = verifier.verify(message)
    assert [result.parameters["keyid"] for result in results] == [signing.key_id]
    covered = {name.strip('"') for result in results for name in result.covered_components}
    assert covered >= set(COVERED)
    for changed in [signing.message(headers, "/v1/files"), signing.message(headers | {"Content-Digest": "sha-256=:AAAA:"})]:
        with pytest.raises(InvalidSignature):
            verifier.verify(changed)
    assert signing.send(message) == (200, None)


def test_what_the_library_signs_is_accepted(signing):
    signer = HTTPMessageSigner(signature_algorithm=KINDS[signing.kind], key_resolver=signing.keys)

    def signed(**changes):
        message = signing.message({})
        arguments = {
            "key_id": signing.key_id, "nonce": secrets.token_hex(16), "label": "theirs", "covered_component_ids": COVERED,
            "created": datetime.datetime.now(datetime.timezone.utc),
        }
        signer.sign(message, use_existing_digest=True, body=BODY, **(arguments | changes))
        return message

    message = signed()
    assert signing.send(message) == (200, None)
    assert signing.send(message) == (401, "nonce_replayed")
    assert signing.send(signed(include_alg=False)) == (200, None)
    # Any text is a nonce; more may be covered.
    assert signing.send(signed(nonce="a nonce of any 16+ characters " + secrets.token_urlsafe())) == (200, None)
    assert signing.send(signed(covered_component_ids=(*COVERED, "@target-uri", "@scheme"))) == (200, None)
    assert signing.send(signed(), BODY + b" ") == (401, "signature_invalid")
    assert signing.send(signed(covered_component_ids=COVERED[:3])) == (401, "signature_invalid")
    late = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=400)
    assert signing.send(signed(created=late)) == (401, "timestamp_skew")
