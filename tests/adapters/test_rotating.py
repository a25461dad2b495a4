"""Signing secrets that are replaced while their holders go on sending: the adapters in four languages at one gateway whose
clock is moved. No call fails, the successor is signed with from its time on, and the old secret is refused after its day."""

import http.client
import os
import pathlib
import queue
import socket
import stat
import subprocess
import threading
import time

import anthropic
import pytest

import rust
from claviger import Claviger, HmacKey, Secret, Signer, StaticKey
from claviger.succession import rfc3339
from clocks import GatewayClock
from processes import ROOT, house

HERE = pathlib.Path(__file__).parent
ASK = {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
DAY = 24 * 3600


class Socket(http.client.HTTPConnection):
    """The control plane, as on this machine."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


class Holder:
    """A program that holds a key. It reads `calls N` or `secs N` and says `N calls` when so many were answered, or what
    went wrong. What follows its signing secret it writes into the file `STORE`."""

    def __init__(self, command, environment, folder=ROOT):
        self.child = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line.strip()) for line in self.child.stdout], daemon=True).start()

    def begin(self, what):
        self.child.stdin.write(what + "\n")
        self.child.stdin.flush()

    def end(self):
        """How many calls were answered."""
        try:
            said = self.lines.get(timeout=60)
        except queue.Empty:
            self.child.kill()
            raise AssertionError(self.child.stderr.read()) from None
        number, _, word = said.partition(" ")
        assert word == "calls", said
        return int(number)

    def does(self, what):
        self.begin(what)
        return self.end()

    def stop(self):
        self.child.stdin.close()
        assert self.child.wait(20) == 0, self.child.stderr.read()


def python(environment):
    return Holder([os.environ.get("CLAVIGER_TEST_PYTHON") or str(ROOT / "target/venv/bin/python"), str(HERE / "rotating.py")], environment)


def typescript(environment):
    if not os.environ.get("CLAVIGER_TEST_TS_DIST"):
        pytest.skip("CLAVIGER_TEST_TS_DIST is not set")
    return Holder(["node", str(HERE / "rotating.mjs")], environment)


def go(environment):
    program = os.environ.get("CLAVIGER_TEST_GO")
    if not program:
        pytest.skip("CLAVIGER_TEST_GO names no Go toolchain")
    folder, built = ROOT / "clients" / "go", ROOT / "target" / "clients" / "go-holder.test"
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(ROOT / "target" / "clients" / "go-cache")}
    done = subprocess.run([program, "test", "-c", "-o", str(built), "."], cwd=folder, env={**os.environ, **offline}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Holder([str(built), "-test.run", "^TestRotatingHolder$"], environment, folder)


def rust_(environment):
    if not os.path.exists(rust.PROGRAM):
        pytest.skip("the Rust example `caller` is not built")
    return Holder([rust.PROGRAM, "follow"], environment)


class Place:
    """A gateway, a key of it that must show a token and a signature, and its holder."""

    def __init__(self, gateway, clock, folder, adapter):
        self.gateway, self.clock = gateway, clock
        self.made = gateway.key("rotating", "--require", "token,signature", "--sign")
        self.store = folder / "store"
        self.holder = adapter({
            "ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_API_KEY": self.made["key"], "CLAVIGER_AUTH": "token",
            "CLAVIGER_SIGNING_SECRET": self.made["signing_secret"], "CLAVIGER_SIGNING_PROFILE": "v2",
            "CLOCK": str(clock.file), "STORE": str(self.store),
        })

    def stored(self):
        assert stat.S_IMODE(self.store.stat().st_mode) == 0o600
        return self.store.read_text()

    def signed_by(self, role):
        """How many requests a secret of this role signed."""
        asked = Socket(self.gateway.data / "control.sock")
        asked.request("GET", "/metrics")
        lines = asked.getresponse().read().decode().splitlines()
        asked.close()
        found = [line for line in lines if line.startswith("claviger_signed_requests_total{") and f'secret="{role}"' in line]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in found)

    def signs(self, secret):
        """Whether a program that begins with this secret is let in; its own succession is not waited for."""
        signer = Signer(HmacKey(Secret(secret), on_successor=lambda *_: None), "v2", clock=self.now)
        caller = Claviger(self.gateway.url, StaticKey(Secret(self.made["key"])), auth="token", signer=signer)
        with anthropic.Anthropic(**caller.sdk(), max_retries=0) as client:
            try:
                return client.messages.create(**ASK).type == "message"
            except anthropic.AuthenticationError as error:
                assert error.body["error"]["details"]["error_code"] == "signature_invalid"
                return False

    def now(self):
        """By the gateway's clock."""
        return time.time() + self.clock.offset

    def switch(self):
        """When the newest secret counts."""
        return max(rfc3339(secret["valid_from"]) for secret in self.gateway.json("key", "signing", "show", self.made["id"])["signers"])


@pytest.mark.parametrize("adapter", [python, typescript, go, pytest.param(rust_, id="rust")])
def test_a_secret_is_replaced_while_its_holder_goes_on_sending(adapter, tmp_path):
    clock = GatewayClock(tmp_path)
    if clock.environment() is None:
        pytest.skip("libfaketime is not installed")
    with house(environment=clock.environment()) as (gateway, _):
        place = Place(gateway, clock, tmp_path, adapter)
        holder, first = place.holder, place.made["signing_secret"]
        assert holder.does("calls 8") == 8 and not place.store.exists()

        # The week before its end: a successor is made while calls are under way, announced and fetched.
        clock.move(23 * DAY + 60)
        holder.begin("secs 3")
        gateway.run("job", "run", "signing_rotation")
        assert holder.end() > 8
        holder.does("calls 4")
        second = place.stored()
        assert second.startswith("cvg_sign_") and second != first
        assert place.signed_by("next") == place.signed_by("previous") == 0
        # A program that begins with what was stored is let in already.
        assert place.signs(second) and place.signs(first)
        begun_with_next = place.signed_by("next")
        assert begun_with_next > 0

        # Over the switch: it is signed with from its time on, and nobody uses the old one in its grace.
        clock.move(int(place.switch() - place.now()) - 3)
        assert holder.does("secs 7") > 8 and place.now() > place.switch() + 1
        assert place.signed_by("next") == begun_with_next
        in_grace = place.signed_by("previous")
        assert holder.does("calls 8") == 8
        assert place.signed_by("previous") == in_grace
        clock.move(DAY + 60)
        assert holder.does("calls 8") == 8
        assert place.signs(second) and not place.signs(first)

        # An operator replaces it between two calls: whoever signs with the old one is told, and takes the new one over.
        holder.begin("secs 3")
        third = gateway.json("key", "signing", "rotate", place.made["id"])["signing_secret"]
        assert holder.end() > 8
        holder.does("calls 4")
        assert place.stored() == third
        clock.move(DAY + 60)
        assert holder.does("calls 8") == 8
        assert place.signs(third) and not place.signs(second)
        holder.stop()
