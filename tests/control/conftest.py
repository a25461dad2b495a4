"""One running claviger for the suite, with something in it to find."""

import pathlib
import tempfile

import pytest

from processes import Claviger, Simulator
from socket_proxy import SocketProxy

PROVIDER_KEY = "sk-ant-api03-" + "p" * 93 + "AA"


class Installation:
    """A node with a simulator behind it, reached over TCP as its local owner."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.simulator = Simulator(folder, PROVIDER_KEY)
        self.claviger = Claviger(folder)
        self.proxy = SocketProxy(self.claviger.data / "control.sock")
        self.url = self.proxy.url
        credential = self.claviger.connect(self.simulator)
        key = self.claviger.key("found")
        self.ids = {
            "keys": key["id"],
            "workspaces": key["workspace"],
            "owners": key["owner"],
            "upstreams": credential["upstream"],
            "credentials": credential["id"],
        }

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
