"""The Go client against the real gateway, under a key that demands an access token and a signature."""

import os
import pathlib
import subprocess

import pytest

from processes import ROOT, house

GO = os.environ.get("CLAVIGER_TEST_GO")


@pytest.mark.skipif(not GO, reason="CLAVIGER_TEST_GO names no Go toolchain")
def test_go_program_creates_streams_counts_uploads_and_batches():
    with house() as (claviger, _):
        key = claviger.key("go", "--require", "token,signature", "--sign")
        cache = ROOT / "target" / "clients" / "go-cache"
        environment = {
            **os.environ,
            "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(cache),
            "CLAVIGER_TEST_GATEWAY": claviger.url,
            "CLAVIGER_TEST_KEY": key["key"],
            "CLAVIGER_TEST_SIGNING_SECRET": key["signing_secret"],
        }
        done = subprocess.run(
            [GO, "test", "-count=1", "-run", "^TestGateway", "-v", "."],
            cwd=pathlib.Path(ROOT) / "clients" / "go", env=environment, capture_output=True, text=True, timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SKIP" not in done.stdout, done.stdout
        for secret in (key["key"], key["signing_secret"]):
            assert secret not in done.stdout + done.stderr
