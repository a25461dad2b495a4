"""Opens what `claviger seal-key` sealed: with AWS KMS, or with the transit engine of Vault or OpenBao.

A blob says who may open it and holds nothing secret. Where the service is, and what this program shows it, never comes from a
blob: whoever can change one must not learn it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from ._http import httpx
from .errors import ConfigurationError, KeyUnavailable
from .secret import Secret

Purpose = Literal["api_key", "signing_secret"]

_TIMEOUT_SECS = 10.0
_MAX_BLOB = 64 * 1024
_DATA_KEY_BYTES = 32
_NONCE_BYTES = 12
_TEXTS = ("purpose", "id", "kms", "kms_key", "wrapped_key", "sealed_at", "nonce", "ciphertext")
_BOUND = _TEXTS[:6]
_TAGS: dict[str, str] = {"api_key": "(?:live|test)", "signing_secret": "sign"}
_NO_URI = "not the address of a key: awskms://[HOST]/KEY[?region=NAME] or hashivault://KEY[?mount=PATH] is"


@dataclass(frozen=True)
class Blob:
    """A sealed key, as it stands in its file."""

    purpose: str
    id: str
    kms: str
    kms_key: str
    wrapped_key: str
    sealed_at: str
    nonce: bytes
    ciphertext: bytes

    @classmethod
    def parse(cls, text: bytes, purpose: Purpose = "api_key") -> Blob:
        """Reads one that must be for this purpose. Raises KeyUnavailable."""
        wrong = KeyUnavailable("not a sealed key of version 1")
        if len(text) > _MAX_BLOB:
            raise wrong
        try:
            read = json.loads(text)
        except ValueError:
            raise wrong from None
        if not isinstance(read, dict) or read.keys() != {"claviger_sealed", *_TEXTS}:
            raise wrong
        version = read.pop("claviger_sealed")
        if type(version) is not int or version != 1 or not all(isinstance(value, str) for value in read.values()):
            raise wrong
        try:
            read |= {name: base64.b64decode(read[name], validate=True) for name in ("nonce", "ciphertext")}
        except (binascii.Error, ValueError):
            raise wrong from None
        if len(read["nonce"]) != _NONCE_BYTES:
            raise wrong
        if read["purpose"] != purpose:
            raise KeyUnavailable("what is sealed there is not for this purpose")
        return cls(**read)

    def associated_data(self) -> bytes:
        """What its wrapped data key is bound to, where the service takes bytes."""
        return _bound("claviger data key v1", self.purpose, self.id)

    def open(self, data_key: bytes) -> str:
        """The sealed text. Raises KeyUnavailable."""
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigurationError("sealed keys need the package `cryptography`: install claviger[sealed]") from None
        bound = _bound("claviger sealed key v1", *(getattr(self, name) for name in _BOUND))
        try:
            text = AESGCM(data_key).decrypt(self.nonce, self.ciphertext, bound).decode("ascii")
        except (InvalidTag, ValueError):
            raise KeyUnavailable("the sealed key was changed after it was sealed, or its data key is another's") from None
        shape = rf"[a-z]{{3}}_{_TAGS.get(self.purpose, '(?!)')}_([0-9A-Za-z]{{10}})[0-9A-Za-z]{{33}}"
        found = re.fullmatch(shape, text)
        if found is None or found[1] != self.id:
            raise KeyUnavailable("what is sealed there is not a key of this purpose and id")
        return text


class BlobOpener(Protocol):
    """Has the key management service unwrap a blob's data key. May block; raises KeyUnavailable."""

    def data_key(self, blob: Blob) -> bytes: ...


@dataclass(frozen=True)
class SealedKey:
    """A sealed key in a file, opened by `opener`: the URI of `claviger seal-key --kms`, or an opener.

    What is not opened is an error: a plain key in the file, an older key or another source is never used. The file needs no
    private mode, for only the service can open it.
    """

    path: str | os.PathLike[str]
    opener: str | BlobOpener
    purpose: Purpose = "api_key"

    def fetch(self) -> str:
        opener = kms(self.opener) if isinstance(self.opener, str) else self.opener
        try:
            with open(self.path, "rb") as file:
                text = file.read(_MAX_BLOB + 1)
        except OSError as error:
            raise KeyUnavailable(f"{self.path}: {error.strerror}") from None
        blob = Blob.parse(text, self.purpose)
        return blob.open(opener.data_key(blob))


