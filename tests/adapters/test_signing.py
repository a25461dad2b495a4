"""`claviger sign` and the vectors that all clients replay say the same."""

import base64
import json
import subprocess

import pytest

from processes import ROOT, program

VECTORS = json.loads((ROOT / "clients" / "conformance" / "signing.json").read_text(encoding="utf-8"))
# The command signs at one moment, without an end.
CASES = [case for case in VECTORS["cases"] if "expires" not in case]


def body_of(case):
    if "body_repeat" in case:
        return case["body_repeat"]["utf8"].encode() * case["body_repeat"]["times"]
    return case["body_utf8"].encode() if "body_utf8" in case else base64.b64decode(case["body_base64"])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_command_prints_what_the_vectors_say(case, tmp_path):
    secret, body = tmp_path / "secret", tmp_path / "body"
    body.write_bytes(body_of(case))
    if case["alg"] == "ed25519":
        secret.write_text(VECTORS["ed25519"]["private_pem"])
    else:
        secret.write_text(case["secret_utf8"])
    secret.chmod(0o600)
    done = subprocess.run(
        [
            program("CLAVIGER_TEST_BIN", "claviger"), "sign", "--json", "--profile", case["profile"], "--method", case["method"],
            "--url", case["url"], "--key-id", VECTORS["key_id"], "--timestamp", str(VECTORS["timestamp"]), "--nonce", VECTORS["nonce"],
            "--private-key-file" if case["alg"] == "ed25519" else "--secret-file", str(secret),
            *(["--body", str(body)] if body.stat().st_size else []),
        ],
        capture_output=True, text=True, timeout=30,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert {name.lower(): value for name, value in printed.items()} == case["expect"]["headers"]
