"""What stands in the adapters' READMEs runs as it stands there, against a running gateway."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from processes import ROOT, house
from test_bound import House

DIST, MODULES = os.environ.get("CLAVIGER_TEST_TS_DIST"), os.environ.get("CLAVIGER_TEST_NODE_MODULES")


def blocks(adapter, language):
    text = (ROOT / "clients" / adapter / "README.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S))


class Place:
    """A gateway without TLS, another with it, and where the READMEs' names lead."""

    def __init__(self, gateway, bound, folder):
        self.folder = folder
        made = gateway.key("readme", "--require", "token,signature", "--sign")
        shown = bound.gateway.key("readme", "--require", "token,mtls,dpop", "--bind-mtls", bound.thumbprint)
        for name, key in (("key", made["key"]), ("bound", shown["key"])):
            (folder / name).write_text(key + "\n")
            (folder / name).chmod(0o600)
        for name in ("mine.pem", "mine.key", "ca.pem"):
            shutil.copy(bound.certs / name, folder / name)
        self.names = {
            "https://gw.example:8443": bound.gateway.url.replace("127.0.0.1", "localhost"), "https://gw.example": gateway.url,
            "/run/secrets/claviger-bound": str(folder / "bound"), "/run/secrets/claviger": str(folder / "key"),
        }
        self.secrets = [made["key"], made["signing_secret"], shown["key"]]
        self.environment = {
            "PATH": os.environ["PATH"], "ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_API_KEY": made["key"], "CLAVIGER_AUTH": "token",
            "CLAVIGER_SIGNING_SECRET": made["signing_secret"], "NODE_EXTRA_CA_CERTS": str(bound.ca),
        }

    def here(self, text):
        for name, real in self.names.items():
            text = text.replace(name, real)
        return text

    def run(self, *command, **environment):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not [secret for secret in self.secrets if secret in done.stdout + done.stderr]
        return done.stdout


@pytest.fixture(scope="module")
def gateways(tmp_path_factory):
    bound = House(tmp_path_factory.mktemp("bound"))
    with house() as (gateway, _):
        yield gateway, bound
    bound.stop()


def test_python(gateways, tmp_path):
    place = Place(*gateways, tmp_path)
    # Signed only: `ClavigerAuth` alone is shown without a signer.
    text = place.here(blocks("python", "python")).replace('EnvKey(), auth="token"', 'EnvKey(), auth="token", signer=caller.auth._signer')
    (tmp_path / "readme.py").write_text(text)
    said = place.run(sys.executable, "readme.py", PYTHONPATH=str(ROOT / "clients" / "python" / "src"))
    assert "Summary(requests=1, errors=0" in said


@pytest.mark.skipif(not (DIST and MODULES), reason="the TypeScript client is not built")
def test_typescript(gateways, tmp_path):
    place = Place(*gateways, tmp_path)
    package = tmp_path / "node_modules" / "@claviger" / "client"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "clients" / "typescript" / "package.json", package)
    (package / "dist").symlink_to(DIST)
    for name in ("@anthropic-ai", "@types"):
        (tmp_path / "node_modules" / name).symlink_to(os.path.join(MODULES, name))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "readme.ts").write_text(place.here(blocks("typescript", "ts")))
    strict = ["--strict", "--target", "ES2022", "--module", "NodeNext", "--moduleResolution", "NodeNext", "--types", "node", "--skipLibCheck"]
    place.run("node", os.path.join(MODULES, "typescript", "bin", "tsc"), *strict, "readme.ts")
    assert "x-api-key: [redacted]" in place.run("node", "readme.js")
