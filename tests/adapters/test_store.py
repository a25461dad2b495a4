"""Keys that `claviger store-key` puts into OpenBao's real server, read by the adapters with the token that it prints."""

import json
import os
import pathlib
import subprocess
import textwrap

import anthropic
import pytest

import rust
import stores
from claviger import Claviger, KeyUnavailable, Secret, Vault, VaultKey, WrappedToken
from processes import ROOT, house, program

ASK = {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
CREATED = "auth/token/create"


@pytest.fixture(scope="module")
def bao():
    with stores.bao() as store:
        yield store


@pytest.fixture(scope="module")
def gateway():
    with house() as (claviger, _):
        yield claviger


def store(bao, key, path, *more, environment=None):
    """Exit code, what was printed, what was said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "BAO_", "ANTHROPIC_"))}
    done = subprocess.run(
        [program("CLAVIGER_TEST_BIN", "claviger"), "store-key", "--vault", path, "--json", *more],
        env=clean | bao.environment | (environment or {}), input=key, capture_output=True, text=True, timeout=60,
    )
    assert not key or key not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def stored(bao, key, path, *more):
    code, printed, said = store(bao, key, path, *more)
    assert code == 0, said
    return json.loads(printed)


def reader(bao, made, path, **more):
    token = WrappedToken(Vault(bao.url), Secret(made["wrapping_token"]), creation_path=CREATED)
    return VaultKey(Vault(bao.url), path, token, **more)


def answered(gateway, source):
    with anthropic.Anthropic(**Claviger(gateway.url, source).sdk(), max_retries=0) as client:
        return client.messages.create(**ASK).content[0].text


def test_the_printed_token_reads_the_key_and_opens_the_gateway(gateway, bao):
    key = gateway.key("stored")["key"]
    made = stored(bao, key, "claviger/ci")
    assert made["creation_path"] == CREATED and made["version"] == 1
    source = reader(bao, made, "claviger/ci")
    assert answered(gateway, source)
    assert source.fetch() == key, "the token is opened once and kept"


def test_a_delivery_opens_once(bao, gateway):
    made = stored(bao, gateway.key("once")["key"], "claviger/once")
    reader(bao, made, "claviger/once").fetch()
    with pytest.raises(KeyUnavailable, match="answered sys/wrapping/(lookup|unwrap) with 40"):
        reader(bao, made, "claviger/once").fetch()


def test_the_token_reads_this_secret_and_nothing_else(bao, gateway):
    key = gateway.key("narrow")["key"]
    made = stored(bao, key, "claviger/a-b")
    other = stored(bao, key, "claviger/a/b")
    assert made["policy"] != other["policy"], "paths that read alike share no policy"
    token = bao.ask("POST", "sys/wrapping/unwrap", token=made["wrapping_token"])["auth"]["client_token"]
    assert bao.ask("GET", "secret/data/claviger/a-b", token=token)["data"]["data"] == {"key": key}
    assert bao.refuses(403, "GET", "secret/data/claviger/a/b", token=token)
    assert bao.refuses(403, "POST", "secret/data/claviger/a-b", token=token, body={"data": {"key": "x"}})
    assert bao.refuses(403, "POST", CREATED, token=token, body={})
    assert bao.refuses(403, "GET", "sys/policies/acl/root", token=token)


def test_a_key_that_is_stored_anew_is_read_by_those_who_have_the_token(gateway, bao):
    first, second = (gateway.key(name)["key"] for name in ("first", "second"))
    source = reader(bao, stored(bao, first, "claviger/turned"), "claviger/turned")
    assert source.fetch() == first
    assert stored(bao, second, "claviger/turned")["version"] == 2
    assert source.fetch() == second


def test_another_mount_field_and_policy(gateway, bao):
    bao.ask("POST", "sys/mounts/team/kv", {"type": "kv", "options": {"version": "2"}})
    bao.ask("POST", "sys/policies/acl/readers", {"policy": 'path "team/kv/data/*" { capabilities = ["read"] }'})
    key = gateway.key("elsewhere")["key"]
    made = stored(bao, key, "ci", "--mount", "team/kv", "--field", "claude", "--policy", "readers")
    assert reader(bao, made, "ci", mount="team/kv", field_name="claude").fetch() == key


def test_what_is_refused_is_said_and_no_key_with_it(gateway, bao):
    key = gateway.key("refused")["key"]
    sealer = bao.token('path "secret/data/claviger/x" { capabilities = ["create", "update"] }')
    for text, path, more, environment, code in (
        ("sk-ant-api03-" + "x" * 93 + "AA", "claviger/x", (), {}, 4),
        (key, "../sys/auth", (), {}, 2),
        (key, "a//b", (), {}, 2),
        (key, "claviger/x", ("--mount", "nowhere"), {}, 4),
        (key, "claviger/x", (), {"VAULT_TOKEN": sealer}, 4),
        (key, "claviger/x", (), {"VAULT_ADDR": "http://vault.example:8200"}, 2),
        (key, "claviger/x", (), {"VAULT_ADDR": "http://127.0.0.1:1"}, 3),
    ):
        ended, printed, said = store(bao, text, path, *more, environment=environment)
        assert (ended, printed) == (code, ""), said
        assert sealer not in said


NODE = """
const { client, node } = { client: await import(process.env.DIST + "/index.js"), node: await import(process.env.DIST + "/node.js") };
const vault = new node.Vault({ address: process.env.VAULT_ADDR });
const source = process.env.SEALED
  ? node.sealedKey(process.env.SEALED, process.env.CLAVIGER_KMS)
  : node.vaultKey(vault, process.env.STORED, node.wrappedToken(vault, process.env.WRAPPED, "auth/token/create"));
const { fetch } = client.sdkOptions({ baseURL: process.env.GATEWAY, key: source });
const answer = await fetch(process.env.GATEWAY + "/v1/models", { headers: { "anthropic-version": "2023-06-01" } });
console.log(answer.status);
"""


@pytest.mark.parametrize("way", ["awskms:///alias/claviger", "hashivault://claviger", "store"])
def test_typescript_opens_them(gateway, bao, tmp_path, way):
    dist = os.environ.get("CLAVIGER_TEST_TS_DIST")
    if not dist:
        pytest.skip("CLAVIGER_TEST_TS_DIST is not set")
    key = gateway.key("typescript")["key"]
    with given(bao, key, tmp_path, way) as variables:
        script = tmp_path / "call.mjs"
        script.write_text(textwrap.dedent(NODE))
        environment = {**os.environ, **variables, "DIST": dist, "GATEWAY": gateway.url}
        done = subprocess.run(["node", str(script)], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "200"), done.stdout + done.stderr


@pytest.mark.parametrize("way", ["awskms:///alias/claviger", "hashivault://claviger", "store"])
def test_go_opens_them(gateway, bao, tmp_path, way):
    go = os.environ.get("CLAVIGER_TEST_GO")
    if not go:
        pytest.skip("CLAVIGER_TEST_GO names no Go toolchain")
    key = gateway.key("go")["key"]
    cache = pathlib.Path(ROOT) / "target" / "clients" / "go-cache"
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(cache)}
    with given(bao, key, tmp_path, way) as variables:
        done = subprocess.run(
            [go, "test", "-count=1", "-run", "^TestKeysOfRealStores$", "-v", "."], cwd=pathlib.Path(ROOT) / "clients" / "go",
            env={**os.environ, **offline, **variables, "GATEWAY": gateway.url}, capture_output=True, text=True, timeout=300,
        )
    assert done.returncode == 0 and "SKIP" not in done.stdout, done.stdout + done.stderr
    assert key not in done.stdout + done.stderr


@pytest.mark.parametrize("way", ["awskms:///alias/claviger", "hashivault://claviger", "store"])
def test_rust_opens_them(gateway, bao, tmp_path, way):
    key = gateway.key("rust")["key"]
    with given(bao, key, tmp_path, way) as variables:
        assert rust.run(variables | {"ANTHROPIC_BASE_URL": gateway.url}) == "passed"
        if way == "store":
            # Opened once: whoever comes second learns that somebody has it.
            with pytest.raises(AssertionError, match="WrappedTokenUsed"):
                rust.run(variables | {"ANTHROPIC_BASE_URL": gateway.url})


class given:
    """What a program is told to find a key in this way."""

    def __init__(self, bao, key, folder, way):
        self.bao, self.key, self.folder, self.way = bao, key, folder, way
        self.aws = stores.kms() if way.startswith("awskms") else None

    def __enter__(self):
        if self.way == "store":
            made = stored(self.bao, self.key, "claviger/clients")
            wrapped = self.folder / "wrapped"
            wrapped.write_text(made["wrapping_token"] + "\n")
            wrapped.chmod(0o600)
            return {"VAULT_ADDR": self.bao.url, "STORED": "claviger/clients", "WRAPPED": made["wrapping_token"], "WRAPPED_FILE": str(wrapped)}
        variables = self.bao.environment if self.aws is None else self.aws.__enter__().environment
        command = [program("CLAVIGER_TEST_BIN", "claviger"), "seal-key", "--kms", self.way]
        done = subprocess.run(command, env={**os.environ, **variables}, input=self.key, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        sealed = self.folder / "key.sealed"
        sealed.write_text(done.stdout)
        return variables | {"SEALED": str(sealed), "CLAVIGER_KMS": self.way}

    def __exit__(self, *raised):
        if self.aws is not None:
            self.aws.__exit__(*raised)
