"""Mutual TLS: the certificate that a caller shows, for keys and tokens that are bound to it (RFC 8705)."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from .errors import ConfigurationError

_Path = str | os.PathLike[str]


@dataclass(frozen=True)
class ClientCertificate:
    """PEM files. `Claviger(tls=…)` shows the certificate with every call, the purchase of tokens and the health check included.

    Read when a client is made: one that was renewed is shown by clients that are made after it.
    """

    certificate: _Path
    """The certificate, and those between it and its authority."""
    key: _Path | None = None
    """Its private key; None: it stands in the same file."""
    authority: _Path | None = None
    """Whom the gateway's own certificate must be signed by; None: those that the system believes."""

    def context(self) -> ssl.SSLContext:
        """What `verify=` of `httpx.Client` takes."""
        try:
            made = ssl.create_default_context(cafile=self.authority)
            # Without a password an encrypted key would be asked for at the terminal.
            made.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the client certificate {os.fspath(self.certificate)} cannot be used: {error}") from None
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        return made
