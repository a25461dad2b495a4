"""Where the key comes from: environment, file, the `claviger token` command; also `claviger.sealed` and `claviger.vault`.

A source that fails is an error. Nothing ever falls back to another source or to an older key without saying so.
"""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .errors import ConfigurationError, KeyUnavailable, UnsafeFile
from .secret import Secret

KEY_TTL_SECS = 3600.0
_MAX_FILE = 64 * 1024
_MAX_KEY = 4096
_COMMAND_SECS = 30.0


class KeySource(Protocol):
    """Fetches a key (or a signing secret). May block; raises KeyUnavailable."""

    def fetch(self) -> str: ...


@dataclass(frozen=True)
class StaticKey:
    """A key that the program has already."""

    key: Secret

    def fetch(self) -> str:
        return clean(self.key.reveal(), "the given key")


@dataclass(frozen=True)
class EnvKey:
    """An environment variable."""

    name: str = "ANTHROPIC_API_KEY"
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def fetch(self) -> str:
        return clean(self.environment.get(self.name, ""), f"the variable {self.name}")


@dataclass(frozen=True)
class FileKey:
    """A file with nothing but the key, readable by its owner only (0600 or less)."""

    path: str | os.PathLike[str]

    def fetch(self) -> str:
        try:
            text = read_private(self.path).decode()
        except UnicodeDecodeError:
            raise KeyUnavailable(f"{self.path} does not hold a key") from None
        return clean(text.removesuffix("\n").removesuffix("\r"), str(self.path))


@dataclass(frozen=True)
class CommandKey:
    """A command that prints the key: by default `claviger token`, which gives a short-lived one."""

    command: Sequence[str] = ("claviger", "token")
    timeout_secs: float = _COMMAND_SECS

    def fetch(self) -> str:
        if isinstance(self.command, str):
            raise ConfigurationError("the command is a list of words; no shell runs it")
        try:
            done = subprocess.run(
                list(self.command), stdin=subprocess.DEVNULL, capture_output=True, timeout=self.timeout_secs, check=False
            )
        except subprocess.TimeoutExpired:
            raise KeyUnavailable(f"`{self.command[0]}` did not answer within {self.timeout_secs:g} s") from None
        except OSError as error:
            raise KeyUnavailable(f"`{self.command[0]}` cannot be run: {error.strerror}") from None
        if done.returncode != 0:
            raise KeyUnavailable(f"`{self.command[0]}` ended with {done.returncode}")
        return clean(done.stdout.decode(errors="replace").strip(), f"the output of `{self.command[0]}`")


class CachedKey:
    """A source with a memory of `ttl_secs`. One fetch at a time; after the time, a failing source is an error."""

    def __init__(self, source: KeySource, ttl_secs: float = KEY_TTL_SECS, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._ttl_secs = ttl_secs
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: tuple[Secret, float] | None = None

    def get(self) -> str:
        """The key, fetched if it is not known or known for too long."""
        with self._lock:
            now = self._monotonic()
            if self._kept is None or now >= self._kept[1]:
                self._kept = None
                self._kept = (Secret(self._source.fetch()), now + self._ttl_secs)
            return self._kept[0].reveal()

    fetch = get

    def changed(self, refused: str) -> bool:
        """After `refused` was refused: reads the source again. Whether another key is there now."""
        with self._lock:
            current = None if self._kept is None else self._kept[0].reveal()
            if current is not None and current != refused:
                return True
            self._kept = None
        return self.get() != refused

    def forget(self) -> None:
        """The next `get` fetches."""
        with self._lock:
            self._kept = None


def read_private(path: str | os.PathLike[str]) -> bytes:
    """A small file that nobody else may read or write; checked on the open file, so that it cannot be exchanged meanwhile."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnsafeFile(f"{path} is not a file")
            if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
                raise UnsafeFile(f"{path} can be read by others: chmod 600 {path}")
            if os.name == "posix" and found.st_uid not in (os.getuid(), 0):
                raise UnsafeFile(f"{path} belongs to another user")
            text = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise KeyUnavailable(f"{path}: {error.strerror}") from None
    if len(text) > _MAX_FILE:
        raise KeyUnavailable(f"{path} is too long to hold a key")
    return text


def clean(text: str, whence: str) -> str:
    """Refuses what cannot be a key: nothing, blanks, line ends, control characters."""
    if not text:
        raise KeyUnavailable(f"{whence} is empty or not set")
    if len(text) > _MAX_KEY or not text.isascii() or not text.isprintable() or " " in text:
        raise KeyUnavailable(f"{whence} does not hold a key")
    return text
