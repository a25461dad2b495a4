"""Keys that are bound to their sender: client certificates of a test authority, made by `claviger cert`."""

import http.client
import json
import pathlib
import shutil
import ssl
import subprocess
import time

import pytest

from processes import Claviger, program

BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})


def cert(folder: pathlib.Path, *arguments: str, expect: int = 0) -> dict:
    done = subprocess.run(
        [program("CLAVIGER_TEST_BIN", "claviger"), "cert", *arguments, "--dir", str(folder), "--json"],
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == expect, done.stderr
    assert "not for production" in done.stderr
    return json.loads(done.stdout) if expect == 0 else {}


class House:
    """A gateway with TLS that believes one test authority."""

    def __init__(self, folder: pathlib.Path, *arguments: str):
        self.certs, self.foreign = folder / "certs", folder / "foreign"
        for authority in (self.certs, self.foreign):
            cert(authority, "init")
        cert(self.certs, "server")
        self.ca = folder / "callers.pem"
        shutil.copy(self.certs / "ca.pem", self.ca)
        self.claviger = Claviger(
            folder,
            *("--tls-cert", str(self.certs / "server.pem"), "--tls-key", str(self.certs / "server.key")),
            *("--tls-client-ca", str(self.ca), *arguments),
        )
        self.claviger.run("policy", "set", "--max-keys", "1000")

    def key(self, *arguments: str) -> str:
        return self.claviger.json("key", "create", "--name", "k", "--test", *arguments)["key"]

    def connect(self, name: str | None = None, folder: pathlib.Path | None = None) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        if name:
            folder = folder or self.certs
            context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        host, port = self.claviger.url.removeprefix("https://").rsplit(":", 1)
        return http.client.HTTPSConnection(host, int(port), context=context, timeout=20)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("senders"))
    yield house
    house.claviger.stop()


def ask(connection: http.client.HTTPSConnection, key: str) -> tuple[int, str | None]:
    connection.request("POST", "/v1/messages", BODY, {"x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    return answer.status, (body.get("error", {}).get("details") or {}).get("error_code")


def is_refused_at_the_handshake(connection: http.client.HTTPSConnection, key: str) -> bool:
    # With TLS 1.3 the client learns of it with its first read.
    try:
        ask(connection, key)
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return True
    return False


def test_a_bound_key_works_with_its_certificate_and_with_no_other(house):
    mine = cert(house.certs, "client", "mine")
    cert(house.certs, "client", "other")
    key = house.key("--bind-mtls", mine["thumbprint"])
    assert ask(house.connect("mine"), key) == (200, None)
    assert ask(house.connect("other"), key) == (401, "certificate_mismatch")
    assert ask(house.connect(), key) == (401, "certificate_required")
    # A key that is bound to none works with any, and without.
    free = house.key()
    for connection in (house.connect("other"), house.connect()):
        assert ask(connection, free) == (200, None)


def test_a_spiffe_id_outlives_the_certificate_that_bears_it(house):
    spiffe = "spiffe://example.org/ns/ci/sa/build"
    for name in ("first", "second"):
        assert cert(house.certs, "client", name, "--spiffe", spiffe, "--algorithm", "ed25519")["spiffe_id"] == spiffe
    cert(house.certs, "client", "near", "--spiffe", spiffe + "er")
    key = house.key("--bind-mtls", spiffe)
    assert ask(house.connect("first"), key) == (200, None)
    assert ask(house.connect("second"), key) == (200, None)
    assert ask(house.connect("near"), key) == (401, "certificate_mismatch")


def test_a_child_is_bound_as_its_parent_is(house):
    mine = cert(house.certs, "client", "parent")
    key = house.key("--bind-mtls", mine["thumbprint"])
    connection = house.connect("parent")
    connection.request("POST", "/v1/claviger/children", "{}", {"x-api-key": key})
    child = json.loads(connection.getresponse().read())["key"]
    assert ask(connection, child) == (200, None)
    assert ask(house.connect(), child) == (401, "certificate_required")


def test_foreign_and_expired_certificates_end_at_the_handshake(house):
    key = house.key()
    cert(house.foreign, "client", "stranger")
    assert is_refused_at_the_handshake(house.connect("stranger", house.foreign), key)
    cert(house.certs, "client", "brief", "--ttl", "3s")
    kept = house.connect("brief")
    bound = house.key("--bind-mtls", cert(house.certs, "client", "long")["thumbprint"])
    assert ask(kept, bound) == (401, "certificate_mismatch")
    time.sleep(4.2)
    # A connection outlives its certificate, what the certificate proved does not.
    assert ask(kept, bound) == (401, "certificate_required")
    assert is_refused_at_the_handshake(house.connect("brief"), key)


def test_what_a_key_is_bound_to_is_shown_changed_and_checked(house):
    made = house.claviger.json("key", "create", "--name", "b", "--test", "--bind-mtls", "spiffe://a.example/x")
    assert made["bind_mtls"] == ["spiffe://a.example/x"]
    changed = house.claviger.json("key", "update", made["id"], "--bind-mtls", "spiffe://a.example/y,spiffe://a.example/z")
    assert changed["bind_mtls"] == ["spiffe://a.example/y", "spiffe://a.example/z"]
    assert house.claviger.json("key", "update", made["id"], "--bind-mtls", "")["bind_mtls"] == []
    house.claviger.run("key", "create", "--name", "b", "--bind-mtls", "x5t#S256:AAAA", expect=4)


def test_the_authorities_are_replaced_while_connections_go_on(tmp_path):
    house = House(tmp_path, "--tls-client-auth", "required")
    try:
        old, new = cert(house.certs, "client", "old"), cert(house.foreign, "client", "new")
        key = house.key("--bind-mtls", f"{old['thumbprint']},{new['thumbprint']}")
        assert is_refused_at_the_handshake(house.connect(), key)
        kept = house.connect("old")
        assert ask(kept, key) == (200, None)
        shutil.copy(house.foreign / "ca.pem", tmp_path / "next.pem")
        (tmp_path / "next.pem").rename(house.ca)
        deadline = time.monotonic() + 20
        while is_refused_at_the_handshake(house.connect("new", house.foreign), key):
            assert time.monotonic() < deadline, "the new authority is not believed"
            time.sleep(0.2)
        assert ask(house.connect("new", house.foreign), key) == (200, None)
        assert ask(kept, key) == (401, "certificate_required")
        assert is_refused_at_the_handshake(house.connect("old"), key)
    finally:
        house.claviger.stop()
