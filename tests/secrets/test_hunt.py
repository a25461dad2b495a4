"""The hunter finds what is there, so that finding nothing means something."""

import base64
import json
import urllib.parse

import pytest
from hunt import Hunt

SECRETS = {
    "key": "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb",
    "provider key": "sk-ant-api03-" + "pQ-_" * 23 + "pAA",
    "access token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJrZXlfMDEyMyJ9." + "c2lnbmF0dXJl" * 7,
    "webhook secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "password": 'pass"word/+ of ünusual kind?',
}
WAYS = {
    "clear": lambda s: s,
    "JSON": lambda s: json.dumps({"a": s}),
    "JSON, not ASCII": lambda s: json.dumps({"a": s}, ensure_ascii=False),
    "percent": lambda s: urllib.parse.quote(s, safe=""),
    "form": lambda s: urllib.parse.urlencode({"q": s}),
    "hex": lambda s: s.encode().hex(),
    "capital hex": lambda s: s.encode().hex().upper(),
    "list": lambda s: str(list(s.encode())),
    **{f"base64, shifted by {n}": lambda s, n=n: base64.b64encode(b"x" * n + s.encode() + b"yz").decode() for n in range(3)},
    **{f"base64url, shifted by {n}": lambda s, n=n: base64.urlsafe_b64encode(b"~" * n + s.encode()).decode() for n in range(3)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SECRETS)
def test_a_planted_secret_is_found(tmp_path, name, way):
    hunt = Hunt()
    hunt.mark(name, SECRETS[name])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0\xff" + WAYS[way](SECRETS[name]).encode() + b"\xfe")
    (tmp_path / "other").write_text("key_0123456789 of nobody")
    assert list(hunt.find_in(tmp_path)) == ["deep/file"]


def test_what_an_answer_tells_is_learnt():
    hunt = Hunt()
    hunt.learn("it", json.dumps({"key": SECRETS["key"], "totp_secret": "JBSWY3DPEHPK3PXPJBSW", "t": SECRETS["access token"]}).encode())
    assert sorted(hunt.secrets.values()) == sorted([SECRETS["key"], SECRETS["access token"], "JBSWY3DPEHPK3PXPJBSW"])
