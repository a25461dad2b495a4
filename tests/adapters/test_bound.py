"""Callers that prove possession of a key (DPoP), show a certificate, or both: the adapters, as their environment says, at a
gateway that demands nonces and keys that demand everything."""

import json
import os
import pathlib
import subprocess

import anthropic
import pytest

import rust
from claviger import Claviger, UnsafeFile
from processes import ROOT, Claviger as Gateway, Simulator, program

ASK = {"model": "claude-opus-5-5", "max_tokens": 256, "messages": [{"role": "user", "content": "Hello"}]}


def cert(folder: pathlib.Path, *arguments: str) -> dict:
    command = [program("CLAVIGER_TEST_BIN", "claviger"), "cert", *arguments, "--dir", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class House:
    """A gateway with TLS whose test authority made certificates for `mine` and `other`."""

    def __init__(self, folder: pathlib.Path):
        self.certs = folder / "certs"
        for arguments in (("init",), ("server",), ("client", "other")):
            cert(self.certs, *arguments)
        self.thumbprint = cert(self.certs, "client", "mine")["thumbprint"]
        config = folder / "claviger.toml"
        config.write_text("[dpop]\nrequire_nonce = true\n")
        files = {"--tls-cert": "server.pem", "--tls-key": "server.key", "--tls-client-ca": "ca.pem"}
        tls = [word for flag, name in files.items() for word in (flag, str(self.certs / name))]
        self.simulator = Simulator(folder, "sk-ant-api03-" + "p" * 93 + "AA")
        self.gateway = Gateway(folder, "--config", str(config), *tls)
        self.gateway.connect(self.simulator)
        self.ca = self.certs / "ca.pem"

    def stop(self):
        self.gateway.stop()
        self.simulator.stop()

    def environment(self, made: dict, certificate: str | None, *left_out: str) -> dict:
        """What a caller is told."""
        said = {
            "ANTHROPIC_BASE_URL": self.gateway.url.replace("127.0.0.1", "localhost"), "ANTHROPIC_API_KEY": made["key"],
            "CLAVIGER_AUTH": "token", "CLAVIGER_DPOP": "ES256", "CLAVIGER_SIGNING_SECRET": made["signing_secret"],
            "CLAVIGER_CLIENT_CERT": str(self.certs / f"{certificate}.pem"),
            "CLAVIGER_CLIENT_KEY": str(self.certs / f"{certificate}.key"),
            "CLAVIGER_CA_FILE": str(self.ca),
        }
        return {name: value for name, value in said.items() if name not in left_out}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("bound"))
    yield house
    house.stop()


@pytest.fixture(scope="module")
def made(house):
    return house.gateway.key("bound", "--require", "token,signature,mtls,dpop", "--sign", "--bind-mtls", house.thumbprint)


def python(environment):
    """What the adapter under the SDK comes to: `passed`, or the code of the refusal."""
    caller = Claviger.from_env(environment)
    try:
        with anthropic.Anthropic(**caller.sdk(), max_retries=0) as client:
            for _ in range(2):
                assert client.messages.create(**ASK).content[0].text
            with client.messages.stream(**ASK) as stream:
                assert stream.get_final_message().stop_reason == "end_turn"
            file = client.beta.files.upload(file=("a.bin", b"x" * 300_000, "application/octet-stream"))
            assert client.beta.files.retrieve_metadata(file.id).size_bytes == 300_000
    except anthropic.APIStatusError as error:
        return error.body["error"]["details"]["error_code"]
    health = caller.health()
    return "passed" if health.ok else health.problem


def typescript(environment):
    if not os.environ.get("CLAVIGER_TEST_TS_DIST"):
        pytest.skip("CLAVIGER_TEST_TS_DIST is not set")
    script = pathlib.Path(__file__).with_name("bound.mjs")
    # Whom to believe for the calls without a certificate of the caller's.
    trusted = {"NODE_EXTRA_CA_CERTS": environment["CLAVIGER_CA_FILE"]}
    done = subprocess.run(["node", str(script)], env={**os.environ, **environment, **trusted}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def go(environment):
    program = os.environ.get("CLAVIGER_TEST_GO")
    if not program:
        pytest.skip("CLAVIGER_TEST_GO names no Go toolchain")
    cache = ROOT / "target" / "clients" / "go-cache"
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(cache), "CLAVIGER_TEST_BOUND": "1"}
    done = subprocess.run(
        [program, "test", "-count=1", "-run", "^TestBoundCaller$", "-v", "."], cwd=ROOT / "clients" / "go",
        env={**os.environ, **offline, **environment}, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert environment["ANTHROPIC_API_KEY"] not in done.stdout + done.stderr
    return next(line.split(" ", 1)[1] for line in done.stdout.splitlines() if line.startswith("bound: "))


ADAPTERS = [python, typescript, go, pytest.param(rust.run, id="rust"), pytest.param(rust.over_reqwest, id="reqwest")]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_everything_that_is_demanded_is_shown(house, made, adapter):
    assert adapter(house.environment(made, "mine")) == "passed"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_either_binding_alone(house, adapter):
    proven = house.gateway.key("proven", "--require", "dpop", "--sign")
    shown = house.gateway.key("shown", "--require", "mtls", "--sign")
    assert adapter(house.environment(proven, "mine", "CLAVIGER_SIGNING_SECRET")) == "passed"
    assert adapter(house.environment(shown, "other", "CLAVIGER_DPOP", "CLAVIGER_SIGNING_SECRET")) == "passed"


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("certificate, left_out, code", [
    ("other", (), "certificate_mismatch"),
    ("mine", ("CLAVIGER_DPOP",), "dpop_missing"),
    ("mine", ("CLAVIGER_SIGNING_SECRET",), "signature_missing"),
], ids=["another certificate", "no proof", "no signature"])
def test_what_is_missing_is_said(house, made, adapter, certificate, left_out, code):
    assert adapter(house.environment(made, certificate, *left_out)) == code


def test_a_key_of_a_file_proves_and_the_token_is_bound_to_it(house, tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    file = tmp_path / "proof.pem"
    file.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    made = house.gateway.key("file", "--require", "dpop", "--sign")
    environment = house.environment(made, "mine", "CLAVIGER_DPOP") | {"CLAVIGER_DPOP_KEY_FILE": str(file)}
    for adapter in (python, typescript, go, rust.run, rust.over_reqwest):
        assert adapter(environment) == "passed"
    caller = Claviger.from_env(environment)
    with caller.http_client() as client:
        assert client.get(f"{caller.base_url}/v1/models", headers={"anthropic-version": "2023-06-01"}).status_code == 200
        stolen = caller.auth._tokens.look(0.0).access.reveal()
    thief = Claviger.from_env(environment | {"ANTHROPIC_API_KEY": stolen, "CLAVIGER_AUTH": "key"}, proof_key=None)
    with thief.http_client() as client:
        answer = client.get(f"{thief.base_url}/v1/models", headers={"x-api-key": stolen})
    assert answer.status_code == 401 and answer.json()["error"]["details"]["error_code"] == "dpop_missing"
    file.chmod(0o644)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        Claviger.from_env(environment)
