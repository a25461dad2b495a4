"""Claude Code works by base URL and key alone. It is kept from the network: whatever is not the gateway goes to a closed port."""

import json
import os
import pathlib
import subprocess
import time

import pytest

from processes import get, house, program

PROGRAM = os.environ["CLAVIGER_TEST_CLAUDE_CODE"]


@pytest.fixture(scope="module")
def parts():
    with house() as (claviger, simulator):
        yield claviger, simulator, claviger.key("claude-code")["key"]


def claude(tmp_path: pathlib.Path, url: str, *arguments: str, timeout=120, **variables: str):
    closed = "http://127.0.0.1:9"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ANTHROPIC_BASE_URL": url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "HTTPS_PROXY": closed,
        "HTTP_PROXY": closed,
        "NO_PROXY": "127.0.0.1,localhost",
        "TERM": "dumb",
        **variables,
    }
    return subprocess.run(
        [PROGRAM, *arguments], env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )


def test_a_prompt_is_answered_as_json(parts, tmp_path):
    claviger, simulator, key = parts
    done = claude(tmp_path, claviger.url, "-p", "hi", "--output-format", "json", ANTHROPIC_API_KEY=key)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["is_error"] is False and answer["result"]
    text = simulator.log_file.read_text()
    assert key not in text and "cvg_" not in text


def test_a_prompt_is_answered_as_a_stream(parts, tmp_path):
    claviger, _, key = parts
    done = claude(
        tmp_path, claviger.url, "-p", "hi", "--output-format", "stream-json", "--verbose", ANTHROPIC_AUTH_TOKEN=key
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [json.loads(line)["type"] for line in done.stdout.splitlines() if line.strip()]
    assert kinds[-1] == "result" and "assistant" in kinds


def test_a_wrong_key_is_told_at_once(parts, tmp_path):
    claviger, _, _ = parts
    begun = time.monotonic()
    done = claude(tmp_path, claviger.url, "-p", "hi", "--output-format", "json", ANTHROPIC_API_KEY="cvg_live_wrong")
    assert time.monotonic() - begun < 30, "401 carries x-should-retry: false"
    assert done.returncode != 0 or json.loads(done.stdout)["is_error"]


def test_a_tool_loop_closes(parts, tmp_path):
    claviger, _, key = parts
    prompt = '[[sim: tool=Bash; input={"command":"echo from-the-tool > made.txt","description":"write a file"}]]'
    done = claude(
        tmp_path, claviger.url, "-p", prompt, "--output-format", "json", "--allowedTools", "Bash", ANTHROPIC_API_KEY=key
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "made.txt").read_text() == "from-the-tool\n"


def test_a_key_helper_gives_the_key(parts, tmp_path):
    claviger, _, key = parts
    helper = tmp_path / "helper.sh"
    helper.write_text(f"#!/bin/sh\necho {key}\n")
    helper.chmod(0o700)
    settings = json.dumps({"apiKeyHelper": str(helper)})
    done = claude(tmp_path, claviger.url, "-p", "hi", "--output-format", "json", "--settings", settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["is_error"] is False


def test_claviger_token_is_the_key_helper(parts, tmp_path):
    claviger, simulator, key = parts
    file = tmp_path / "key"
    file.write_text(key + "\n")
    file.chmod(0o600)
    helper = f"{program('CLAVIGER_TEST_BIN', 'claviger')} token --key-file {file}"
    settings = json.dumps({"apiKeyHelper": helper})
    variables = {"CLAVIGER_BASE_URL": claviger.url, "XDG_RUNTIME_DIR": str(tmp_path)}
    asked = ["-p", "hi", "--output-format", "json", "--settings", settings]
    done = claude(tmp_path, claviger.url, *asked, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["is_error"] is False
    kept = json.loads(next((tmp_path / "claviger").glob("token-*.json")).read_text())
    used = claviger.json("key", "show", kept["id"])
    assert used["usage_count"] >= 1, "the calls were made with the child"
    text = simulator.log_file.read_text()
    assert kept["key"] not in text and "cvg_" not in text


def test_the_key_helper_gives_access_tokens(parts, tmp_path):
    claviger, simulator, _ = parts
    made = claviger.key("helper", "--require", "token")
    file = tmp_path / "key"
    file.write_text(made["key"] + "\n")
    file.chmod(0o600)
    helper = f"{program('CLAVIGER_TEST_BIN', 'claviger')} token --access --key-file {file}"
    settings = json.dumps({"apiKeyHelper": helper})
    variables = {"CLAVIGER_BASE_URL": claviger.url, "XDG_RUNTIME_DIR": str(tmp_path)}
    asked = ["-p", "hi", "--output-format", "json", "--settings", settings]
    done = claude(tmp_path, claviger.url, *asked, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["is_error"] is False
    kept = json.loads(next((tmp_path / "claviger").glob("token-*.json")).read_text())
    assert kept["access_token"].count(".") == 2
    assert claviger.json("key", "show", made["id"])["usage_count"] >= 1
    text = simulator.log_file.read_text()
    assert kept["access_token"] not in text and "cvg_" not in text
    # The key alone would not have done.
    assert get(f"{claviger.url}/v1/models", **{"x-api-key": made["key"]})[0] == 401


def test_access_tokens_are_kept_renewed_and_narrowed(parts, tmp_path):
    claviger, _, key = parts
    claviger.environment |= {"XDG_RUNTIME_DIR": str(tmp_path), "CLAVIGER_KEY": key, "CLAVIGER_BASE_URL": claviger.url}
    first = claviger.json("token", "--access")
    assert claviger.run("token", "--access").strip() == first["access_token"], "the same one until four fifths of its life"
    place = next((tmp_path / "claviger").glob("token-*.json"))
    assert place.stat().st_mode & 0o777 == 0o600 and key not in place.read_text()
    kept = json.loads(place.read_text())
    place.write_text(json.dumps(kept | {"renew_us": 0}))
    claviger.environment["CLAVIGER_KEY"] = key
    renewed = claviger.json("token", "--access")
    assert renewed["access_token"] != first["access_token"]
    assert json.loads(place.read_text())["refresh_token"] != kept["refresh_token"], "rotated at its use"
    assert claviger.json("token", "--access", "--fresh")["access_token"] != renewed["access_token"]
    narrow = claviger.json("token", "--access", "--scope", "models:read")
    assert narrow["scope"] == "models:read" and narrow["access_token"] != renewed["access_token"]
    assert len(list((tmp_path / "claviger").glob("token-*.json"))) == 2
