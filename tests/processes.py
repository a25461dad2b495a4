"""Starts the real programs for a test: the gateway, and the simulated Claude API as its upstream."""

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

START_SECS = 60
ROOT = pathlib.Path(__file__).resolve().parent.parent


def program(variable: str, name: str) -> str:
    """The path of one of our binaries: from the environment, else from the debug build."""
    return os.environ.get(variable) or str(ROOT / "target" / "debug" / name)


class Process:
    """A child whose standard output is read line by line, so that its pipe never fills."""

    def __init__(self, arguments, environment):
        self.child = subprocess.Popen(
            arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.put(line.rstrip("\n"))

    def _read_errors(self):
        for line in self.child.stderr:
            self.errors.append(line)

    def wait_for(self, beginning: str) -> str:
        """The first line with this beginning; lines before it are kept in `before`."""
        self.before = []
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline:
            try:
                line = self.lines.get(timeout=0.1)
            except queue.Empty:
                if self.child.poll() is not None and self.lines.empty():
                    raise AssertionError(f"ended with {self.child.returncode}: {''.join(self.errors)}")
                continue
            if line.startswith(beginning):
                return line
            self.before.append(line)
        raise AssertionError(f"no line beginning {beginning!r}: {self.before} {''.join(self.errors)}")

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Simulator:
    """The stand-alone simulated Claude API, with a key that it demands."""

    def __init__(self, folder: pathlib.Path, key: str, *arguments: str):
        self.key = key
        self.log_file = folder / "sim.jsonl"
        command = [program("CLAVIGER_TEST_SIM", "claude-sim"), "--listen", "127.0.0.1:0", "--log", str(self.log_file)]
        self.process = Process([*command, "--require-key", key, *arguments], dict(os.environ))
        self.url = self.process.wait_for("listening ").split(" ", 1)[1].strip()

    def log(self) -> list[dict]:
        """What it was asked, in order."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def stop(self):
        self.process.stop()


class Claviger:
    """The gateway on a data folder of its own."""

    def __init__(self, folder: pathlib.Path, *arguments: str, environment: dict | None = None):
        self.data = folder / "data"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")}
        self.environment.update(CLAVIGER_DATA=str(self.data), **(environment or {}))
        self.arguments = arguments
        self.start()

    def start(self):
        command = [program("CLAVIGER_TEST_BIN", "claviger"), "serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        self.process = Process([*command, *self.arguments], self.environment)
        ready = dict(pair.split("=", 1) for pair in self.process.wait_for("ready ").split()[1:])
        self.url, self.control = ready["gateway"], ready["control"]

    def run(self, *arguments: str, stdin: str | None = None, expect: int = 0) -> str:
        """Runs one command of the command line; its standard output."""
        done = subprocess.run(
            [program("CLAVIGER_TEST_BIN", "claviger"), *arguments],
            env=self.environment, input=stdin, capture_output=True, text=True, timeout=60,
        )
        assert done.returncode == expect, f"{arguments}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, **options):
        """The same with `--json`, read."""
        return json.loads(self.run(*arguments, "--json", **options))

    def connect(self, simulator: Simulator, name: str = "sim", workspace: str | None = None):
        """Makes the simulator an upstream, with its key as the credential."""
        self.json("upstream", "add", name, "--kind", "anthropic", "--base-url", simulator.url)
        # Tests make more keys than an owner may have by default.
        self.json("policy", "set", "--max-keys", "1000000")
        bound = ["--workspace", workspace] if workspace else []
        command = ["credential", "add", "--upstream", name, "--from-file", "-", *bound]
        return self.json(*command, stdin=simulator.key + "\n")

    def key(self, name: str = "test", *arguments: str) -> dict:
        """A new live key without limits on its rate, unless the arguments say otherwise."""
        free = [] if "--rpm" in arguments else ["--rpm", "0"]
        return self.json("key", "create", "--name", name, *free, *arguments)

    def stop(self):
        self.process.stop()

    def kill(self):
        self.process.child.kill()
        self.process.child.wait()


@contextlib.contextmanager
def house(*, provider_key: str = "sk-ant-api03-" + "p" * 93 + "AA", arguments=(), simulator_arguments=(), environment=None):
    """A simulator and a gateway in front of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        simulator = Simulator(folder, provider_key, *simulator_arguments)
        try:
            claviger = Claviger(folder, *arguments, environment=environment)
            try:
                claviger.connect(simulator)
                yield claviger, simulator
            finally:
                claviger.stop()
        finally:
            simulator.stop()


def get(url: str, **headers: str):
    """GET, without raising on a status."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()
