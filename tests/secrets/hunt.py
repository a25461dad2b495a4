"""Looks for secrets in whatever a program left behind, in every form that they could have."""

import base64
import json
import pathlib
import re
import urllib.parse

TOKEN = re.compile(r"\b[a-z]{3}_(?:live|test|oper|wrap|sign|rfsh)_[0-9A-Za-z]{43}\b")
JWT = re.compile(r"\beyJ[0-9A-Za-z_-]{6,}\.[0-9A-Za-z_-]{2,}\.[0-9A-Za-z_-]{20,}")
WEBHOOK = re.compile(r"\bwhsec_[0-9A-Za-z+/=]{20,}")
# Members of answers that are secrets whatever they look like.
FIELDS = {"totp_secret", "password"}


def core(secret: str) -> str:
    """The part that nobody may see: not the public id, nor the ends by which a masked key is told from another."""
    if TOKEN.fullmatch(secret):
        return secret[19:46]
    if JWT.fullmatch(secret):
        return secret.rsplit(".", 1)[1][:40]
    if secret.startswith("sk-ant-"):
        return secret[20:-8]
    return secret.removeprefix("whsec_")


def forms(secret: str) -> set[bytes]:
    """What the secret looks like in clear, JSON, URLs, base64 at each position, hex, and lists of numbers."""
    data = secret.encode()
    texts = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], data.hex(), data.hex().upper()}
    texts |= {urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret), urllib.parse.quote(secret).lower()}
    texts |= {"".join(f"%{b:02X}" for b in data), ", ".join(map(str, data)), ",".join(map(str, data))}
    for lead in range(3):
        whole = base64.b64encode(b"\0" * lead + data).decode().rstrip("=")
        # Without the characters that hold bits of what stands around.
        inner = whole[(lead * 8 + 5) // 6 : (lead + len(data)) * 8 // 6]
        texts |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {text.encode() for text in texts}


class Hunt:
    """Knows secrets by what they are for, and finds them."""

    def __init__(self):
        self.secrets: dict[str, str] = {}
        self._forms: dict[str, set[bytes]] = {}
        self._given: dict[str, str] = {}

    def mark(self, name: str, secret: str) -> str:
        """Learns one; it gives it back."""
        if secret not in self.secrets.values():
            assert len(core(secret)) >= 12, f"{name} is too short to be told from chance"
            name = f"{name} #{len(self.secrets)}"
            self.secrets[name] = secret
            self._forms[name] = forms(core(secret))
        return secret

    def given(self, name: str, text: str) -> str:
        """The one that is sent as this, whenever it is."""
        return self._given.get(name) or self._given.setdefault(name, self.mark(f"sent as {name}", text))

    def learn(self, source: str, said: bytes):
        """Learns the secrets in an answer that was made to tell them."""
        text = said.decode(errors="replace")
        for pattern in (TOKEN, JWT, WEBHOOK):
            for found in pattern.findall(text):
                self.mark(f"told by {source}", found)
        for found in re.finditer(rf'"({"|".join(FIELDS)})"\s*:\s*"([^"]+)"', text):
            self.mark(f"{found[1]} told by {source}", found[2])

    def find(self, data: bytes) -> set[str]:
        """The names of the secrets that are in there."""
        return {name for name, each in self._forms.items() if any(form in data for form in each)}

    def find_in(self, folder: pathlib.Path, but: tuple[str, ...] = ()) -> dict[str, set[str]]:
        """The files below a folder that hold one, and which."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in but]
        found = {str(path.relative_to(folder)): self.find(path.read_bytes()) for path in files}
        return {path: names for path, names in found.items() if names}
