"""Claviger's adapter for the official Anthropic SDK.

```python
import anthropic, claviger

caller = claviger.Claviger.from_env()
client = anthropic.Anthropic(**caller.sdk())
```

`ClavigerAuth` alone is an `httpx.Auth`; `Claviger` adds limiter, retries, cache and statistics.
"""

from .auth import ClavigerAuth
from .batch import Outcome, run_batch, run_batch_threads
from .cache import ResponseCache
from .client import Claviger
from .dotenv import parse_dotenv
from .dpop import ProofKey
from .errors import (
    ClavigerError,
    ConfigurationError,
    KeyUnavailable,
    LimitReached,
    NotSignable,
    TokenError,
    UnsafeFile,
    WrongOrigin,
)
from .health import Health
from .limiter import Limiter
from .prices import Prices, Usage
from .redaction import RedactingFilter, Redactor, redact
from .retry import Retry
from .sealed import AwsCredentials, AwsKms, Blob, BlobOpener, SealedKey, Transit, kms
from .secret import Secret, public_id
from .signing import Ed25519Key, HmacKey, Profile, Signer, Target
from .sources import CachedKey, CommandKey, EnvKey, FileKey, KeySource, StaticKey
from .statistics import Statistics, Summary
from .tls import ClientCertificate
from .transport import AsyncClavigerTransport, ClavigerTransport, Exchange
from .vault import Vault, VaultKey, WrappedKey, WrappedToken

__version__ = "0.1.0"

__all__ = [
    "AsyncClavigerTransport", "AwsCredentials", "AwsKms", "Blob", "BlobOpener", "CachedKey", "Claviger", "ClavigerAuth",
    "ClavigerError", "ClavigerTransport", "ClientCertificate", "CommandKey", "ConfigurationError", "EnvKey", "Exchange", "FileKey", "Health",
    "HmacKey", "KeySource", "KeyUnavailable", "LimitReached", "Limiter", "NotSignable", "Outcome", "Prices", "Profile", "ProofKey",
    "RedactingFilter", "Redactor", "ResponseCache", "Retry", "SealedKey", "Secret", "Signer", "StaticKey", "Statistics",
    "Summary", "Target", "TokenError", "Transit", "UnsafeFile", "Usage", "Vault", "VaultKey", "WrappedKey", "WrappedToken",
    "WrongOrigin", "kms", "parse_dotenv", "public_id", "redact", "run_batch", "run_batch_threads",
]
