"""Keys from Vault or OpenBao: the KV engine, version 2, with an own token or a wrapped one."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ._http import httpx
from .errors import KeyUnavailable
from .secret import Secret
from .sources import KeySource, clean

_TIMEOUT_SECS = 10.0


@dataclass(frozen=True)
class Vault:
    """Where the server is and how to speak to it."""

    address: str
    namespace: str | None = None
    verify: Any = True
    """A CA file or an `ssl.SSLContext`, as httpx takes it."""
    transport: Any = field(default=None, repr=False)
    """Another httpx transport, for tests."""

    def ask(self, method: str, path: str, token: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call of the API; the answer's JSON object. Raises KeyUnavailable, without the answer's text."""
        headers = {"x-vault-token": token, "x-vault-request": "true"}
        if self.namespace:
            headers["x-vault-namespace"] = self.namespace
        try:
            with httpx.Client(
                verify=self.verify, transport=self.transport, timeout=_TIMEOUT_SECS, follow_redirects=False
            ) as client:
                answer = client.request(method, f"{self.address.rstrip('/')}/v1/{path}", headers=headers, json=body)
                made = answer.json() if answer.content else {}
        except (httpx.HTTPError, ValueError) as error:
            raise KeyUnavailable(f"Vault did not answer {path}: {type(error).__name__}") from None
        if answer.status_code not in (200, 204):
            raise KeyUnavailable(f"Vault answered {path} with {answer.status_code}")
        return made if isinstance(made, dict) else {}


@dataclass(frozen=True)
class VaultKey:
    """A field of a KV secret, read with a token from another source."""

    vault: Vault
    path: str
    token: KeySource
    mount: str = "secret"
    field_name: str = "key"

    def fetch(self) -> str:
        path = f"{quote(self.mount)}/data/{quote(self.path)}"
        answer = self.vault.ask("GET", path, self.token.fetch())
        return _field(answer.get("data", {}), self.field_name, path)


@dataclass
class WrappedToken:
    """A token for Vault that was delivered wrapped: unwrapped once, at its first use, then kept.

    `creation_path` is where the wrapping must have been made; another one means that someone opened the delivery and wrapped
    it again. Unwrapping that fails means that someone else has the token: an error, never a retry.
    """

    vault: Vault
    wrapping_token: Secret
    creation_path: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _kept: Secret | None = field(default=None, init=False, repr=False)

    def fetch(self) -> str:
        with self._lock:
            if self._kept is None:
                auth = unwrap(self.vault, self.wrapping_token, self.creation_path).get("auth") or {}
                self._kept = Secret(clean(str(auth.get("client_token") or ""), "the wrapped delivery"))
            return self._kept.reveal()


@dataclass
class WrappedKey:
    """The key itself, delivered wrapped (a wrapped KV answer or `sys/wrapping/wrap`): unwrapped once, then kept."""

    vault: Vault
    wrapping_token: Secret
    field_name: str = "key"
    creation_path: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _kept: Secret | None = field(default=None, init=False, repr=False)

    def fetch(self) -> str:
        with self._lock:
            if self._kept is None:
                data = unwrap(self.vault, self.wrapping_token, self.creation_path).get("data") or {}
                self._kept = Secret(_field(data, self.field_name, "the wrapped delivery"))
            return self._kept.reveal()


def unwrap(vault: Vault, wrapping_token: Secret, creation_path: str | None) -> dict[str, Any]:
    """Opens a wrapped delivery. It can be done once."""
    token = wrapping_token.reveal()
    if creation_path is not None:
        about = vault.ask("POST", "sys/wrapping/lookup", token, {"token": token}).get("data", {})
        if about.get("creation_path") != creation_path:
            raise KeyUnavailable("the wrapped delivery was not made where it should have been: it may have been opened on the way")
    return vault.ask("POST", "sys/wrapping/unwrap", token)


def _field(data: dict[str, Any], name: str, whence: str) -> str:
    """KV version 2 puts the fields one deeper than version 1."""
    inner = data.get("data")
    found = (inner if isinstance(inner, dict) else data).get(name)
    if not isinstance(found, str):
        raise KeyUnavailable(f"{whence} has no field `{name}`")
    return clean(found, f"the field `{name}` of {whence}")
