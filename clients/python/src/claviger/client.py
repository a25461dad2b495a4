"""`Claviger`: the settings of one caller, and the HTTP clients for the SDK that they make."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ._http import httpx
from .auth import ClavigerAuth
from .cache import ResponseCache
from .dotenv import parse_dotenv
from .dpop import ALGORITHMS, ProofKey
from .errors import ConfigurationError
from .health import Health, judge
from .limiter import Limiter
from .retry import Retry
from .sealed import SealedKey, kms
from .secret import Secret
from .signing import PROFILES, HmacKey, Profile, Signer
from .sources import CachedKey, CommandKey, EnvKey, FileKey, KeySource, clean, read_private
from .statistics import Statistics, Summary
from .tls import ClientCertificate
from .transport import AsyncClavigerTransport, ClavigerTransport, Exchange

# What the SDK sends in place of a key; `ClavigerAuth` takes it out.
PLACEHOLDER_KEY = "set-by-claviger"
_SDK_TIMEOUT_SECS = 600.0
_CONNECT_TIMEOUT_SECS = 5.0


class Claviger:
    """One caller of the gateway: its key, how it shows itself, its limits. Its clients share all of it."""

    def __init__(
        self,
        base_url: str,
        key: KeySource,
        *,
        auth: Literal["key", "token"] = "key",
        signer: Signer | None = None,
        scope: str | None = None,
        proof_key: ProofKey | None = None,
        tls: ClientCertificate | None = None,
        limiter: Limiter | None = None,
        retry: Retry | None = None,
        cache: ResponseCache | None = None,
        statistics: Statistics | None = None,
        max_body_bytes: int = 512 * 1024 * 1024,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.auth = ClavigerAuth(
            self.base_url,
            CachedKey(key),
            auth=auth,
            signer=signer,
            scope=scope,
            proof_key=proof_key,
            max_body_bytes=max_body_bytes,
            answers_locally=True,
        )
        self._tls = tls
        self.exchange = Exchange(limiter=limiter, retry=retry, cache=cache, statistics=statistics)

    @classmethod
    def from_env(
        cls, environment: Mapping[str, str] | None = None, *, dotenv: str | os.PathLike[str] | None = None, **options: Any
    ) -> Claviger:
        """Reads ANTHROPIC_BASE_URL, the key, CLAVIGER_AUTH (key, token), CLAVIGER_SIGNING_SECRET and CLAVIGER_SIGNING_PROFILE,
        CLAVIGER_DPOP_KEY_FILE or CLAVIGER_DPOP (ES256, EdDSA: a proof key that is made here), and CLAVIGER_CLIENT_CERT,
        CLAVIGER_CLIENT_KEY, CLAVIGER_CA_FILE for mutual TLS.

        The key is the first that is set of CLAVIGER_SEALED_KEY_FILE (opened by the service that CLAVIGER_KMS names),
        ANTHROPIC_API_KEY, CLAVIGER_KEY_FILE, CLAVIGER_KEY_COMMAND (words parted by blanks). A `.env` file sets what the environment does not. `options` are those of `Claviger` and win.
        """
        values = dict(parse_dotenv(Path(dotenv).read_text(encoding="utf-8"))) if dotenv is not None else {}
        values.update(os.environ if environment is None else environment)
        base_url = values.get("ANTHROPIC_BASE_URL")
        if not base_url:
            raise ConfigurationError("ANTHROPIC_BASE_URL is not set: the gateway's address")
        options.setdefault("auth", values.get("CLAVIGER_AUTH") or "key")
        if values.get("CLAVIGER_SIGNING_SECRET"):
            options.setdefault("signer", _signer(values))
        options.setdefault("proof_key", _proof_key(values))
        options.setdefault("tls", _certificate(values))
        return cls(base_url, options.pop("key", None) or _source(values), **options)

    # === clients ===

    def http_client(self, **options: Any) -> Any:
        """For `anthropic.Anthropic(http_client=…)`; takes what `httpx.Client` takes, `transport` as the inner one."""
        inner = options.pop("transport", None)
        transport = ClavigerTransport(self.exchange, inner, verify=self._verify(inner))
        return httpx.Client(auth=self.auth, transport=transport, **_defaults(options))

    def async_http_client(self, **options: Any) -> Any:
        """For `anthropic.AsyncAnthropic(http_client=…)`."""
        inner = options.pop("transport", None)
        transport = AsyncClavigerTransport(self.exchange, inner, verify=self._verify(inner))
        return httpx.AsyncClient(auth=self.auth, transport=transport, **_defaults(options))

    def _verify(self, inner: Any = None) -> Any:
        if self._tls is None:
            return True
        if inner is not None:
            raise ConfigurationError("a transport of your own has its own TLS: give it `tls.context()`")
        return self._tls.context()

    def sdk(self, **options: Any) -> dict[str, Any]:
        """`anthropic.Anthropic(**claviger.sdk())`"""
        return {"base_url": self.base_url, "api_key": PLACEHOLDER_KEY, "http_client": self.http_client(**options)}

    def async_sdk(self, **options: Any) -> dict[str, Any]:
        """`anthropic.AsyncAnthropic(**claviger.async_sdk())`"""
        return {"base_url": self.base_url, "api_key": PLACEHOLDER_KEY, "http_client": self.async_http_client(**options)}

    # === what they did, and whether they can ===

    def summary(self) -> Summary:
        """Statistics of all clients of this caller."""
        return self.exchange.statistics.summary()

    def health(self, timeout_secs: float = 10.0) -> Health:
        """Asks the gateway; never raises for what the gateway answers."""
        with httpx.Client(auth=self.auth, timeout=timeout_secs, verify=self._verify()) as client:
            started = time.monotonic()
            ready = me = error = None
            try:
                ready = client.get(f"{self.base_url}/readyz", auth=None)
                started = time.monotonic()
                me = client.get(f"{self.base_url}/v1/claviger/me")
            except httpx.TransportError as raised:
                error = raised
            return judge(ready, me, error, _since(started, error), self.auth.now())

    async def ahealth(self, timeout_secs: float = 10.0) -> Health:
        """The same for asyncio."""
        async with httpx.AsyncClient(auth=self.auth, timeout=timeout_secs, verify=self._verify()) as client:
            started = time.monotonic()
            ready = me = error = None
            try:
                ready = await client.get(f"{self.base_url}/readyz", auth=None)
                started = time.monotonic()
                me = await client.get(f"{self.base_url}/v1/claviger/me")
            except httpx.TransportError as raised:
                error = raised
            return judge(ready, me, error, _since(started, error), self.auth.now())


def _since(started: float, error: Exception | None) -> float | None:
    return None if error is not None else (time.monotonic() - started) * 1000


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    timeout = httpx.Timeout(_SDK_TIMEOUT_SECS, connect=_CONNECT_TIMEOUT_SECS)
    # A redirect would carry the credential elsewhere; the gateway sends none.
    return {"timeout": timeout, "follow_redirects": False} | options


def _source(values: Mapping[str, str]) -> KeySource:
    # First: a plain key that is also set must not be what is used when the sealed one does not open.
    if values.get("CLAVIGER_SEALED_KEY_FILE"):
        if not values.get("CLAVIGER_KMS"):
            raise ConfigurationError("CLAVIGER_KMS is not set: what `claviger seal-key --kms` was given")
        return SealedKey(values["CLAVIGER_SEALED_KEY_FILE"], kms(values["CLAVIGER_KMS"], values))
    if values.get("ANTHROPIC_API_KEY"):
        return EnvKey("ANTHROPIC_API_KEY", values)
    if values.get("CLAVIGER_KEY_FILE"):
        return FileKey(values["CLAVIGER_KEY_FILE"])
    if values.get("CLAVIGER_KEY_COMMAND"):
        return CommandKey(values["CLAVIGER_KEY_COMMAND"].split())
    raise ConfigurationError("no key: set CLAVIGER_SEALED_KEY_FILE, ANTHROPIC_API_KEY, CLAVIGER_KEY_FILE or CLAVIGER_KEY_COMMAND")


def _proof_key(values: Mapping[str, str]) -> ProofKey | None:
    if values.get("CLAVIGER_DPOP_KEY_FILE"):
        return ProofKey(read_private(values["CLAVIGER_DPOP_KEY_FILE"]))
    named = values.get("CLAVIGER_DPOP")
    if not named:
        return None
    algorithm = next((known for known in ALGORITHMS if known == named), None)
    if algorithm is None:
        raise ConfigurationError("CLAVIGER_DPOP is ES256 or EdDSA")
    return ProofKey(algorithm=algorithm)


def _certificate(values: Mapping[str, str]) -> ClientCertificate | None:
    if not values.get("CLAVIGER_CLIENT_CERT"):
        return None
    return ClientCertificate(
        values["CLAVIGER_CLIENT_CERT"], values.get("CLAVIGER_CLIENT_KEY") or None, values.get("CLAVIGER_CA_FILE") or None
    )


def _signer(values: Mapping[str, str]) -> Signer:
    secret = clean(values["CLAVIGER_SIGNING_SECRET"], "the variable CLAVIGER_SIGNING_SECRET")
    named = values.get("CLAVIGER_SIGNING_PROFILE") or "rfc9421"
    profile: Profile | None = next((known for known in PROFILES if known == named), None)
    if profile is None:
        raise ConfigurationError(f"CLAVIGER_SIGNING_PROFILE is one of {', '.join(PROFILES)}")
    return Signer(HmacKey(Secret(secret)), profile)
