"""Writes dpop.json: what stands in a proof of possession, worked out from RFC 9449 alone.

It shares no line with any client or with the server. `python dpop.py` writes the file, `--check` compares it.
Needs `cryptography` for the keys' forms.
"""

import base64
import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FILE = pathlib.Path(__file__).with_name("dpop.json")
IAT = 1767225600
JTI = "000102030405060708090a0b0c0d0e0f"
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJrIn0.c2lnbmF0dXJl"
# The private key of RFC 9421, appendix B.1.4, and that of RFC 9421, appendix B.1.3 (P-256).
SEED = bytes.fromhex("9f8362f87a484a954e6e740c5b4c0e84229139a20aa8ab56ff66586f6a7d29c5")
SCALAR = int.from_bytes(base64.b64decode("UpuF81l+kOxbjf7T4mNSv0r5tN67Gim7rnf6EFpcYDs="), "big")

# name, method, URL as it goes out, `htu`
REQUESTS = [
    ("message", "POST", "https://gw.example/v1/messages", "https://gw.example/v1/messages"),
    ("no query", "POST", "https://gw.example/v1/messages?beta=true", "https://gw.example/v1/messages"),
    ("port", "GET", "http://gw.example:8787/v1/models?limit=20", "http://gw.example:8787/v1/models"),
    ("default port of https", "POST", "https://gw.example:443/v1/messages", "https://gw.example/v1/messages"),
    ("default port of http", "POST", "http://gw.example:80/v1/messages", "http://gw.example/v1/messages"),
    ("host in capitals", "DELETE", "https://GW.Example:8443/v1/files/file_011C", "https://gw.example:8443/v1/files/file_011C"),
    ("IPv6 address", "POST", "http://[::1]:8787/v1/messages", "http://[::1]:8787/v1/messages"),
    ("prefix of a team", "POST", "https://gw.example/team-a/v1/messages", "https://gw.example/team-a/v1/messages"),
    ("escapes stay as they are", "GET", "https://gw.example/v1/x/a%20b%2Fc%e5%AF%86", "https://gw.example/v1/x/a%20b%2Fc%e5%AF%86"),
    ("no path", "GET", "https://gw.example", "https://gw.example/"),
]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def keys() -> dict:
    p256, ed = ec.derive_private_key(SCALAR, ec.SECP256R1()), Ed25519PrivateKey.from_private_bytes(SEED)
    point = p256.public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (point.x, point.y))
    jwks = {
        "ES256": (p256, {"crv": "P-256", "kty": "EC", "x": x, "y": y}),
        "EdDSA": (ed, {"crv": "Ed25519", "kty": "OKP", "x": b64(ed.public_key().public_bytes_raw())}),
    }
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        alg: {
            "private_pem": key.private_bytes(*pkcs8).decode(),
            "jwk": jwk,
            # RFC 7638: the members in order of their names, nothing between them.
            "jkt": b64(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest()),
        }
        for alg, (key, jwk) in jwks.items()
    }


def case(made: dict, alg: str, request: tuple, token: str | None, nonce: str | None) -> dict:
    name, method, url, htu = request
    also = [word for word, given in (("token", token), ("nonce", nonce)) if given]
    claims = {"jti": JTI, "htm": method, "htu": htu, "iat": IAT}
    claims |= {"ath": b64(hashlib.sha256(token.encode()).digest())} if token else {}
    claims |= {"nonce": nonce} if nonce else {}
    given = {"access_token": token} if token else {}
    given |= {"nonce": nonce} if nonce else {}
    header = {"typ": "dpop+jwt", "alg": alg, "jwk": made[alg]["jwk"]}
    named = ", ".join([f"{alg}: {name}", *also])
    return {"name": named, "alg": alg, "method": method, "url": url, **given, "expect": {"header": header, "claims": claims}}


def document() -> dict:
    made = keys()
    cases = [case(made, alg, request, None, None) for alg in made for request in REQUESTS]
    for alg in made:
        cases += [case(made, alg, REQUESTS[1], TOKEN, None), case(made, alg, REQUESTS[0], None, "AbC-_123")]
        cases += [case(made, alg, REQUESTS[2], TOKEN, "AbC-_123")]
    return {
        "about": "Proofs of possession (RFC 9449). `keys` are the caller's, by algorithm, with the thumbprint of RFC 7638. For each case the client makes a proof with `jti` and the time `iat`; its header and its claims, read as JSON, are exactly those in `expect`, and its signature verifies with `jwk`. What a client does with nonces stands in tokens.json.",
        "iat": IAT, "jti": JTI, "keys": made, "cases": cases,
    }


def main() -> int:
    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        same = FILE.read_text(encoding="utf-8") == text
        print(f"{FILE.name} {'is up to date' if same else 'differs'}")
        return 0 if same else 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
