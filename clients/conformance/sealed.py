"""Writes sealed.json: sealed keys, and what every client says to the key management service that opens them.

Worked out from the text of the format (docs/src/hand-over.md), of AWS Signature Version 4 and of the transit engine's
API alone; it shares no line with any client or with the server. `python sealed.py` writes the file, `--check` compares it.
Needs `cryptography` for AES-GCM.
"""

import base64
import datetime
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILE = pathlib.Path(__file__).with_name("sealed.json")
KEY = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb"
SECRET = "cvg_sign_" + "Ab0" * 12 + "1234567"
DATA_KEY = bytes(range(32))
NONCE = bytes(range(0x40, 0x4C))
NOW = 1767225600
SEALED_AT = "2025-12-31T23:00:00Z"

ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ACCESS, SECRET_ACCESS = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "FwoGZXIvYXdzEXAMPLETOKEN//////////8="
AWS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS, "AWS_REGION": "eu-central-1"}
VAULT_TOKEN = "hvs.CAESIJexampletoken"
VAULT = {"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": VAULT_TOKEN}
AWS_URI, VAULT_URI = "awskms:///alias/claviger", "hashivault://claviger"
WRAPPED = {"awskms": base64.b64encode(b"wrapped by the service" * 4).decode(), "hashivault": "vault:v3:" + base64.b64encode(b"wrapped" * 9).decode()}
KMS_KEY = {"awskms": ARN, "hashivault": "transit/claviger"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bound(*parts: str) -> bytes:
    """Each part after its length as eight bytes, big-endian."""
    return b"".join(struct.pack(">Q", len(part.encode())) + part.encode() for part in parts)


def seal(kms: str = "awskms", purpose: str = "api_key", text: str = KEY, **other: str) -> dict:
    blob = {
        "claviger_sealed": 1, "purpose": purpose, "id": text[9:19], "kms": kms, "kms_key": KMS_KEY[kms],
        "wrapped_key": WRAPPED[kms], "sealed_at": SEALED_AT,
    } | other
    names = ("purpose", "id", "kms", "kms_key", "wrapped_key", "sealed_at")
    aad = bound("claviger sealed key v1", *(blob[name] for name in names))
    return blob | {"nonce": b64(NONCE), "ciphertext": b64(AESGCM(DATA_KEY).encrypt(NONCE, text.encode(), aad))}


def compact(value: dict) -> str:
    return json.dumps(value, separators=(",", ":"))


# === what is said to the services ===


def aws_call(blob: dict, host: str = "kms.eu-central-1.amazonaws.com", scheme: str = "https", region: str = "eu-central-1",
             key: str = "alias/claviger", session: str | None = None) -> dict:
    context = {"claviger:id": blob["id"], "claviger:purpose": blob["purpose"]}
    body = compact({"KeyId": key, "CiphertextBlob": blob["wrapped_key"], "EncryptionContext": context})
    at = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)
    stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    headers = {"content-type": "application/x-amz-json-1.1", "host": host, "x-amz-date": stamp}
    if session is not None:
        headers["x-amz-security-token"] = session
    headers["x-amz-target"] = "TrentService.Decrypt"
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body.encode()).hexdigest()}"
    scope = f"{day}/{region}/kms/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key_bytes = ("AWS4" + SECRET_ACCESS).encode()
    for part in (day, region, "kms", "aws4_request"):
        key_bytes = hmac.new(key_bytes, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key_bytes, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={names}, Signature={signature}"
    del headers["host"]
    return {"url": f"{scheme}://{host}/", "headers": headers, "body": body}


def vault_call(blob: dict, address: str = "https://vault.example:8200", mount: str = "transit", token: str = VAULT_TOKEN,
               namespace: str | None = None) -> dict:
    associated = b64(bound("claviger data key v1", blob["purpose"], blob["id"]))
    headers = {"x-vault-request": "true", "x-vault-token": token}
    if namespace is not None:
        headers["x-vault-namespace"] = namespace
    body = compact({"ciphertext": blob["wrapped_key"], "associated_data": associated})
    return {"url": f"{address}/v1/{mount}/decrypt/claviger", "headers": headers, "body": body}


def aws_gives(data_key: bytes = DATA_KEY) -> dict:
    answer = {"EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "KeyId": ARN, "Plaintext": b64(data_key)}
    return {"status": 200, "answer": json.dumps(answer)}


def vault_gives(data_key: bytes = DATA_KEY) -> dict:
    answer = {"request_id": "72570c90", "lease_id": "", "renewable": False, "data": {"plaintext": b64(data_key)}, "auth": None}
    return {"status": 200, "answer": json.dumps(answer)}


# === cases ===


def case(name: str, blob, uri: str = AWS_URI, environment: dict | None = None, exchanges=(), result: str = KEY,
         purpose: str = "api_key") -> dict:
    return {
        "name": name, "uri": uri, "environment": AWS if environment is None else environment, "purpose": purpose,
        "blob": blob if isinstance(blob, str) else compact(blob), "exchanges": list(exchanges), "result": result,
    }


def opened() -> list[dict]:
    aws, vault, secret = seal(), seal("hashivault"), seal(purpose="signing_secret", text=SECRET)
    session = AWS | {"AWS_SESSION_TOKEN": SESSION}
    bao = {"BAO_ADDR": "https://bao.example", "BAO_TOKEN": "s.bao", "BAO_NAMESPACE": "team/a"} | VAULT
    return [
        case("AWS KMS", aws, exchanges=[aws_call(aws) | aws_gives()]),
        case("with line breaks and indents", json.dumps(aws, indent=2) + "\n", exchanges=[aws_call(aws) | aws_gives()]),
        case("members in another order", dict(reversed(aws.items())), exchanges=[aws_call(aws) | aws_gives()]),
        case("a session's credentials", aws, environment=session, exchanges=[aws_call(aws, session=SESSION) | aws_gives()]),
        case("a key of another region, by its ARN", aws, uri=f"awskms:///{ARN}", environment=AWS | {"AWS_REGION": "us-east-1"},
             exchanges=[aws_call(aws, key=ARN) | aws_gives()]),
        case("the region in the address", aws, uri="awskms:///alias/claviger?region=cn-north-1",
             exchanges=[aws_call(aws, "kms.cn-north-1.amazonaws.com.cn", region="cn-north-1") | aws_gives()]),
        case("the older name of the region's variable", aws,
             environment={"AWS_DEFAULT_REGION" if name == "AWS_REGION" else name: value for name, value in AWS.items()},
             exchanges=[aws_call(aws) | aws_gives()]),
        case("another endpoint", aws, uri="awskms://kms.vpce.example:8443/alias/claviger",
             exchanges=[aws_call(aws, "kms.vpce.example:8443") | aws_gives()]),
        case("an endpoint on this machine", aws, uri="awskms://127.0.0.1:5000/alias/claviger",
             exchanges=[aws_call(aws, "127.0.0.1:5000", "http") | aws_gives()]),
        case("an endpoint of the environment", aws, environment=AWS | {"AWS_ENDPOINT_URL": "https://aws.example/"},
             exchanges=[aws_call(aws, "aws.example") | aws_gives()]),
        case("KMS's own endpoint comes first", aws,
             environment=AWS | {"AWS_ENDPOINT_URL": "https://aws.example", "AWS_ENDPOINT_URL_KMS": "https://kms.example"},
             exchanges=[aws_call(aws, "kms.example") | aws_gives()]),
        case("a signing secret", secret, purpose="signing_secret", exchanges=[aws_call(secret) | aws_gives()], result=SECRET),
        case("Vault transit", vault, VAULT_URI, VAULT, [vault_call(vault) | vault_gives()]),
        case("another mount", vault, "hashivault://claviger?mount=team/transit", VAULT,
             [vault_call(vault, mount="team/transit") | vault_gives()]),
        case("a namespace", vault, VAULT_URI, VAULT | {"VAULT_NAMESPACE": "team-a"},
             [vault_call(vault, namespace="team-a") | vault_gives()]),
        case("OpenBao's variables come first", vault, "openbao://claviger", bao,
             [vault_call(vault, "https://bao.example", token="s.bao", namespace="team/a") | vault_gives()]),
        case("a slash after the address", vault, VAULT_URI, VAULT | {"VAULT_ADDR": "http://127.0.0.1:8200/"},
             [vault_call(vault, "http://127.0.0.1:8200") | vault_gives()]),
    ]


def refused() -> list[dict]:
    aws, vault = seal(), seal("hashivault")
    made = []

    def bad(name: str, blob=aws, exchanges=(), **more) -> None:
        made.append(case(name, blob, exchanges=exchanges, result="error", **more))

    # What is no blob is never taken for a key, and nobody is asked.
    bad("a plain key in the file", KEY)
    bad("an empty file", "")
    bad("another document", '{"key":"' + KEY + '"}')
    bad("half a blob", compact(aws)[:-40])
    bad("two blobs", compact(aws) + compact(aws))
    bad("a later version", aws | {"claviger_sealed": 2})
    bad("a version that is text", aws | {"claviger_sealed": "1"})
    bad("a member that version 1 does not have", aws | {"key": KEY})
    for name in ("purpose", "id", "kms", "kms_key", "wrapped_key", "sealed_at", "nonce", "ciphertext"):
        bad(f"without {name}", {key: value for key, value in aws.items() if key != name})
    bad("a number in place of text", aws | {"id": 123456789})
    bad("a nonce of another length", aws | {"nonce": b64(NONCE + b"x")})
    bad("a nonce that is not base64", aws | {"nonce": "@@@@"})
    bad("a ciphertext without padding", aws | {"ciphertext": aws["ciphertext"].rstrip("=")})
    bad("a signing secret where a key is wanted", seal(purpose="signing_secret", text=SECRET))
    bad("a key where a signing secret is wanted", purpose="signing_secret")
    bad("a purpose that nobody knows", seal(purpose="root"))
    bad("sealed by another service", vault)
    bad("a service that nobody knows", aws | {"kms": "gcpkms"})
    # What was changed on its way: the service, which binds purpose and id, or the cipher says so.
    for name, value in (("kms_key", ARN.replace("1111", "9999")), ("sealed_at", "2026-01-01T00:00:00Z"),
                        ("nonce", b64(NONCE[::-1])), ("ciphertext", b64(base64.b64decode(aws["ciphertext"])[:-1] + b"\0"))):
        changed = aws | {name: value}
        bad(f"another {name}", changed, [aws_call(changed) | aws_gives()])
    for name, value in (("id", "9876543210"), ("wrapped_key", b64(b"other" * 20))):
        changed = aws | {name: value}
        bad(f"another {name}, and a service that lets it pass", changed, [aws_call(changed) | aws_gives()])
    named = seal(id="9876543210")
    bad("the id of another key, sealed so", named, [aws_call(named) | aws_gives()])
    no_key = seal(text="sk-ant-api03-0123456789", id="0123456789")
    bad("what was sealed is not a key", no_key, [aws_call(no_key) | aws_gives()])
    # The service does not open it. There is nothing to fall back to, and none of its words are repeated.
    for status in (307, 400, 403, 500):
        answer = {"status": status, "answer": json.dumps({"__type": "AccessDeniedException", "message": SECRET_ACCESS})}
        bad(f"AWS KMS answers {status}", exchanges=[aws_call(aws) | answer])
        answer = {"status": status, "answer": json.dumps({"errors": [VAULT_TOKEN]})}
        bad(f"Vault answers {status}", vault, [vault_call(vault) | answer], uri=VAULT_URI, environment=VAULT)
    for name, answer in (("no JSON", KEY), ("no data key", "{}"), ("a data key that is not base64", '{"Plaintext":"@@"}')):
        bad(f"an answer with {name}", exchanges=[aws_call(aws) | {"status": 200, "answer": answer}])
    bad("an answer with a short data key", exchanges=[aws_call(aws) | aws_gives(DATA_KEY[:16])])
    bad("another data key", exchanges=[aws_call(aws) | aws_gives(DATA_KEY[::-1])])
    bad("another data key from Vault", vault, [vault_call(vault) | vault_gives(DATA_KEY[::-1])], uri=VAULT_URI, environment=VAULT)
    # Settings that say too little, or too much.
    without = lambda values, name: {key: value for key, value in values.items() if key != name}  # noqa: E731
    for name in AWS:
        bad(f"{name} is not set", environment=without(AWS, name))
    for name in VAULT:
        bad(f"{name} is not set", vault, uri=VAULT_URI, environment=without(VAULT, name))
    bad("plain http to another machine", environment=AWS | {"AWS_ENDPOINT_URL": "http://kms.example"})
    bad("Vault by plain http on another machine", vault, uri=VAULT_URI, environment=VAULT | {"VAULT_ADDR": "http://vault.example:8200"})
    bad("a region that is no name", uri="awskms:///alias/claviger?region=eu.example%2F")
    for uri in ("", "alias/claviger", "gcpkms://projects/p", "awskms://", "awskms:///", "awskms:///alias/claviger?endpoint=x", "hashivault://"):
        bad(f"the address `{uri}`", uri=uri)
    for uri in ("hashivault://a/b", "hashivault://claviger?key=x"):
        bad(f"the address `{uri}`", vault, uri=uri, environment=VAULT)
    return made


def document() -> str:
    whole = {
        "about": "Sealed keys. A client is given `uri` and `environment` (nothing else of the process's), the blob's text as a file,"
        " and the purpose for which it reads it. `exchanges` are all requests that it sends, in order: POST, with these headers"
        " (names are compared without case, values and body byte for byte; others may be there), and the answer that it gets."
        " The time is `now`. `result` is the key, or `error`: no text of an error holds any of `secrets`.",
        "now": NOW,
        "secrets": [KEY, SECRET, SECRET_ACCESS, SESSION, VAULT_TOKEN, "s.bao", b64(DATA_KEY)],
        "cases": opened() + refused(),
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.read_text(encoding="utf-8") == document() else "sealed.json is not what this script writes")
    FILE.write_text(document(), encoding="utf-8")