@dataclass(frozen=True)
class AwsCredentials:
    """What signs a request to AWS."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None


@dataclass(frozen=True)
class AwsKms:
    """A key of AWS KMS. `credentials` is asked for every call, so that they may change: `boto3` has longer ways to them."""

    key: str
    region: str
    credentials: Callable[[], AwsCredentials] = field(repr=False)
    endpoint: str | None = None
    transport: Any = field(default=None, repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    def data_key(self, blob: Blob) -> bytes:
        _of(blob, "awskms")
        context = {"claviger:id": blob.id, "claviger:purpose": blob.purpose}
        body = _compact({"KeyId": self.key, "CiphertextBlob": blob.wrapped_key, "EncryptionContext": context})
        endpoint = self.endpoint or f"https://kms.{self.region}.amazonaws.com{'.cn' if self.region.startswith('cn-') else ''}"
        headers = self._signed("TrentService.Decrypt", endpoint.split("://", 1)[1], body)
        answer = _post(f"{endpoint}/", headers, body, "AWS KMS", self.transport)
        return _data_key(answer.get("Plaintext"), "AWS KMS")

    def _signed(self, target: str, host: str, body: bytes) -> dict[str, str]:
        """AWS Signature Version 4."""
        credentials = self.credentials()
        stamp = datetime.fromtimestamp(int(self.clock()), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {"content-type": "application/x-amz-json-1.1", "host": host, "x-amz-date": stamp, "x-amz-target": target}
        if credentials.session_token is not None:
            headers["x-amz-security-token"] = credentials.session_token.reveal()
        names = sorted(headers)
        lines = "".join(f"{name}:{headers[name]}\n" for name in names)
        canonical = f"POST\n/\n\n{lines}\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"
        scope = (stamp[:8], self.region, "kms", "aws4_request")
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{'/'.join(scope)}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4" + credentials.secret_access_key.reveal().encode()
        for part in (*scope, to_sign):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{'/'.join(scope)}, "
            f"SignedHeaders={';'.join(names)}, Signature={key.hex()}"
        )
        return headers


@dataclass(frozen=True)
class Transit:
    """A key of the transit engine of Vault or OpenBao."""

    address: str
    key: str
    token: Callable[[], Secret] = field(repr=False)
    mount: str = "transit"
    namespace: str | None = None
    transport: Any = field(default=None, repr=False)

    def data_key(self, blob: Blob) -> bytes:
        _of(blob, "hashivault")
        associated = base64.b64encode(blob.associated_data()).decode()
        headers = {"content-type": "application/json", "x-vault-request": "true", "x-vault-token": self.token().reveal()}
        if self.namespace:
            headers["x-vault-namespace"] = self.namespace
        url = f"{self.address}/v1/{self.mount}/decrypt/{self.key}"
        body = _compact({"ciphertext": blob.wrapped_key, "associated_data": associated})
        data = _post(url, headers, body, "Vault", self.transport).get("data")
        return _data_key(data.get("plaintext") if isinstance(data, dict) else None, "Vault")


def kms(
    uri: str,
    environment: Mapping[str, str] | None = None,
    *,
    transport: Any = None,
    clock: Callable[[], float] = time.time,
) -> AwsKms | Transit:
    """The service that `claviger seal-key --kms URI` names. Raises ConfigurationError.

    `awskms://[HOST]/KEY[?region=NAME]` takes AWS_REGION, AWS_ENDPOINT_URL_KMS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_SESSION_TOKEN; `hashivault://KEY[?mount=PATH]` takes VAULT_ADDR, VAULT_TOKEN and VAULT_NAMESPACE (or BAO_…).
    """
    values = os.environ if environment is None else environment
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    if scheme == "awskms":
        return _aws(place, query, values, transport, clock)
    if scheme in ("hashivault", "openbao"):
        return _transit(place, query, values, transport)
    raise ConfigurationError(_NO_URI)


def _aws(place: str, query: str, values: Mapping[str, str], transport: Any, clock: Callable[[], float]) -> AwsKms:
    host, _, key = place.partition("/")
    if re.fullmatch(r"[0-9A-Za-z:/_-]+", key) is None:
        raise ConfigurationError(_NO_URI)
    of_arn = key.split(":")[3] if key.startswith("arn:") and key.count(":") > 3 else None
    region = _parameter(query, "region") or of_arn or values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or ""
    if re.fullmatch(r"[a-z0-9-]{1,32}", region) is None:
        raise ConfigurationError("which region: name it as in `?region=eu-central-1`, or set AWS_REGION")
    endpoint = values.get("AWS_ENDPOINT_URL_KMS") or values.get("AWS_ENDPOINT_URL")
    if host:
        endpoint = f"{'http' if _is_this_machine(f'http://{host}') else 'https'}://{host}"
    endpoint = _address(endpoint) if endpoint else None
    if endpoint is not None and "/" in endpoint.split("://", 1)[1]:
        raise ConfigurationError("the address of AWS KMS has no path")
    access, secret = _set(values, "AWS_ACCESS_KEY_ID"), Secret(_set(values, "AWS_SECRET_ACCESS_KEY"))
    session = Secret(values["AWS_SESSION_TOKEN"]) if values.get("AWS_SESSION_TOKEN") else None
    credentials = AwsCredentials(access, secret, session)
    return AwsKms(key, region, lambda: credentials, endpoint, transport, clock)


def _transit(key: str, query: str, values: Mapping[str, str], transport: Any) -> Transit:
    mount = _parameter(query, "mount") or "transit"
    part = r"(?!\.\.?(?:/|$))[0-9A-Za-z._-]+"
    if re.fullmatch(part, key) is None or re.fullmatch(rf"{part}(?:/{part})*", mount) is None:
        raise ConfigurationError(_NO_URI)
    address = _address(_set(values, "BAO_ADDR", "VAULT_ADDR"))
    token = Secret(_set(values, "BAO_TOKEN", "VAULT_TOKEN"))
    namespace = values.get("BAO_NAMESPACE") or values.get("VAULT_NAMESPACE")
    return Transit(address, key, lambda: token, mount, namespace, transport)


def _parameter(query: str, name: str) -> str | None:
    if not query:
        return None
    if not query.startswith(f"{name}="):
        raise ConfigurationError(_NO_URI)
    return query[len(name) + 1 :]


def _set(values: Mapping[str, str], *names: str) -> str:
    found = next((values[name] for name in names if values.get(name)), None)
    if found is None:
        raise ConfigurationError(f"{names[-1]} is not set")
    return found


def _address(url: str) -> str:
    bare = url.rstrip("/")
    named = re.fullmatch(r"https?://[0-9A-Za-z.:\[\]-]+(?:/[0-9A-Za-z._/-]*)?", bare) is not None
    if not named or (bare.startswith("http://") and not _is_this_machine(bare)):
        raise ConfigurationError("the address of the key management service must be https, or on this machine")
    return bare


def _is_this_machine(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1") or re.fullmatch(r"127(?:\.\d{1,3}){3}", host) is not None


def _of(blob: Blob, kind: str) -> None:
    if blob.kms != kind:
        raise KeyUnavailable("another service sealed it")


def _post(url: str, headers: dict[str, str], body: bytes, name: str, transport: Any) -> dict[str, Any]:
    """The answer's JSON object. An error repeats nothing of it."""
    try:
        with httpx.Client(transport=transport, timeout=_TIMEOUT_SECS, follow_redirects=False) as client:
            answer = client.post(url, headers=headers, content=body)
            status, text = answer.status_code, answer.content
    except httpx.HTTPError as error:
        raise KeyUnavailable(f"{name} did not answer: {type(error).__name__}") from None
    if status != 200:
        raise KeyUnavailable(f"{name} does not open the sealed key: it answered {status}")
    try:
        made = json.loads(text)
    except ValueError:
        made = None
    if not isinstance(made, dict):
        raise KeyUnavailable(f"{name}'s answer is not what was expected")
    return made


def _data_key(text: Any, name: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _DATA_KEY_BYTES:
        raise KeyUnavailable(f"{name}'s answer is not what was expected")
    return key


def _bound(*parts: str) -> bytes:
    """Each part after its length as eight bytes, big-endian."""
    return b"".join(struct.pack(">Q", len(part.encode())) + part.encode() for part in parts)


def _compact(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
