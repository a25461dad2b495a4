"""One running claviger for the suite, with something in it to find, and a token for each role."""

import json
import pathlib
import tempfile
import urllib.request

import pytest

from processes import Claviger, Simulator
from second_factor import SecondFactor
from socket_proxy import SocketProxy

# What only people may do: no machine's token has these verbs.
FOR_PEOPLE = ("operator.", "session.", "approval.", "break_glass.")
PASSWORD = "correct horse battery staple"
PROVIDER_KEY = "sk-ant-api03-" + "p" * 93 + "AA"
# Asks the provider's account.
ADMIN_KEY = "sk-ant-admin01-" + "a" * 91 + "AA"


class Installation:
    """A node with a simulator behind it, its socket reached over TCP."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.simulator = Simulator(folder, PROVIDER_KEY)
        self.claviger = Claviger(folder)
        self.proxy = SocketProxy(self.claviger.data / "control.sock")
        self.url = self.proxy.url
        credential = self.claviger.connect(self.simulator)
        admin = ["credential", "add", "--upstream", credential["upstream"], "--admin", "--from-file", "-"]
        self.claviger.json(*admin, stdin=ADMIN_KEY + "\n")
        key = self.claviger.key("found")
        self.ids = {
            "keys": key["id"],
            "workspaces": key["workspace"],
            "owners": key["owner"],
            "upstreams": credential["upstream"],
            "credentials": credential["id"],
        }
        self.document = self.ask("GET", "/openapi.json")
        self.verbs = sorted(
            operation["operationId"]
            for methods in self.document["paths"].values()
            for operation in methods.values()
            if operation.get("security") != [{}]
        )
        self.tokens = {}
        enrolled = self.ask("POST", "/operators", {"name": "ann", "role": "owner", "password": PASSWORD})
        self.factor = SecondFactor(enrolled["totp_secret"])
        proof = {"name": "ann", "password": PASSWORD, "totp": self.factor.code()}
        self.session = self.ask("POST", "/session", proof)["token"]

    def ask(self, method: str, path: str, body=None, **headers):
        """As the local owner until somebody is enrolled, then as whoever the headers prove."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **headers}
        request = urllib.request.Request(f"{self.url}/admin/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def token(self, who: str) -> str | None:
        """What somebody brings: `person` a session; `nobody` nothing; `workspace` the token of a machine that sees one
        workspace; `machine` one that was minted without verbs; else one of this role with every verb that it may have.
        """
        if who in ("person", "nobody"):
            return self.session if who == "person" else None
        if who not in self.tokens:
            wanted = {"name": f"machine {who}", "role": who, "verbs": self._verbs(who)}
            if who in ("workspace", "machine"):
                wanted["role"] = "admin"
            if who == "workspace":
                wanted["workspace"] = self.ids["workspaces"]
            proof = {"authorization": f"Bearer {self.session}", "x-claviger-totp": self.factor.code()}
            self.tokens[who] = self.ask("POST", "/operator-tokens", wanted, **proof)["token"]
        return self.tokens[who]

    def _verbs(self, role: str) -> list[str]:
        """None: whatever needs no second factor."""
        if role == "workspace":
            return [verb for verb in self.verbs if verb.startswith(("key.", "policy.", "rotation.", "review."))]
        if role not in ("owner", "admin"):
            return []
        closed = ("audit.export",) if role == "admin" else ()
        return [verb for verb in self.verbs if not verb.startswith(FOR_PEOPLE) and verb not in closed]

    def close(self):
        self.proxy.close()
        self.claviger.stop()
        self.simulator.stop()


@pytest.fixture(scope="session")
def installation():
    with tempfile.TemporaryDirectory() as name:
        made = Installation(pathlib.Path(name))
        try:
            yield made
        finally:
            made.close()
