"""Runs the Rust client's example `caller`: a caller as its environment says."""

import os
import subprocess

import pytest

from processes import ROOT

PROGRAM = os.environ.get("CLAVIGER_TEST_RUST") or str(ROOT / "target" / "debug" / "examples" / "caller")


def run(environment: dict, *arguments: str) -> str:
    """`passed`, or the code of the first refusal: over `tower`, `hyper` and `rustls`."""
    if not os.path.exists(PROGRAM):
        pytest.skip("the Rust example `caller` is not built")
    done = subprocess.run([PROGRAM, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("ANTHROPIC_API_KEY", "CLAVIGER_SIGNING_SECRET"):
        assert name not in environment or environment[name] not in done.stdout + done.stderr
    return done.stdout.strip()


def over_reqwest(environment: dict) -> str:
    """The same over `reqwest`."""
    return run(environment, "reqwest")
