"""Proofs of possession (RFC 9449): with each request the caller signs what it asks for, by a key that it never shows.

An access token that is bought with a proof is bound to the proof's key: whoever reads the token along the way cannot use it.
This is between callers and Claviger's gateway; Claude's own API knows nothing of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit

from .errors import ConfigurationError
from .secret import Secret
from .signing import Target

DPOP_HEADER = "dpop"
NONCE_HEADER = "dpop-nonce"
Algorithm = Literal["ES256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "EdDSA")


class ProofKey:
    """A key pair for proofs: the one of a PEM file (PKCS #8, P-256 or Ed25519), or one that is made here.

    One that is made here lives as long as the process, and so do the tokens that are bound to it. Needs `claviger[dpop]`.
    """

    def __init__(
        self,
        private_pem: bytes | None = None,
        *,
        algorithm: Algorithm = "ES256",
        clock: Callable[[], float] = time.time,
        jti: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._key = _made(algorithm) if private_pem is None else _loaded(private_pem)
        self.algorithm, self.jwk = _public(self._key)
        self._clock = clock
        self._jti = jti

    def __repr__(self) -> str:
        return f"ProofKey({self.algorithm}, jkt={self.thumbprint})"

    @property
    def thumbprint(self) -> str:
        """RFC 7638: what the tokens say that they are bound to (`cnf.jkt`)."""
        return _b64(hashlib.sha256(json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()).digest())

    def proof(self, method: str, url: str, access_token: str | None = None, nonce: str | None = None) -> str:
        """The value of the DPoP header for one request; never the same twice."""
        claims: dict[str, Any] = {"jti": self._jti(), "htm": method, "htu": _htu(url), "iat": int(self._clock())}
        if access_token is not None:
            claims["ath"] = _b64(hashlib.sha256(access_token.encode()).digest())
        if nonce is not None:
            claims["nonce"] = nonce
        header = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk}
        text = ".".join(_b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"{text}.{_b64(self._sign(text.encode()))}"

    def _sign(self, message: bytes) -> bytes:
        if self.algorithm == "EdDSA":
            signature: bytes = self._key.sign(message)
            return signature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        r, s = utils.decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Prover:
    """A proof key, and the gateway's nonce that its proofs hold."""

    def __init__(self, key: ProofKey) -> None:
        self.key = key
        self._nonce: str | None = None
        self._lock = threading.Lock()

    def prove(self, request: Any, access_token: Secret | None) -> None:
        """Puts a proof into a request, in place of one that is there."""
        with self._lock:
            nonce = self._nonce
        shown = None if access_token is None else access_token.reveal()
        request.headers[DPOP_HEADER] = self.key.proof(request.method, str(request.url), shown, nonce)

    def notice(self, response: Any) -> bool:
        """Keeps the nonce of an answer (RFC 9449, 8.2). Whether there is one."""
        given = response.headers.get(NONCE_HEADER)
        if given is None:
            return False
        with self._lock:
            self._nonce = given
        return True


def _htu(url: str) -> str:
    """Without query and fragment, in the form that the gateway sees."""
    target = Target.of("", url)
    return f"{urlsplit(url).scheme}://{target.authority}{target.path}"


def _made(algorithm: str) -> Any:
    ec, ed25519 = _library()
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    raise ConfigurationError("the algorithm of proofs is ES256 or EdDSA")


def _loaded(private_pem: bytes) -> Any:
    _library()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(private_pem, password=None)
    except (ValueError, TypeError):
        raise ConfigurationError("not an unencrypted private key in PEM form") from None


def _public(key: Any) -> tuple[Algorithm, dict[str, str]]:
    ec, ed25519 = _library()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA", {"crv": "Ed25519", "kty": "OKP", "x": _b64(key.public_key().public_bytes_raw())}
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        point = key.public_key().public_numbers()
        return "ES256", {"crv": "P-256", "kty": "EC", "x": _b64(point.x.to_bytes(32, "big")), "y": _b64(point.y.to_bytes(32, "big"))}
    raise ConfigurationError("the proof key is neither a P-256 nor an Ed25519 key")


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    except ImportError as error:
        raise ConfigurationError("a proof key needs the package `cryptography`: claviger[dpop]") from error
    return ec, ed25519


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
