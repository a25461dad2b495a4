"""Runs the Rust client's example `caller`: a caller as its environment says."""

import os
import subprocess

import pytest

from processes import ROOT

PROGRAM = os.environ.get("CLAVIGER_TEST_RUST") or str(ROOT / "target" / "debug" / "examples" / "caller")
# The client brings no TLS of its own: the example gives these files to the one that it has.
CALLERS = {"CLAVIGER_CLIENT_CERT": "CALLER_CERT", "CLAVIGER_CLIENT_KEY": "CALLER_KEY", "CLAVIGER_CA_FILE": "CALLER_CA"}


def run(environment: dict) -> str:
    """`passed`, or the code of the first refusal."""
    if not os.path.exists(PROGRAM):
        pytest.skip("the Rust example `caller` is not built")
    told = {CALLERS.get(name, name): value for name, value in environment.items()}
    done = subprocess.run([PROGRAM], env={**os.environ, **told}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("ANTHROPIC_API_KEY", "CLAVIGER_SIGNING_SECRET"):
        assert name not in environment or environment[name] not in done.stdout + done.stderr
    return done.stdout.strip()
