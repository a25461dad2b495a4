"""A program runs by `claviger exec` with the official SDK and never sees a key that outlives it."""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from processes import house, program

APP = """
import os, anthropic
message = anthropic.Anthropic().messages.create(
    model="claude-opus-5-5", max_tokens=64, messages=[{"role": "user", "content": "Hello"}]
)
print(os.environ["ANTHROPIC_API_KEY"])
print(message.content[0].text)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with house() as (claviger, simulator):
        made = claviger.key("exec", "--models", "claude-opus-*,claude-haiku-*")
        file = tmp_path_factory.mktemp("holder") / "key"
        file.write_text(made["key"] + "\n")
        file.chmod(0o600)
        yield claviger, simulator, file


def command(claviger, *arguments: str) -> list[str]:
    return [program("CLAVIGER_TEST_BIN", "claviger"), *arguments]


def environment(claviger, folder: pathlib.Path) -> dict:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "CLAVIGER_", "CLAUDE_"))}
    return {**clean, "CLAVIGER_BASE_URL": claviger.url, "XDG_RUNTIME_DIR": str(folder)}


def status(claviger, key: str) -> int:
    request = urllib.request.Request(f"{claviger.url}/v1/claviger/me", headers={"x-api-key": key})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_exec_runs_a_program_with_the_sdk(parts, tmp_path):
    claviger, simulator, file = parts
    app = tmp_path / "app.py"
    app.write_text(APP)
    arguments = command(claviger, "exec", "--key-file", str(file), "--", sys.executable, str(app))
    done = subprocess.run(arguments, env=environment(claviger, tmp_path), capture_output=True, text=True, timeout=60)
    ended = time.monotonic()
    assert done.returncode == 0, done.stdout + done.stderr
    key, answer = done.stdout.splitlines()[:2]
    assert key.startswith("cvg_live_") and key != file.read_text().strip() and answer
    while status(claviger, key) != 401:
        assert time.monotonic() - ended < 1, "the key is dead a second after the program"
    assert key not in simulator.log_file.read_text()


def test_a_child_is_held_to_its_models_and_booked_apart(parts, tmp_path):
    claviger, _, file = parts
    app = tmp_path / "app.py"
    app.write_text(APP)
    narrow = command(claviger, "exec", "--key-file", str(file), "--models", "claude-haiku-*", "--", sys.executable, str(app))
    done = subprocess.run(narrow, env=environment(claviger, tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "is not allowed for this key" in done.stderr
    wide = command(claviger, "exec", "--key-file", str(file), "--models", "claude-*", "--", sys.executable, str(app))
    done = subprocess.run(wide, env=environment(claviger, tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and "goes beyond what the parent may use" in done.stderr


def test_token_gives_a_key_that_works(parts, tmp_path):
    claviger, _, file = parts
    arguments = command(claviger, "token", "--key-file", str(file))
    first, second = (
        subprocess.run(arguments, env=environment(claviger, tmp_path), capture_output=True, text=True, timeout=60) for _ in range(2)
    )
    assert first.returncode == 0 and first.stdout == second.stdout and first.stderr == ""
    assert status(claviger, first.stdout.strip()) == 200


def test_whoami_is_read_by_programs(parts, tmp_path):
    claviger, _, file = parts
    arguments = command(claviger, "whoami", "--key-file", str(file), "--json")
    done = subprocess.run(arguments, env=environment(claviger, tmp_path), capture_output=True, text=True, timeout=60)
    me = json.loads(done.stdout)
    assert me["name"] == "exec" and me["status"] == "active" and me["parent"] is None
