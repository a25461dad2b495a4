"""The command line as the holder of keys that demand a certificate or a proof of possession: `whoami`, `token`, `exec`."""

import json
import os
import subprocess
import sys

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from claviger import ClientCertificate
from processes import ROOT, program
from test_bound import House

REFUSED, USAGE, FAILED = 4, 2, 1
EVERYTHING = "token,signature,mtls,dpop"
ASKS = """
import anthropic
from claviger import Claviger
with anthropic.Anthropic(**Claviger.from_env().sdk(), max_retries=0) as client:
    print(client.messages.create(model="claude-opus-5-5", max_tokens=64, messages=[{"role": "user", "content": "Hello"}]).type)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("holder"))
    yield house
    house.stop()


@pytest.fixture(params=[ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()], ids=["P-256", "Ed25519"])
def proof_key(request, tmp_path):
    file = tmp_path / "proof.pem"
    file.write_bytes(request.param.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    return file


class Holder:
    """What is told to each command: nothing but the key and the gateway, and what `also` names."""

    def __init__(self, house, made, folder, **also):
        told = {
            "CLAVIGER_BASE_URL": house.gateway.url.replace("127.0.0.1", "localhost"), "CLAVIGER_CA_FILE": str(house.ca),
            "ANTHROPIC_API_KEY": made["key"], "XDG_RUNTIME_DIR": str(folder), "PATH": os.environ["PATH"], "HOME": str(folder),
        }
        self.told = told | {name: str(value) for name, value in also.items()}

    def run(self, *arguments, expect=0, **also):
        done = subprocess.run(
            [program("CLAVIGER_TEST_BIN", "claviger"), *arguments], env=self.told | also, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done.stdout.strip() if expect == 0 else done.stderr


def shown(house, name="mine"):
    return {"CLAVIGER_CLIENT_CERT": house.certs / f"{name}.pem", "CLAVIGER_CLIENT_KEY": house.certs / f"{name}.key"}


def test_a_certificate_is_shown_where_one_is_demanded(house, tmp_path):
    made = house.gateway.key("cli", "--require", "mtls", "--bind-mtls", house.thumbprint)
    bare = Holder(house, made, tmp_path)
    for command in (["whoami"], ["token"], ["token", "--access"], ["exec", "--", "true"]):
        assert "--client-cert" in bare.run(*command, expect=REFUSED)
    holder = Holder(house, made, tmp_path, **shown(house))
    assert json.loads(holder.run("whoami", "--json"))["id"] == made["id"]
    flags = ["--client-cert", str(house.certs / "mine.pem"), "--client-key", str(house.certs / "mine.key")]
    assert json.loads(bare.run("whoami", "--json", *flags))["id"] == made["id"]
    both = tmp_path / "both.pem"
    both.write_bytes((house.certs / "mine.pem").read_bytes() + (house.certs / "mine.key").read_bytes())
    assert json.loads(bare.run("whoami", "--json", "--client-cert", str(both)))["id"] == made["id"]
    assert "another client certificate" in Holder(house, made, tmp_path, **shown(house, "other")).run("whoami", expect=REFUSED)
    # What they give is bound as the key is.
    for printed in (holder.run("token"), holder.run("token", "--access")):
        assert (status_of(house, printed, "mine"), status_of(house, printed, "other")) == (200, 401)


def status_of(house, credential, name):
    """Of a call with this credential and certificate."""
    tls = ClientCertificate(house.certs / f"{name}.pem", house.certs / f"{name}.key", house.ca)
    base = house.gateway.url.replace("127.0.0.1", "localhost")
    with httpx2.Client(verify=tls.context()) as client:
        return client.get(f"{base}/v1/models", headers={"x-api-key": credential, "anthropic-version": "2023-06-01"}).status_code


def test_a_command_that_is_run_shows_the_certificate_itself(house, tmp_path):
    made = house.gateway.key("run", "--require", "mtls", "--bind-mtls", house.thumbprint)
    holder = Holder(house, made, tmp_path, **shown(house), PYTHONPATH=ROOT / "clients" / "python" / "src")
    assert holder.run("exec", "--", sys.executable, "-c", ASKS) == "message"


def test_possession_is_proved_where_that_is_demanded(house, tmp_path, proof_key):
    made = house.gateway.key("proven", "--require", "dpop")
    bare = Holder(house, made, tmp_path)
    for command in (["whoami"], ["token", "--access"]):
        assert "--dpop-key-file" in bare.run(*command, expect=REFUSED)
    holder = Holder(house, made, tmp_path, CLAVIGER_DPOP_KEY_FILE=proof_key)
    # The gateway of this house demands its nonces.
    assert json.loads(holder.run("whoami", "--json"))["id"] == made["id"]
    assert json.loads(bare.run("whoami", "--json", "--dpop-key-file", str(proof_key)))["id"] == made["id"]
    token = holder.run("token", "--access")
    assert token == holder.run("token", "--access") != holder.run("token", "--access", "--fresh")
    assert status_of(house, token, "mine") == 401, "stolen, it is of no use"
    for command in (["token"], ["exec", "--", "true"]):
        assert "has no children" in holder.run(*command, expect=REFUSED)
    proof_key.chmod(0o644)
    assert f"chmod 600 {proof_key}" in holder.run("whoami", expect=FAILED)


def test_everything_at_once(house, tmp_path, proof_key):
    made = house.gateway.key("all", "--require", EVERYTHING, "--sign", "--bind-mtls", house.thumbprint)
    whole = {"CLAVIGER_DPOP_KEY_FILE": proof_key, "CLAVIGER_SIGNING_SECRET": made["signing_secret"], **shown(house)}
    holder = Holder(house, made, tmp_path, **whole)
    assert json.loads(holder.run("whoami", "--json"))["id"] == made["id"]
    assert holder.run("token", "--access").count(".") == 2
    for left_out in whole.keys() - {"CLAVIGER_CLIENT_KEY"}:
        lacking = Holder(house, made, tmp_path / "none", **{name: value for name, value in whole.items() if not name.startswith(left_out)})
        assert made["key"] not in lacking.run("whoami", expect=REFUSED)


def test_files_that_cannot_be_used_are_named(house, tmp_path):
    made = house.gateway.key("files")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    nothing.chmod(0o600)
    holder = Holder(house, made, tmp_path)
    assert str(nothing) in holder.run("whoami", "--client-cert", str(nothing), expect=USAGE)
    assert "P-256 or Ed25519" in holder.run("whoami", "--dpop-key-file", str(nothing), expect=FAILED)
    assert "missing.pem" in holder.run("whoami", "--dpop-key-file", str(tmp_path / "missing.pem"), expect=FAILED)
