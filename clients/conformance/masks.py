"""Writes redaction.json: log texts with secrets in many forms, and what may be left of them. `--check` compares it."""

import base64
import json
import pathlib
import sys

FILE = pathlib.Path(__file__).with_name("redaction.json")
KEY = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb"
TEST = "cvg_test_0123456789abcdefghijklmnopqrstuvwxyzA1DPuTh"
SIDE = "cvg_sign_" + "Zz09" * 10 + "abc"
REFRESH = "cvg_rfsh_" + "Qw12" * 10 + "abc"
OPERATOR = "cvg_oper_" + "Er34" * 10 + "abc"
WRAPPING = "cvg_wrap_" + "Ty56" * 10 + "abc"
BRANDED = "acm_live_" + "Zz09" * 10 + "abc"
PROVIDER = "sk-ant-api03-" + "pQ-_" * 23 + "pAA"
OAUTH = "sk-ant-oat01-" + "xY9_" * 20
JWT = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJrZXlfMDEyMzQ1Njc4OSJ9.c2lnbmF0dXJlLW9mLXNvbWUta2luZA"
KNOWN = "a secret/of+no?kind&密"
MASK = "[redacted]"


def b64(text: str, lead: str = "") -> str:
    return base64.b64encode((lead + text).encode()).decode()


def b64url(text: str, lead: str = "") -> str:
    return base64.urlsafe_b64encode((lead + text).encode()).decode().rstrip("=")


def percent(text: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in text)


def cases():
    secrets = {"live key": KEY, "test key": TEST, "signing secret": SIDE, "refresh token": REFRESH, "operator's token": OPERATOR, "wrapping token": WRAPPING, "key of another brand": BRANDED,
               "provider's key": PROVIDER, "provider's token": OAUTH, "JWT": JWT}
    for name, secret in secrets.items():
        yield f"{name}, bare", f"used {secret} today", f"used {MASK} today"
        yield f"{name}, in JSON", json.dumps({"k": secret, "n": 1}), json.dumps({"k": MASK, "n": 1})
        yield f"{name}, twice", f"{secret} {secret}", f"{MASK} {MASK}"
    yield "in a URL", f"GET https://gw.example/x?key={KEY}&a=1", f"GET https://gw.example/x?key={MASK}&a=1"
    yield "in an error", f"ValueError: bad key '{KEY}'", f"ValueError: bad key '{MASK}'"
    for header in ("Authorization: Bearer", "authorization: bearer", "Proxy-Authorization: Basic", "Authorization: DPoP"):
        yield f"{header} anything", f"{header} Zm9vOmJhcg==\nHost: gw", f"{header} {MASK}\nHost: gw"
    for header in ("x-api-key", "X-Api-Key", "X-Vault-Token", "DPoP", "X-Request-Signature", "Signature", "api-key"):
        yield f"header {header}", f"{header}: anything-at-all\nHost: gw", f"{header}: {MASK}\nHost: gw"
    yield "headers printed by Python", "{'authorization': 'Bearer abc.def', 'host': 'gw'}", f"{{'authorization': 'Bearer {MASK}', 'host': 'gw'}}"
    yield "headers printed as JSON", '{"x-api-key":"abc","host":"gw"}', f'{{"x-api-key":"{MASK}","host":"gw"}}'
    yield "headers printed as a list of pairs", "[('x-api-key', 'abc'), ('host', 'gw')]", f"[('x-api-key', '{MASK}'), ('host', 'gw')]"
    yield "token answer", '{"access_token":"opaque","refresh_token": "other","expires_in":7200}', \
        f'{{"access_token":"{MASK}","refresh_token": "{MASK}","expires_in":7200}}'
    yield "form", "grant_type=refresh_token&refresh_token=opaque&x=1", f"grant_type=refresh_token&refresh_token={MASK}&x=1"
    for lead in ("", "x", "xy"):
        yield f"key in base64, shifted by {len(lead)}", f"body {b64(KEY, lead)} end", f"body {MASK} end"
        yield f"provider's key in base64url, shifted by {len(lead)}", f"body {b64url(PROVIDER, lead)} end", f"body {MASK} end"
    yield "key in hex", f"0x {KEY.encode().hex()} end", f"0x {MASK} end"
    yield "key in capital hex", f"0x {KEY.encode().hex().upper()} end", f"0x {MASK} end"
    yield "key in percent escapes", f"q={KEY.replace('_', '%5F')}&a=1", f"q={MASK}&a=1"
    yield "provider's key in percent escapes", f"q={percent(PROVIDER)}&a=1", f"q={MASK}&a=1"
    for name, secret in secrets.items():
        if name in ("live key", "provider's key"):
            continue
        for lead in ("", "x", "xy"):
            yield f"{name} in base64, shifted by {len(lead)}", f"body {b64(secret, lead)} end", f"body {MASK} end"
            yield f"{name} in base64url, shifted by {len(lead)}", f"body {b64url(secret, lead)} end", f"body {MASK} end"
        yield f"{name} in hex", f"0x {secret.encode().hex()} end", f"0x {MASK} end"
        yield f"{name} in percent escapes", f"q={percent(secret)}&a=1", f"q={MASK}&a=1"
    for name in ("live key", "provider's key", "JWT"):
        secret = secrets[name]
        yield f"{name} in base64 in base64", f"body {b64(b64(secret), 'x')} end", f"body {MASK} end"
        yield f"{name} in hex in base64url", f"body {b64url(secret.encode().hex(), 'xy')} end", f"body {MASK} end"
        yield f"{name} in base64 in hex", f"0x {b64(secret, 'x').encode().hex()} end", f"0x {MASK} end"
        yield f"{name} in JSON in base64 in JSON", json.dumps({"body": b64(json.dumps({"k": secret}))}), json.dumps({"body": MASK})
        every = "".join(f"%{b:02X}" for b in secret.encode())
        yield f"{name} in percent escapes twice", f"q={percent(every)}&a=1", f"q={MASK}&a=1"


