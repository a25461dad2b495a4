"""Keys come from where they were said to come from, or not at all."""

import os
import sys
import threading

import httpx2
import pytest

from claviger import (
    CachedKey, Claviger, CommandKey, ConfigurationError, EnvKey, FileKey, KeyUnavailable, Secret, StaticKey, UnsafeFile,
    Vault, VaultKey, WrappedKey, WrappedToken, public_id,
)

KEY = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb"


def test_environment():
    assert EnvKey("K", {"K": KEY}).fetch() == KEY
    for broken in ({}, {"K": ""}, {"K": f" {KEY}"}, {"K": f"{KEY}\n"}, {"K": "schlüssel"}, {"K": "a\x00b"}, {"K": "x" * 5000}):
        with pytest.raises(KeyUnavailable) as caught:
            EnvKey("K", broken).fetch()
        assert KEY not in str(caught.value)


def test_a_file_is_read_only_when_nobody_else_can_read_it(tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    for mode in (0o600, 0o400):
        file.chmod(mode)
        assert FileKey(file).fetch() == KEY
    for mode in (0o640, 0o604, 0o620, 0o666):
        file.chmod(mode)
        with pytest.raises(UnsafeFile, match="chmod 600"):
            FileKey(file).fetch()
    with pytest.raises(KeyUnavailable):
        FileKey(tmp_path / "none").fetch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    writer = threading.Thread(target=lambda: open(fifo, "w").close())
    writer.start()
    with pytest.raises(UnsafeFile):
        FileKey(fifo).fetch()
    writer.join()


def test_a_command_is_run_without_a_shell():
    assert CommandKey([sys.executable, "-c", f"print('{KEY}')"]).fetch() == KEY
    with pytest.raises(ConfigurationError):
        CommandKey("claviger token").fetch()
    for script, problem in (("import sys; sys.exit(3)", "ended with 3"), ("", "empty"), ("print('a b')", "does not hold")):
        with pytest.raises(KeyUnavailable, match=problem):
            CommandKey([sys.executable, "-c", script]).fetch()
    with pytest.raises(KeyUnavailable, match="within"):
        CommandKey([sys.executable, "-c", "import time; time.sleep(9)"], timeout_secs=0.2).fetch()
    with pytest.raises(KeyUnavailable, match="cannot be run"):
        CommandKey(["/nonexistent/claviger"]).fetch()


class Counting:
    def __init__(self):
        self.calls, self.fail = 0, False

    def fetch(self):
        self.calls += 1
        if self.fail:
            raise KeyUnavailable("the service is away")
        return f"{KEY}{self.calls}"


def test_a_cached_key_lives_for_its_time_and_no_older_key_is_used_afterwards():
    clock, source = [0.0], Counting()
    cached = CachedKey(source, 3600, monotonic=lambda: clock[0])
    assert {cached.get() for _ in range(5)} == {f"{KEY}1"}
    clock[0], source.fail = 3599.9, True
    assert cached.get() == f"{KEY}1"
    clock[0] = 3600
    for _ in range(2):
        with pytest.raises(KeyUnavailable):
            cached.get()
    source.fail = False
    assert cached.get() == f"{KEY}4"


def test_many_threads_fetch_once():
    source = Counting()
    cached = CachedKey(source)
    threads = [threading.Thread(target=cached.get) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.calls == 1


class FakeVault:
    """KV version 2 and response wrapping."""

    def __init__(self):
        self.wrapped = {"wt-token": ("auth/approle/login", {"auth": {"client_token": "vt"}}),
                        "wt-key": ("secret/data/app", {"data": {"data": {"key": KEY}}})}
        self.seen = []

    def __call__(self, request):
        token = request.headers.get("x-vault-token")
        self.seen.append((request.method, request.url.path, token, request.headers.get("x-vault-namespace")))
        if request.url.path == "/v1/secret/data/team%20a/app" or request.url.path == "/v1/secret/data/team a/app":
            return httpx2.Response(200, json={"data": {"data": {"key": KEY, "other": 1}}}) if token == "vt" else httpx2.Response(403)
        if request.url.path == "/v1/sys/wrapping/lookup":
            found = self.wrapped.get(token)
            return httpx2.Response(200, json={"data": {"creation_path": found[0]}}) if found else httpx2.Response(400)
        if request.url.path == "/v1/sys/wrapping/unwrap":
            found = self.wrapped.pop(token, None)
            return httpx2.Response(200, json=found[1]) if found else httpx2.Response(400)
        return httpx2.Response(404)


def vault(fake, **options):
    return Vault("http://vault.example:8200/", transport=httpx2.MockTransport(fake), **options)


def test_vault_with_an_own_token():
    fake = FakeVault()
    source = VaultKey(vault(fake, namespace="ns1"), "team a/app", StaticKey(Secret("vt")))
    assert source.fetch() == KEY
    assert fake.seen[0][2:] == ("vt", "ns1")
    with pytest.raises(KeyUnavailable, match="403"):
        VaultKey(vault(fake), "team a/app", StaticKey(Secret("wrong"))).fetch()
    with pytest.raises(KeyUnavailable, match="no field `other`"):
        VaultKey(vault(fake), "team a/app", StaticKey(Secret("vt")), field_name="other").fetch()


def test_a_wrapped_token_is_opened_once_and_kept():
    fake = FakeVault()
    token = WrappedToken(vault(fake), Secret("wt-token"), creation_path="auth/approle/login")
    source = VaultKey(vault(fake), "team a/app", token)
    assert [source.fetch(), source.fetch()] == [KEY, KEY]
    assert [path for _, path, _, _ in fake.seen].count("/v1/sys/wrapping/unwrap") == 1


def test_a_delivery_that_was_opened_on_the_way_is_an_error():
    fake = FakeVault()
    assert WrappedKey(vault(fake), Secret("wt-key")).fetch() == KEY
    with pytest.raises(KeyUnavailable, match="400"):
        WrappedKey(vault(fake), Secret("wt-key")).fetch()
    fake = FakeVault()
    with pytest.raises(KeyUnavailable, match="opened on the way"):
        WrappedKey(vault(fake), Secret("wt-key"), creation_path="secret/data/other").fetch()
    assert "wt-key" in fake.wrapped


def test_vault_away_is_an_error_without_a_secret_in_it():
    def refuse(request):
        raise httpx2.ConnectError("no")

    with pytest.raises(KeyUnavailable) as caught:
        VaultKey(vault(refuse), "app", StaticKey(Secret("vt-secret"))).fetch()
    assert "vt-secret" not in str(caught.value) + repr(caught.value.__context__)


def test_settings_from_the_environment(tmp_path):
    base = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8787/"}
    for broken, problem in (
        ({}, "ANTHROPIC_BASE_URL"), (base, "no key"), (base | {"ANTHROPIC_API_KEY": KEY, "CLAVIGER_AUTH": "no"}, "auth is"),
        (base | {"ANTHROPIC_API_KEY": KEY, "CLAVIGER_SIGNING_SECRET": "s" * 20, "CLAVIGER_SIGNING_PROFILE": "v3"}, "v1, v2, rfc9421"),
        ({"ANTHROPIC_BASE_URL": "gw.example", "ANTHROPIC_API_KEY": KEY}, "http://"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            Claviger.from_env(broken)
    # A sealed key that is set is the key, whatever else is set.
    sealed = base | {"ANTHROPIC_API_KEY": KEY, "CLAVIGER_SEALED_KEY_FILE": str(tmp_path / "none")}
    with pytest.raises(ConfigurationError, match="CLAVIGER_KMS"):
        Claviger.from_env(sealed)
    vault = {"CLAVIGER_KMS": "hashivault://k", "VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t"}
    with pytest.raises(KeyUnavailable, match="No such file"):
        Claviger.from_env(sealed | vault).auth._key.get()
    env = tmp_path / ".env"
    env.write_text(f"ANTHROPIC_API_KEY={KEY}\nANTHROPIC_BASE_URL=http://other.example\nCLAVIGER_SIGNING_SECRET={'s' * 20}\n")
    claviger = Claviger.from_env(base, dotenv=env)
    assert claviger.base_url == "http://127.0.0.1:8787"
    assert set(claviger.sdk()) == {"base_url", "api_key", "http_client"}


def test_the_public_id_of_a_key():
    assert public_id(KEY) == "0123456789"
    for other in ("", "sk-ant-api03-x", KEY[:-1], KEY + "x", KEY.replace("live", "prod"), "A" + KEY[1:]):
        assert public_id(other) is None
