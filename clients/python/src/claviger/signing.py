"""Signed requests, in the three profiles that Claviger's gateway verifies.

`v1` signs the body, time and nonce. `v2` binds method, authority, path, query and key as well. `rfc9421` is RFC 9421 (HTTP
Message Signatures) with the digest of RFC 9530, by HMAC-SHA256 or Ed25519. These are Claviger's protocols towards its
callers; Claude's own API knows nothing of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import urlsplit

from .errors import ConfigurationError
from .secret import Secret
from .succession import Succession

Profile = Literal["v1", "v2", "rfc9421"]
PROFILES: tuple[Profile, ...] = ("v1", "v2", "rfc9421")
log = logging.getLogger("claviger")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class SigningKey(Protocol):
    """What makes the signature: the algorithm's name in RFC 9421 and the operation."""

    @property
    def alg(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class HmacKey:
    """The printed signing secret, as it is: its UTF-8 bytes are the key.

    Secrets are replaced every month. The gateway announces it a week before; the adapter then fetches the successor with a
    signed request, and signs with it from its time on. `on_successor` is called with the new secret's text and the time (in
    seconds since 1970) from when it counts: store it, so that the next start of the program has it. What it raises is logged,
    and costs no call.
    """

    alg = "hmac-sha256"

    def __init__(
        self,
        secret: Secret,
        on_successor: Callable[[str, float], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._succession = Succession(secret, clock)
        self._on_successor = on_successor

    def sign(self, message: bytes) -> bytes:
        return self.start(message).digest()

    def start(self, message: bytes = b"") -> hmac.HMAC:
        """A MAC that takes more."""
        return hmac.new(self._succession.secret().reveal().encode(), message, hashlib.sha256)

    def announce(self, said: str) -> None:
        """The gateway said that there is a successor: the value of the header."""
        self._succession.announce(said)

    def wants_successor(self) -> bool:
        """Whether it is time to ask for it: the caller does, and gives the answer to `succeed`."""
        return self._succession.wants()

    def succeed(self, answer: bytes, date: str | None = None) -> None:
        """Reads the answer of `GET /v1/claviger/signing-secret`, and its Date. One that says nothing changes nothing."""
        for successor in self._succession.succeed(answer, date):
            if self._on_successor is None:
                log.warning("the signing secret has a successor that only this process knows: give HmacKey an on_successor that stores it")
                continue
            try:
                self._on_successor(successor.secret.reveal(), successor.valid_from)
            except Exception as error:
                # Its text may hold the secret.
                log.error("the signing secret's successor was not stored: on_successor raised %s", type(error).__name__)


class Ed25519Key:
    """A private Ed25519 key, for `rfc9421` only. Needs the extra `claviger[ed25519]`."""

    alg = "ed25519"

    def __init__(self, private_pem: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ImportError as error:
            raise ConfigurationError("an Ed25519 key needs the package `cryptography`: claviger[ed25519]") from error
        try:
            key = load_pem_private_key(private_pem, password=None)
        except (ValueError, TypeError):
            raise ConfigurationError("not an unencrypted private key in PEM form") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError("the private key is not an Ed25519 key")
        self._key = key

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


@dataclass(frozen=True)
class Target:
    """Where a request goes, as the wire shows it."""

    method: str
    authority: str
    """Host in lower case, with the port unless it is the scheme's own."""
    path: str
    query: str
    """Without the question mark."""

    @classmethod
    def of(cls, method: str, url: str) -> Target:
        """Reads an absolute URL; escapes stay as they are."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        shown = f"[{host}]" if ":" in host else host
        if parts.port is not None and parts.port != _DEFAULT_PORTS.get(parts.scheme):
            shown = f"{shown}:{parts.port}"
        return cls(method, shown, parts.path or "/", parts.query)


def origin_of(url: str) -> str:
    """Scheme, host and port; raises ConfigurationError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("the base URL begins with http:// or https:// and names a host")
    return f"{parts.scheme}://{Target.of('GET', url).authority}"


@dataclass(frozen=True)
class Signer:
    """Signs requests with one key in one profile."""

    key: SigningKey
    profile: Profile = "rfc9421"
    lifetime_secs: int | None = None
    """`rfc9421` only: adds `expires` so much after `created`."""
    label: str = "cvg"
    clock: Callable[[], float] = field(default=time.time, repr=False)
    nonce: Callable[[], str] = field(default=lambda: secrets.token_hex(16), repr=False)

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ConfigurationError(f"no such signing profile; there are {', '.join(PROFILES)}")
        if self.profile != "rfc9421" and not isinstance(self.key, HmacKey):
            raise ConfigurationError("v1 and v2 are HMAC only; an Ed25519 key signs in the profile rfc9421")

    def begin(self, target: Target, key_id: str) -> Signing:
        """Takes time and nonce now; the body is given piece by piece, then the headers are asked for."""
        created = int(self.clock())
        if self.profile == "rfc9421":
            expires = None if self.lifetime_secs is None else created + self.lifetime_secs
            return _Rfc9421(self, target, key_id, created, self.nonce(), expires)
        return _Stamped(self, target, key_id, created, self.nonce())

    def headers(self, target: Target, key_id: str, body: bytes) -> dict[str, str]:
        """The headers for a whole body."""
        signing = self.begin(target, key_id)
        signing.update(body)
        return signing.headers()


class Signing(Protocol):
    """One signature in the making."""

    def update(self, chunk: bytes) -> None: ...

    def headers(self) -> dict[str, str]: ...


class _Stamped:
    """`v1` and `v2`: payload | timestamp | nonce."""

    def __init__(self, signer: Signer, target: Target, key_id: str, created: int, nonce: str) -> None:
        assert isinstance(signer.key, HmacKey)
        self._stamp = f"{created:010d}", nonce
        self._v2 = (target, key_id) if signer.profile == "v2" else None
        self._mac = signer.key.start()
        self._digest = hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        (self._digest if self._v2 else self._mac).update(chunk)

    def headers(self) -> dict[str, str]:
        timestamp, nonce = self._stamp
        made = {"x-request-timestamp": timestamp, "x-request-nonce": nonce}
        if self._v2:
            target, key_id = self._v2
            lines = ("cvg-sig-v2", key_id, target.method, target.authority, target.path, target.query, self._digest.hexdigest())
            self._mac.update("\n".join(lines).encode())
            made["x-request-signature-version"] = "2"
        self._mac.update(f"|{timestamp}|{nonce}".encode())
        return {"x-request-signature": f"sha256={self._mac.hexdigest()}", **made}


class _Rfc9421:
    def __init__(
        self, signer: Signer, target: Target, key_id: str, created: int, nonce: str, expires: int | None
    ) -> None:
        self._signer = signer
        self._target = target
        until = "" if expires is None else f";expires={expires}"
        self._parameters = f';created={created}{until};nonce="{nonce}";keyid="{key_id}";alg="{signer.key.alg}"'
        self._digest = hashlib.sha256()
        self._has_body = False

    def update(self, chunk: bytes) -> None:
        self._has_body = self._has_body or bool(chunk)
        self._digest.update(chunk)

    def headers(self) -> dict[str, str]:
        target = self._target
        parts = {
            "@method": target.method,
            "@authority": target.authority,
            "@path": target.path,
            "@query": "?" + target.query,
        }
        made: dict[str, str] = {}
        if self._has_body:
            made["content-digest"] = parts["content-digest"] = f"sha-256=:{_base64(self._digest.digest())}:"
        parameters = "(" + " ".join(f'"{name}"' for name in parts) + ")" + self._parameters
        lines = [f'"{name}": {value}' for name, value in parts.items()]
        base = "\n".join([*lines, f'"@signature-params": {parameters}'])
        label = self._signer.label
        made["signature-input"] = f"{label}={parameters}"
        made["signature"] = f"{label}=:{_base64(self._signer.key.sign(base.encode()))}:"
        return made


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