def known():
    yield "in base64 in base64", f"x {b64(b64(KNOWN))} y", f"x {MASK} y"
    yield "bare", f"got {KNOWN}!", f"got {MASK}!"
    yield "in JSON", json.dumps({"k": KNOWN}, ensure_ascii=False), json.dumps({"k": MASK})
    yield "in JSON, ASCII only", json.dumps({"k": KNOWN}), json.dumps({"k": MASK})
    yield "percent escapes", f"q={percent(KNOWN)}&a=1", f"q={MASK}&a=1"
    yield "base64", f"x {b64(KNOWN)} y", f"x {MASK} y"
    yield "base64url", f"x {b64url(KNOWN)} y", f"x {MASK} y"
    yield "base64, shifted by 1", f"x {b64(KNOWN, '>')} y", f"x {MASK} y"
    yield "base64url, shifted by 2", f"x {b64url(KNOWN, '>>')} y", f"x {MASK} y"
    yield "hex", f"x {KNOWN.encode().hex()} y", f"x {MASK} y"


PLAIN = [
    "nothing to see", "", "key_0123456789 of workspace default", "request req_011CabcdefghijklmnopqrstuV took 12 ms",
    "the prefix cvg_live_ is not a key", "sk-ant-… is how theirs begin", "authorization is required", "model claude-opus-5-5",
    "eyJ is how a JWT begins", "0123456789abcdef0123456789abcdef0123456789abcdef", "signature verification failed for key_0123456789",
    "msgbatch_01AbCdEfGhIjKlMnOpQrStUv ended", "a_live_wire and the_live_show_must_go_on_for_ever_and_ever_and_ever_and_more",
]


def document() -> str:
    about = (
        "Texts on their way to a log. `text` must come out as `expect` when the filter knows no secret by value; in `known`, when it"
        " was told `secret`. `plain` must come out unchanged. No form of a secret may be left, and nothing else be lost."
    )
    def listed(rows):
        return [{"name": name, "text": text, "expect": expect} for name, text, expect in rows]
    whole = {"about": about, "cases": listed(cases()), "known": {"secret": KNOWN, "cases": listed(known())}, "plain": PLAIN}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.read_text(encoding="utf-8") == document() else "redaction.json is not what this script writes")
    FILE.write_text(document(), encoding="utf-8")
