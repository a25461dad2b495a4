"""Writes signing.json: what every client must send for a request, worked out from the text of the protocols alone.

It shares no line with any client or with the server. `python signing.py` writes the file, `--check` compares it.
Needs `cryptography` for Ed25519; HMAC and the digests come from the standard library.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FILE = pathlib.Path(__file__).with_name("signing.json")
SECRET = "test-signing-secret-32-bytes-lon"
TIMESTAMP = 1767225600
NONCE = "000102030405060708090a0b0c0d0e0f"
KEY_ID = "0123456789"
# The private key of RFC 9421, appendix B.1.4.
SEED = bytes.fromhex("9f8362f87a484a954e6e740c5b4c0e84229139a20aa8ab56ff66586f6a7d29c5")

MESSAGE = '{"model":"m","messages":[]}'.encode()
CHINESE = '{"text":"密钥 | a|1"}'.encode()
BODIES = {
    "json": MESSAGE,
    "spaces and line breaks": b'{ "model" : "m" ,\n"messages":[] }',
    "bars and digits at the end": b"a|1767225600|00",
    "non-ASCII": CHINESE,
    "bytes that are not UTF-8": bytes(range(256)),
    "zero bytes": b"\0\0\0",
    "CRLF at both ends": b"\r\n\r\nx\r\n",
    "65 536 bytes": b"0123456789abcdef" * 4096,
}

# name, method, URL as it goes out, authority, path, query
REQUESTS = [
    ("message", "POST", "https://gw.example/v1/messages", "gw.example", "/v1/messages", ""),
    ("query", "POST", "https://gw.example/v1/messages?beta=true", "gw.example", "/v1/messages", "beta=true"),
    ("port", "POST", "http://gw.example:8787/v1/messages?beta=true", "gw.example:8787", "/v1/messages", "beta=true"),
    ("default port of https", "POST", "https://gw.example:443/v1/messages", "gw.example", "/v1/messages", ""),
    ("default port of http", "POST", "http://gw.example:80/v1/messages", "gw.example", "/v1/messages", ""),
    ("443 is not the port of http", "POST", "http://gw.example:443/v1/messages", "gw.example:443", "/v1/messages", ""),
    ("host in capitals", "POST", "https://GW.Example:8443/v1/messages", "gw.example:8443", "/v1/messages", ""),
    ("address", "POST", "http://127.0.0.1:8787/v1/messages", "127.0.0.1:8787", "/v1/messages", ""),
    ("IPv6 address", "POST", "http://[::1]:8787/v1/messages", "[::1]:8787", "/v1/messages", ""),
    ("prefix of a team", "POST", "https://gw.example/team-a/v1/messages", "gw.example", "/team-a/v1/messages", ""),
    ("escapes stay as they are", "POST", "https://gw.example/v1/x/a%20b%2Fc%e5%AF%86", "gw.example", "/v1/x/a%20b%2Fc%e5%AF%86", ""),
    ("query with escapes, order and repeats", "POST", "https://gw.example/v1/x?b=2&a=1&a=%7C&q=%E5%AF%86+x&e",
     "gw.example", "/v1/x", "b=2&a=1&a=%7C&q=%E5%AF%86+x&e"),
    ("no path", "POST", "https://gw.example", "gw.example", "/", ""),
]
BODILESS = [
    ("list", "GET", "https://gw.example/v1/models?limit=20", "gw.example", "/v1/models", "limit=20"),
    ("deletion", "DELETE", "https://gw.example/v1/files/file_011C", "gw.example", "/v1/files/file_011C", ""),
    ("cancellation without a body", "POST", "https://gw.example/v1/messages/batches/msgbatch_01/cancel", "gw.example",
     "/v1/messages/batches/msgbatch_01/cancel", ""),
]


def mac(secret: str, payload: bytes) -> bytes:
    return hmac.new(secret.encode(), payload + f"|{TIMESTAMP}|{NONCE}".encode(), hashlib.sha256).digest()


def stamped(signature: bytes) -> dict:
    return {
        "x-request-signature": "sha256=" + signature.hex(),
        "x-request-timestamp": str(TIMESTAMP),
        "x-request-nonce": NONCE,
    }


def v1(secret: str, body: bytes) -> dict:
    signature = mac(secret, body)
    one_string = f"ts={TIMESTAMP}&nonce={NONCE}&sig={signature.hex()}"
    return {"headers": stamped(signature), "one_string": one_string}


def v2(secret: str, request: tuple, body: bytes) -> dict:
    _, method, _, authority, path, query = request
    payload = "\n".join(["cvg-sig-v2", KEY_ID, method, authority, path, query, hashlib.sha256(body).hexdigest()])
    headers = {**stamped(mac(secret, payload.encode())), "x-request-signature-version": "2"}
    return {"payload": payload, "headers": headers}


def rfc9421(alg: str, secret: str, request: tuple, body: bytes, expires: int | None) -> dict:
    _, method, _, authority, path, query = request
    parts = [("@method", method), ("@authority", authority), ("@path", path), ("@query", "?" + query)]
    headers = {}
    if body:
        digest = "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"
        headers["content-digest"] = digest
        parts.append(("content-digest", digest))
    names = " ".join(f'"{name}"' for name, _ in parts)
    until = f";expires={expires}" if expires is not None else ""
    params = f'({names});created={TIMESTAMP}{until};nonce="{NONCE}";keyid="{KEY_ID}";alg="{alg}"'
    base = "\n".join([*(f'"{name}": {value}' for name, value in parts), f'"@signature-params": {params}'])
    if alg == "ed25519":
        signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(base.encode())
    else:
        signature = hmac.new(secret.encode(), base.encode(), hashlib.sha256).digest()
    headers["signature-input"] = "cvg=" + params
    headers["signature"] = "cvg=:" + base64.b64encode(signature).decode() + ":"
    return {"signature_base": base, "headers": headers}


def shown(body: bytes) -> dict:
    """Text where it is text and short, else base64; a long body as its repeated part."""
    if len(body) > 1024:
        assert body == b"0123456789abcdef" * (len(body) // 16)
        return {"body_repeat": {"utf8": "0123456789abcdef", "times": len(body) // 16}}
    try:
        return {"body_utf8": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def case(profile: str, name: str, request: tuple, body: bytes, *, secret: str = SECRET, alg: str = "hmac-sha256",
         expires: int | None = None) -> dict:
    expect = {
        "v1": lambda: v1(secret, body),
        "v2": lambda: v2(secret, request, body),
        "rfc9421": lambda: rfc9421(alg, secret, request, body, expires),
    }[profile]()
    made = {"name": f"{profile} {alg}: {name}", "profile": profile, "alg": alg}
    made |= {} if alg == "ed25519" else {"secret_utf8": secret}
    made |= {"expires": expires} if expires is not None else {}
    return made | {"method": request[1], "url": request[2], **shown(body), "expect": expect}


def cases() -> list[dict]:
    made = []
    for name, body in BODIES.items():
        for profile in ("v1", "v2", "rfc9421"):
            made.append(case(profile, f"body: {name}", REQUESTS[0], body))
    for request in REQUESTS:
        made.append(case("v2", request[0], request, CHINESE))
        made.append(case("rfc9421", request[0], request, CHINESE))
    for request in BODILESS:
        for profile in ("v1", "v2", "rfc9421"):
            made.append(case(profile, request[0], request, b""))
    for profile in ("v1", "v2", "rfc9421"):
        made.append(case(profile, "secret as it is printed", REQUESTS[0], MESSAGE, secret="cvg_sign_" + "Ab0" * 12))
        made.append(case(profile, "secret that is not ASCII", REQUESTS[0], MESSAGE, secret="schlüssel-密钥"))
        made.append(case(profile, "secret longer than a block", REQUESTS[0], MESSAGE, secret="k" * 100))
    made.append(case("rfc9421", "expires", REQUESTS[1], MESSAGE, expires=TIMESTAMP + 300))
    for request in (REQUESTS[0], REQUESTS[2], REQUESTS[11], BODILESS[0]):
        made.append(case("rfc9421", request[0], request, b"" if request in BODILESS else CHINESE, alg="ed25519"))
    return made


def document() -> str:
    private = Ed25519PrivateKey.from_private_bytes(SEED)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    whole = {
        "about": "Headers that a client adds when it signs. Names are compared without case, values byte for byte. The key of the"
        " MAC is the UTF-8 text of the secret. authority: host in lower case, without the scheme's default port. path and query:"
        " as they go out, the query without its question mark. rfc9421 leaves content-digest out when there is no body.",
        "timestamp": TIMESTAMP,
        "nonce": NONCE,
        "key_id": KEY_ID,
        "ed25519": {"seed_hex": SEED.hex(), "private_pem": pem.decode(), "public_hex": public.hex()},
        "cases": cases(),
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.read_text(encoding="utf-8") == document() else "signing.json is not what this script writes")
    FILE.write_text(document(), encoding="utf-8")
